"""The network as a graph of its own, and the pass that puts it behind the lookup.

    dense float32 [batch, N], vectors float32 [batch, F, d] -> logit float32 [batch]

torch.onnx exports the dense transform and any `torch.nn.Module`, our own or the user's.
"""

import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError, PreconditionError
from onnx_ir.tape import Tape

from tablefold.exporter.graph import has_value, value_named
from tablefold.exporter.passes.rows import VECTORS

PROBABILITY = "probability"


class AttachNetwork(InPlacePass):
    """Moves a network behind `vectors` and, if it takes that, `dense`; adds the output `probability`.

    The network's own graph is empty afterwards.
    """

    def __init__(self, network: ir.Model) -> None:
        super().__init__()
        self.network = network

    def requires(self, model: ir.Model) -> None:
        """Check that the value `vectors` is there, of the shape that the network takes."""
        if not has_value(model, VECTORS):
            raise PreconditionError("the graph has no `vectors`: attach the rows first")
        vectors = value_named(model, VECTORS)
        takes = self.network.graph.inputs[-1]
        assert vectors.shape is not None
        assert takes.shape is not None
        if vectors.shape[1:] != takes.shape[1:]:
            raise PreconditionError(f"the network takes vectors {takes.shape}, the rows are {vectors.shape}")

    def call(self, model: ir.Model) -> PassResult:
        """Move the network's nodes and weights over, add the sigmoid."""
        graph, network = model.graph, self.network.graph
        logit = network.outputs[0]
        for value in network.inputs:
            ir.convenience.replace_all_uses_with(value, value_named(model, str(value.name)))
        initializers, nodes = list(network.initializers.values()), list(network)
        network.initializers.clear()
        network.outputs.clear()
        network.remove(nodes)
        for value in [*initializers, *(output for node in nodes for output in node.outputs)]:
            value.name = f"network/{value.name}"  # the graph has a `val_1` of its own
        for node in nodes:
            node.name = f"network/{node.name}"
        for value in initializers:
            graph.register_initializer(value)
        graph.extend(nodes)
        probability = Tape(graph).op("Sigmoid", [logit])
        probability.name, probability.dtype = PROBABILITY, ir.DataType.FLOAT
        probability.shape = ir.Shape(("batch",))
        graph.outputs.append(probability)
        return PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Check that the graph has its one output, and that no node of the network was left behind."""
        if [value.name for value in model.graph.outputs] != [PROBABILITY]:
            raise PostconditionError("the graph's output is not `probability` alone")
        if not all(node.graph is model.graph for node in model.graph):
            raise PostconditionError("a node of the network was left behind")
