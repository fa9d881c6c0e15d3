"""The graph that passes work on: its two inputs, its named values, its named constants.

Constants are named for the part of the footprint they belong to: `tables/...`, `scales/...`, `row_maps/...`,
`vocabulary/...`; every other array is the network's.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.schema import FeatureSchema

OPSET = 20
IR_VERSION = 10


def empty_model(schema: FeatureSchema) -> ir.Model:
    """Return a graph with the inputs `dense` float32 [batch, N] and `ids` int64 [batch, C] alone.

    There is no `dense` where the schema has no dense features.
    """
    inputs = [ir.val("ids", dtype=ir.DataType.INT64, shape=("batch", schema.id_columns))]
    if schema.dense:
        inputs.insert(0, ir.val("dense", dtype=ir.DataType.FLOAT, shape=("batch", len(schema.dense))))
    graph = ir.Graph(inputs=inputs, outputs=[], nodes=[], opset_imports={"": OPSET}, name=schema.name)
    return ir.Model(graph, ir_version=IR_VERSION, producer_name="tablefold")


def constant(tape: Tape, name: str, array: np.ndarray | np.generic) -> ir.Value:
    """Return the array as an initializer of the graph: the one of that name if there is one already."""
    graph = tape.graph_like
    assert isinstance(graph, ir.Graph)
    if name in graph.initializers:
        return graph.initializers[name]
    return tape.initializer(ir.tensor(np.asarray(array), name=name))


def cast(tape: Tape, value: ir.Value, to: ir.DataType) -> ir.Value:
    """Append a cast; integers keep their low bits, floats are truncated."""
    return tape.op("Cast", [value], {"to": to})


def take(tape: Tape, array: ir.Value, indices: ir.Value) -> ir.Value:
    """Append `array[indices]` for array [n], flattened.

    GatherElements, not Gather: it copies elements of a known type, Gather memory blocks of some size, which
    takes seven times as long for single numbers (ONNX Runtime 1.31, CPU).
    """
    flat = tape.op("Reshape", [indices, constant(tape, "row_maps/flat", np.array([-1]))])
    return tape.op("GatherElements", [array, flat])


def has_value(model: ir.Model, name: str) -> bool:
    """Return whether an input or a node's output has that name."""
    try:
        value_named(model, name)
    except KeyError:
        return False
    return True


def value_named(model: ir.Model, name: str) -> ir.Value:
    """Return an input or a node's output by its name. Raises KeyError if there is none."""
    for value in model.graph.inputs:
        if value.name == name:
            return value
    for node in reversed(model.graph):
        for value in node.outputs:
            if value.name == name:
                return value
    raise KeyError(name)
