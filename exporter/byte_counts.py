"""The bytes of a bundle's arrays: of a graph that is built, and of a network before it is one."""

import onnx_ir as ir
from torch import nn

from tablefold.exporter.options import NetworkType
from tablefold.model_size import Parts

BYTES_OF_WEIGHT = {NetworkType.FP32: 4, NetworkType.FP16: 2, NetworkType.INT8: 4}


def count_parts(model: ir.Model) -> Parts:
    """Return the bytes of every array of the graph, by the part that its name says (see `graph`)."""
    sizes = dict.fromkeys(Parts.model_fields, 0)
    for name, value in model.graph.initializers.items():
        assert value.const_value is not None
        prefix = name.partition("/")[0]
        sizes[prefix if prefix in sizes and "/" in name else "network"] += value.const_value.nbytes
    return Parts(**sizes)


def network_bytes(network: nn.Module, network_type: NetworkType) -> int:
    """Return the bytes of a network's arrays in a graph, but for a few constants.

    Buffers are indices, of 32 bits in the graph. int8 is for the weights of all products but the one that
    makes the logit (see `QuantiseNetwork`).
    """
    total = 4 * sum(buffer.numel() for buffer in network.buffers())
    size = BYTES_OF_WEIGHT[network_type]
    total += size * sum(parameter.numel() for parameter in network.parameters())
    if network_type is NetworkType.INT8:
        layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        total -= (size - 1) * sum(layer.weight.numel() for layer in layers if layer.out_features > 1)
    return total
