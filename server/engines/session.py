"""A bundle's graph in a session of ONNX Runtime, whose inputs and outputs are what the manifest says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from tablefold.bundle import GRAPH, Manifest
from tablefold.errors import BundleError, UsageError
from tablefold.server.engines.device import Device

PROBABILITY, ROWS = "probability", "rows"
SILENT = 4
"""A level of severity: what is wrong is raised, and logged once with the model's name."""

ort.disable_telemetry_events()  # some builds of ONNX Runtime report to Microsoft
ort.set_default_logger_severity(SILENT)


@dataclass(frozen=True)
class OpenedGraph:
    """A session and what it takes and gives."""

    session: ort.InferenceSession
    takes_dense: bool
    id_columns: int
    dense_columns: int
    rows_columns: int | None
    """L of the output `rows` int32 [B, L]; None where there is none, or of no fixed width."""
    tells_rows: bool


def session_options() -> ort.SessionOptions:
    """Return options by which a call uses one thread, because the engine threads fill the cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = SILENT
    return options


def open_graph(
    folder: Path, manifest: Manifest, device: Device, options: ort.SessionOptions, providers: list[Any]
) -> OpenedGraph:
    """Open the graph in `folder`. A node that cannot run on the device is an error.

    Raises BundleError where it cannot be loaded or does not match the manifest, and UsageError where the
    device is absent: it never falls back to another one in silence.
    """
    path = folder / GRAPH
    if device.name != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        # From the path and not from bytes, so that external weights are mapped and not copied.
        session = ort.InferenceSession(path, options, providers=providers)
    except Exception as error:  # the binding raises classes of its own, without a common base
        raise BundleError(f"{path} cannot be loaded on {device.name}: {error}") from error
    if session.get_providers()[0] != device.provider:
        raise UsageError(f"--device {device.name}: ONNX Runtime could not start CUDA there")
    session.disable_fallback()
    schema = manifest.feature_schema
    takes_dense = _check_inputs(path, session, manifest)
    _check_output(path, session)
    rows = {tensor.name: tensor for tensor in session.get_outputs()}.get(ROWS)
    shape = rows.shape if rows is not None and rows.type == "tensor(int32)" else []
    width = shape[1] if len(shape or []) == 2 else None
    return OpenedGraph(
        session=session,
        takes_dense=takes_dense,
        id_columns=schema.id_columns,
        dense_columns=len(schema.dense),
        rows_columns=width if isinstance(width, int) else None,
        tells_rows=rows is not None,
    )


def _check_inputs(path: Path, session: ort.InferenceSession, manifest: Manifest) -> bool:
    """Return whether the graph takes `dense`. Raises BundleError where inputs differ from the schema."""
    schema = manifest.feature_schema
    expected = {"dense": ("tensor(float)", len(schema.dense)), "ids": ("tensor(int64)", schema.id_columns)}
    found = {tensor.name: tensor for tensor in session.get_inputs()}
    needed = {name for name, (_, width) in expected.items() if width}
    if not needed <= set(found) <= set(expected):
        raise BundleError(f"{path} takes the inputs {sorted(found)}; the manifest asks for {sorted(needed)}")
    for name, tensor in found.items():
        kind, width = expected[name]
        two = len(tensor.shape) == 2
        fixed_width = two and isinstance(tensor.shape[1], int)
        if tensor.type != kind or not two or (fixed_width and tensor.shape[1] != width):
            raise BundleError(
                f"{path}: input {name} is {tensor.type} {tensor.shape}; "
                f"the manifest's schema asks for {kind} [batch, {width}]"
            )
        _check_batch_dimension(path, f"input {name}", tensor)
    return "dense" in found


def _check_output(path: Path, session: ort.InferenceSession) -> None:
    """Raise BundleError unless there is a float32 output `probability` [batch]."""
    found = {tensor.name: tensor for tensor in session.get_outputs()}
    if PROBABILITY not in found:
        raise BundleError(f"{path} has no output called {PROBABILITY}")
    tensor = found[PROBABILITY]
    # Without a shape the graph does not say; running it at several sizes does.
    if tensor.type != "tensor(float)" or len(tensor.shape or [None]) != 1:
        raise BundleError(
            f"{path}: output {PROBABILITY} is {tensor.type} {tensor.shape}; it must be tensor(float) [batch]"
        )
    _check_batch_dimension(path, f"output {PROBABILITY}", tensor)


def _check_batch_dimension(path: Path, name: str, tensor: ort.NodeArg) -> None:
    if tensor.shape and isinstance(tensor.shape[0], int):
        raise BundleError(
            f"{path}: {name} has a fixed batch size, {tensor.shape[0]}; the first dimension must be free"
        )
