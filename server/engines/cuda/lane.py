"""A lane: what one batch after the other runs in, beside those in other lanes.

rows ──► page-locked memory ──► device ──► graph ──► device ──► page-locked memory ──► probabilities
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tablefold.bundle import Manifest
from tablefold.server.engines.cuda.ladder import Ladder
from tablefold.server.engines.cuda.runtime import Graph, Memory, Pinned, Runtime
from tablefold.server.engines.device import Device
from tablefold.server.engines.session import PROBABILITY, ROWS, open_graph, session_options

DTYPES: dict[str, Any] = {"ids": np.int64, "dense": np.float32, PROBABILITY: np.float32, ROWS: np.int32}


class Lane:
    """A session with a stream, memory for `max_rows` rows, and a captured graph for each size of the ladder.

    A captured graph is launched as one; ONNX Runtime would launch its sixty kernels one by one, which takes
    longer than they do. It holds the addresses of its memory, so a session, whose work memory it is, can have
    one lane only. Of what a graph needs, the weights are shared by all lanes.

    `weights`: initialisers that are on the device already. For one thread at a time.
    Raises BundleError (see `open_graph`), and RuntimeError where the device has no room.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        device: Device,
        runtime: Runtime,
        weights: Mapping[str, ort.OrtValue],
        max_rows: int,
    ) -> None:
        runtime.use()
        self._device, self._runtime, self._stream = device, runtime, runtime.stream()
        options = session_options()
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        for name, value in weights.items():
            options.add_initializer(name, value)
        opened = open_graph(folder, manifest, device, options, device.providers_on(self._stream.handle))
        self._session, self._weights = opened.session, weights
        self._run_options = ort.RunOptions()
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self.tells_rows = opened.rows_columns is not None
        self.ladder = Ladder(max_rows)
        columns: dict[str, int | None] = {"ids": opened.id_columns, PROBABILITY: None}
        if opened.takes_dense:
            columns["dense"] = opened.dense_columns
        if opened.rows_columns is not None:
            columns[ROWS] = opened.rows_columns
        self._inputs = [name for name in ("ids", "dense") if name in columns]
        self._outputs = [name for name in (PROBABILITY, ROWS) if name in columns]
        self._host: dict[str, Pinned] = {}
        self._memory: dict[str, Memory] = {}
        for name, width in columns.items():
            shape = (max_rows,) if width is None else (max_rows, width)
            self._host[name] = runtime.pinned(shape, DTYPES[name])
            self._memory[name] = runtime.memory(self._host[name].array.nbytes)
        self._bindings: dict[int, Any] = {}
        self._graphs: dict[int, Graph] = {}
        for size in reversed(self.ladder.sizes):  # the largest first: its work memory serves all others
            self._prepare(size)

    @property
    def captured(self) -> bool:
        """Whether all sizes have a captured graph; a size without one is run kernel by kernel."""
        return len(self._graphs) == len(self.ladder.sizes)

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Engine.run`. Raises what `run_joined` raises."""
        return self.run_joined([dense], [ids], tell_rows=False)[0]

    def run_joined(
        self, dense: Sequence[NDArray[np.float32]], ids: Sequence[NDArray[np.int64]], *, tell_rows: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
        """See `JoiningEngine`. Rows that a batch is padded with are those of an earlier one.

        Raises RuntimeError, and the exceptions of ONNX Runtime.
        """
        self._runtime.use()
        rows = sum(map(len, ids))
        given: dict[str, Sequence[NDArray[Any]]] = {"ids": ids, "dense": dense}
        for name in self._inputs:
            np.concatenate(given[name], out=self._host[name].array[:rows])
        size = self.ladder.size_for(rows)
        if size in self._graphs:
            self._graphs[size].launch()
        else:
            self._pass_through(size)
        table_rows = self._host[ROWS].array[:rows] if tell_rows else None
        if table_rows is not None:
            self._stream.copy_out(table_rows, self._memory[ROWS])
        self._stream.wait()
        probability = self._host[PROBABILITY].array[:rows].copy()
        return probability, None if table_rows is None else table_rows.copy()

    def _prepare(self, size: int) -> None:
        binding = self._session.io_binding()
        for names, bind in ((self._inputs, binding.bind_input), (self._outputs, binding.bind_output)):
            for name in names:
                shape = list(self._host[name].array[:size].shape)
                address = self._memory[name].address
                bind(name, self._runtime.device_type, self._device.index, DTYPES[name], shape, address)
        self._bindings[size] = binding
        self._pass_through(size)  # takes its work memory, which a capture cannot
        self._stream.wait()
        graph = self._stream.capture(lambda: self._pass_through(size), len(self._inputs) + 1)
        if graph is not None:
            self._graphs[size] = graph

    def _pass_through(self, size: int) -> None:
        """Give the stream all the work of a batch of `size` rows."""
        for name in self._inputs:
            self._stream.copy_in(self._memory[name], self._host[name].array[:size])
        self._session.run_with_iobinding(self._bindings[size], self._run_options)
        self._stream.copy_out(self._host[PROBABILITY].array[:size], self._memory[PROBABILITY])
