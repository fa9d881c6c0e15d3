"""A written bundle's graph in ONNX Runtime, as a function from raw rows to one of its values."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes.common import RemoveUnusedNodesPass

from tablefold.bundle import GRAPH
from tablefold.exporter.graph import value_named
from tablefold.exporter.passes.network import PROBABILITY
from tablefold.logs import Log

__all__ = ["Predict", "open_graph"]

onnxruntime.disable_telemetry_events()  # some builds of ONNX Runtime report to Microsoft

Predict = Callable[[Log], np.ndarray]


def open_graph(folder: Path, output: str = PROBABILITY) -> Predict:
    """Return the bundle's graph on the CPU, with one of its values as output.

    These are `probability` float32 [rows], `rows` int32 [rows, L] and `vectors` float32 [rows, F, d]. Every
    open graph maps the whole bundle.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # it would keep the memory of the largest batch
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model: Path | bytes = folder / GRAPH
    if output != PROBABILITY:
        part = ir.load(folder / GRAPH)
        part.graph.outputs[:] = [value_named(part, output)]
        RemoveUnusedNodesPass()(part)  # ONNX Runtime computes nodes that no output needs
        model = ir.to_proto(part).SerializeToString()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = [tensor.name for tensor in session.get_inputs()]

    def run(log: Log) -> np.ndarray:
        (value,) = session.run([output], {name: getattr(log, name) for name in inputs})
        return np.asarray(value)

    return run
