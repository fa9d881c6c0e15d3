"""Graphs that a repository may hold and no server may serve, written beside a sound manifest."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tablefold.bundle import GRAPH
from tests.server.models.test_repository import rewrite

Change = Callable[[onnx.GraphProto], None]


def change_graph(folder: Path, change: Change) -> None:
    """Change a bundle's graph; its manifest names the new file."""
    model = onnx.load_model(folder / GRAPH, load_external_data=False)
    change(model.graph)
    (folder / GRAPH).write_bytes(model.SerializeToString())
    rewrite(folder)


def after_probability(*nodes: onnx.NodeProto, output: onnx.ValueInfoProto | None = None) -> Change:
    """Put nodes behind the sound graph, which reads `sound` and give `probability`."""

    def change(graph: onnx.GraphProto) -> None:
        graph.node[-1].output[0] = "sound"
        graph.node.extend(nodes)
        if output is not None:
            graph.output.pop()
            graph.output.append(output)

    return change


def cast(kind: int) -> Change:
    return after_probability(
        helper.make_node("Cast", ["sound"], ["probability"], to=kind),
        output=helper.make_tensor_value_info("probability", kind, ["batch"]),
    )


def constant(name: str, value: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value, name))


def sequence() -> Change:
    output = helper.make_tensor_sequence_value_info("probability", TensorProto.FLOAT, None)
    return after_probability(helper.make_node("SequenceConstruct", ["sound"], ["probability"]), output=output)


def fixed_batch(where: str) -> Change:
    def change(graph: onnx.GraphProto) -> None:
        for tensor in graph.input if where == "input" else graph.output:
            tensor.type.tensor_type.shape.dim[0].Clear()
            tensor.type.tensor_type.shape.dim[0].dim_value = 8

    return change


def at_most_8_rows() -> Change:
    """Sound for the golden rows, cut off for more."""
    return after_probability(
        constant("zero_row", np.array([0])),
        constant("eight", np.array([8])),
        helper.make_node("Slice", ["sound", "zero_row", "eight"], ["probability"]),
    )


def wrong_for_one_row() -> Change:
    return after_probability(
        helper.make_node("Shape", ["sound"], ["rows"]),
        constant("one_row", np.array([1])),
        helper.make_node("Equal", ["rows", "one_row"], ["alone"]),
        constant("half", np.array([0.5], np.float32)),
        helper.make_node("Where", ["alone", "half", "sound"], ["probability"]),
    )


def endless_loop() -> Change:
    scalar = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Identity", ["value"], ["same"]),
        ],
        "body",
        [
            scalar("step", TensorProto.INT64, []),
            scalar("go_on", TensorProto.BOOL, []),
            scalar("value", TensorProto.FLOAT, ["batch"]),
        ],
        [scalar("still", TensorProto.BOOL, []), scalar("same", TensorProto.FLOAT, ["batch"])],
    )
    return after_probability(
        constant("true", np.array(True)),
        helper.make_node("Loop", ["", "true", "sound"], ["probability"], body=body),
    )


def all_memory() -> Change:
    """A thousand terabytes."""
    return after_probability(
        constant("shape", np.array([1 << 48])),
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["sound", "nothing"], ["probability"]),
    )


def nested(depth: int) -> bytes:
    """A model with subgraphs within subgraphs; protobuf's own writers refuse to make one."""

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), bytearray()
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        length.append(size)
        return bytes([number << 3 | 2]) + bytes(length) + content

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)
