"""The pass that makes a network compute its matrix products in int8, for CPUs.

Weights and the inputs of products have 8 bits, with scales fixed at export from validation examples
(static quantisation). Scales made from each batch would let a row's probability depend on its neighbours.
Weights use 7 of the 8 bits: CPUs without VNNI add two products in 16 bits. Those would saturate, and the same
bundle would give another probability there.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import FunctionalPass, PassResult, PostconditionError, PreconditionError
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

CALIBRATION_BATCH = 1024
PRODUCTS = ("Gemm", "MatMul")


class QuantiseNetwork(FunctionalPass):
    """Static int8 of every matrix product with constant weights, but the last one, which makes the logit.

    `dense` float32 [rows, N] and `vectors` float32 [rows, F, d] are validation examples: they fix the scales.
    """

    def __init__(self, dense: np.ndarray, vectors: np.ndarray) -> None:
        super().__init__()
        self.dense = dense
        self.vectors = vectors

    def requires(self, model: ir.Model) -> None:
        """Check that there is a matrix product to quantise."""
        if not _products(model):
            raise PreconditionError("the network has no matrix product with constant weights: use fp32")

    def call(self, model: ir.Model) -> PassResult:
        """Quantise a copy with ONNX Runtime's quantiser."""
        products = _products(model)
        quiet = logging.getLogger()
        level = quiet.level
        quiet.setLevel(logging.ERROR)  # it recommends a preprocessing that this graph does not need
        try:
            with TemporaryDirectory() as folder:
                path = Path(folder, "network.onnx")
                quantize_static(
                    ir.to_proto(model),
                    path,
                    _CalibrationBatches(
                        {"dense": self.dense, "vectors": self.vectors},
                        [str(value.name) for value in model.graph.inputs],
                    ),
                    quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    reduce_range=True,
                    op_types_to_quantize=[*PRODUCTS, "Relu"],
                    nodes_to_quantize=[*products, *_rectifiers(model)],
                )
                return PassResult(ir.from_proto(ir.to_proto(ir.load(path))), modified=True)
        finally:
            quiet.setLevel(level)

    def ensures(self, model: ir.Model) -> None:
        """Check that something was quantised."""
        if not any(node.op_type == "QuantizeLinear" for node in model.graph):
            raise PostconditionError("nothing was quantised")


def _products(model: ir.Model) -> list[str]:
    """Return the names of the matrix products with constant weights and more than one output column."""
    names = []
    for node in model.graph:
        if node.op_type not in PRODUCTS:
            continue
        weight = node.inputs[1]
        assert weight is not None
        transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", False)
        if weight.const_value is not None and weight.const_value.shape.numpy()[0 if transposed else -1] > 1:
            names.append(str(node.name))
    return names


def _rectifiers(model: ir.Model) -> list[str]:
    """Return the names of the Relu nodes right behind a product: unsigned codes do their work."""
    behind = [node for node in model.graph if node.op_type == "Relu"]
    makers = [node.inputs[0].producer() if node.inputs[0] is not None else None for node in behind]
    return [
        str(node.name)
        for node, maker in zip(behind, makers, strict=True)
        if maker is not None and maker.op_type in PRODUCTS
    ]


class _CalibrationBatches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, arrays: Mapping[str, np.ndarray], inputs: Sequence[str]) -> None:
        starts = range(0, len(arrays["vectors"]), CALIBRATION_BATCH)
        self._batches: Iterator[dict[str, np.ndarray]] = (
            {name: arrays[name][start : start + CALIBRATION_BATCH] for name in inputs} for start in starts
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)
