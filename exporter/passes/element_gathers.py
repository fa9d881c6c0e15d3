"""The pass that gathers single numbers of the network with GatherElements.

An interaction that picks pairs out of a matrix of products (DLRM) becomes `Gather` along the last axis,
which copies four bytes at a time. GatherElements copies numbers of a known type and takes a tenth of the time
on the CPU. It needs its indices for every row.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError
from onnx_ir.tape import Tape


class QuickenElementGathers(InPlacePass):
    """Replaces Gather(x [batch, n], constant indices [m], axis=1)."""

    def call(self, model: ir.Model) -> PassResult:
        """Replace every such node in its position."""
        found = [node for node in model.graph if _gathers_elements(node)]
        for node in found:
            _replace(model.graph, node)
        return PassResult(model, modified=bool(found))

    def ensures(self, model: ir.Model) -> None:
        """Check that none is left."""
        if any(_gathers_elements(node) for node in model.graph):
            raise PostconditionError("a Gather of single numbers is left")


def _gathers_elements(node: ir.Node) -> bool:
    if node.op_type != "Gather" or node.attributes.get_int("axis", 0) not in (1, -1):
        return False
    data, indices = node.inputs
    assert data is not None
    assert indices is not None
    known = indices.const_value is not None and len(indices.const_value.shape) == 1
    return known and data.shape is not None and len(data.shape) == 2


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    data, indices = node.inputs
    assert data is not None
    assert indices is not None
    assert indices.const_value is not None
    nodes = Tape()
    elements = indices.const_value.numpy().astype(np.int32)
    name = indices.name
    one_row = nodes.initializer(ir.tensor(elements[None], name=f"{name}_row"))
    first, last = (nodes.initializer(ir.tensor(np.array([n]), name=f"{name}_{n}")) for n in (0, 1))
    # Nothing is less than itself, NaN included: this is a zero for each row. `Shape` would run on the CPU.
    column = nodes.op("Slice", [data, first, last, last])
    zeros = nodes.op("Cast", [nodes.op("Less", [column, column])], {"to": ir.DataType.INT32})
    every_row = nodes.op("Add", [one_row, zeros])
    picked = nodes.op("GatherElements", [data, every_row], {"axis": 1})
    for value in nodes.initializers:
        graph.register_initializer(value)
    graph.insert_before(node, nodes.nodes)
    ir.convenience.replace_all_uses_with(node.outputs[0], picked)
    picked.name = node.outputs[0].name
    graph.remove(node, safe=True)
    if not indices.uses() and indices.is_initializer():
        graph.initializers.pop(str(name))
