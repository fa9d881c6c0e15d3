"""Replies of `ModelInfer`: probabilities as raw bytes or as typed contents, as the request's values came."""

from tablefold.protos import inference_pb2 as pb
from tablefold.server.models.model import Model
from tablefold.server.queue import Call


class RawReply:
    """Writes the reply to a call: its probabilities are the last bytes."""

    __slots__ = ("_head",)

    def __init__(self, model: Model, request_id: str, rows: int) -> None:
        response = _response(model, request_id, rows)
        response.raw_output_contents.append(bytes(4 * rows))
        self._head = response.SerializeToString()[: -4 * rows]

    def __call__(self, call: Call) -> bytes:
        """Return the reply to a call that has its probabilities."""
        assert call.probability is not None
        return self._head + call.probability.tobytes()


class TypedReply:
    """The same with typed contents."""

    __slots__ = ("_response",)

    def __init__(self, model: Model, request_id: str, rows: int) -> None:
        self._response = _response(model, request_id, rows)

    def __call__(self, call: Call) -> bytes:
        """Return the reply to a call that has its probabilities. Once."""
        assert call.probability is not None
        self._response.outputs[0].contents.fp32_contents.extend(call.probability.tolist())
        return self._response.SerializeToString()


def _response(model: Model, request_id: str, rows: int) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(model_name=model.name, model_version=str(model.version), id=request_id)
    response.outputs.add(name="probability", datatype="FP32", shape=[rows])
    return response
