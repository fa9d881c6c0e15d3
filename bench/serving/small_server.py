"""The least a server of the open protocol can do: one fixed reply, nothing parsed. Prints its port."""

import argparse
import asyncio

import grpc
import numpy as np

from tablefold.loadtest.generator.event_loop import run
from tablefold.protos import inference_pb2 as pb

SERVICE = "inference.GRPCInferenceService"


async def serve() -> None:
    """Serve until killed."""
    tensor = pb.ModelMetadataResponse.TensorMetadata
    metadata = pb.ModelMetadataResponse(
        name="small",
        versions=["1"],
        inputs=[tensor(name="ids", datatype="INT64", shape=[-1, 4])],
        outputs=[tensor(name="probability", datatype="FP32", shape=[-1])],
    ).SerializeToString()
    answer = pb.ModelInferResponse(model_name="small", raw_output_contents=[np.float32(0.5).tobytes()])
    answer.outputs.add(name="probability", datatype="FP32", shape=[1])
    replies = {"ModelMetadata": metadata, "ModelInfer": answer.SerializeToString()}

    def handler(reply: bytes) -> grpc.RpcMethodHandler:
        async def call(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return reply

        return grpc.unary_unary_rpc_method_handler(call)

    server = grpc.aio.server()
    handlers = {name: handler(reply) for name, reply in replies.items()}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    run(serve())
