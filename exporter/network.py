"""The network pass: dense float32 [batch, N], vectors float32 [batch, F, d] -> probability float32 [batch].

torch.onnx exports the head (dense transform and any network); its nodes move into the graph.
"""

import logging
import warnings

import onnx_ir as ir
import torch
from onnx_ir.passes import InPlacePass, PassResult, PreconditionError
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnx_ir.tape import Tape

from tablefold.exporter.graph import OPSET, value_named
from tablefold.exporter.rows import VECTORS
from tablefold.trainer.model import Head

PROBABILITY = "probability"


class AttachNetwork(InPlacePass):
    """Adds the head behind `dense` and `vectors` and makes `probability` the graph's output."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def requires(self, model: ir.Model) -> None:
        """The value `vectors` is there."""
        try:
            value_named(model, VECTORS)
        except KeyError:
            raise PreconditionError("the graph has no `vectors`: attach the rows first") from None

    def call(self, model: ir.Model) -> PassResult:
        """Export the head, move its nodes and weights over, add the sigmoid."""
        graph = model.graph
        dense, vectors = value_named(model, "dense"), value_named(model, VECTORS)
        exported = _export(self.head, dense, vectors).graph
        logit = exported.outputs[0]
        for value, ours in zip(exported.inputs, (dense, vectors), strict=True):
            ir.convenience.replace_all_uses_with(value, ours)
        initializers, nodes = list(exported.initializers.values()), list(exported)
        exported.initializers.clear()
        exported.outputs.clear()
        exported.remove(nodes)
        for value in [*initializers, *(output for node in nodes for output in node.outputs)]:
            value.name = f"network/{value.name}"  # the graph has a `val_1` of its own
        for value in initializers:
            graph.register_initializer(value)
        graph.extend(nodes)
        probability = Tape(graph).op("Sigmoid", [logit])
        probability.name, probability.dtype = PROBABILITY, ir.DataType.FLOAT
        probability.shape = ir.Shape(("batch",))
        graph.outputs.append(probability)
        # Traces of the exporting machine: paths in them would make bundles differ.
        ClearMetadataAndDocStringPass()(model)
        return PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """The graph has its one output, and nothing in it refers to the head's own graph any more."""
        assert [value.name for value in model.graph.outputs] == [PROBABILITY]
        assert all(node.graph is model.graph for node in model.graph)


def _export(head: Head, dense: ir.Value, vectors: ir.Value) -> ir.Model:
    # Two example rows: a batch of one would be taken for a constant.
    example = tuple(torch.zeros(2, *_sizes(value)) for value in (dense, vectors))
    batch = torch.export.Dim("batch", min=1)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it names every torchvision operator that is not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making; the result is verified row by row
            program = torch.onnx.export(
                head.eval(),
                example,
                dynamo=True,
                dynamic_shapes={"dense": {0: batch}, "vectors": {0: batch}},
                input_names=["dense", "vectors"],
                output_names=["logit"],
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    return program.model


def _sizes(value: ir.Value) -> list[int]:
    """The sizes behind the batch dimension."""
    assert value.shape is not None
    return [size for size in value.shape.dims[1:] if isinstance(size, int)]
