"""What anybody would write first: `grpc.server` with a thread pool and one session call a request.

    python -m bench.serving.plain_server BUNDLE/model.onnx PORT

Answers what Triton's perf_analyzer asks before it begins.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import onnxruntime

from tablefold.protos import inference_pb2 as pb
from tablefold.protos import inference_pb2_grpc

TENSORS = (("dense", "FP32", 13), ("ids", "INT64", 26))


def open_session(path: str) -> onnxruntime.InferenceSession:
    """One thread a call."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Plain(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """No batches, no limits, no checks."""

    def __init__(self, path: str) -> None:
        self._session = open_session(path)

    def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        """Two raw tensors in, one out."""
        return self.response(request, self.run(self.arrays(request)))

    def arrays(self, request: pb.ModelInferRequest) -> dict[str, np.ndarray]:
        """Return float32 [rows, 13] and int64 [rows, 26] by name."""
        rows = request.inputs[0].shape[0]
        return {
            tensor.name: np.frombuffer(raw, np.float32 if tensor.name == "dense" else np.int64).reshape(
                rows, -1
            )
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }

    def run(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Return float32 [rows]."""
        [probability] = self._session.run(["probability"], arrays)
        return probability

    def response(self, request: pb.ModelInferRequest, probability: np.ndarray) -> pb.ModelInferResponse:
        """Return the message of the answer."""
        response = pb.ModelInferResponse(model_name=request.model_name, model_version="1")
        response.outputs.add(name="probability", datatype="FP32", shape=[len(probability)])
        response.raw_output_contents.append(probability.tobytes())
        return response

    def ServerLive(self, request: Any, context: Any) -> pb.ServerLiveResponse:  # noqa: N802
        """It is."""
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: Any) -> pb.ServerReadyResponse:  # noqa: N802
        """It is."""
        return pb.ServerReadyResponse(ready=True)

    def ModelReady(self, request: Any, context: Any) -> pb.ModelReadyResponse:  # noqa: N802
        """It is."""
        return pb.ModelReadyResponse(ready=True)

    def ServerMetadata(self, request: Any, context: Any) -> pb.ServerMetadataResponse:  # noqa: N802
        """Its name."""
        return pb.ServerMetadataResponse(name="plain", version="1", extensions=["model_configuration"])

    def ModelMetadata(self, request: Any, context: Any) -> pb.ModelMetadataResponse:  # noqa: N802
        """Two tensors in, one out."""
        response = pb.ModelMetadataResponse(name="ads", versions=["1"], platform="onnxruntime_onnx")
        for name, datatype, columns in TENSORS:
            response.inputs.add(name=name, datatype=datatype, shape=[-1, columns])
        response.outputs.add(name="probability", datatype="FP32", shape=[-1])
        return response

    def ModelConfig(self, request: Any, context: Any) -> pb.ModelConfigResponse:  # noqa: N802
        """Any number of rows."""
        response = pb.ModelConfigResponse()
        response.config.name, response.config.max_batch_size = "ads", 65_536
        for name, datatype, columns in TENSORS:
            response.config.input.add(name=name, data_type=f"TYPE_{datatype}", dims=[columns])
        response.config.output.add(name="probability", data_type="TYPE_FP32", dims=[1])
        return response


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("graph", help="a bundle's model.onnx")
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    server = grpc.server(ThreadPoolExecutor(10))
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Plain(given.graph), server)
    server.add_insecure_port(f"127.0.0.1:{given.port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
