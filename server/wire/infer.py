"""`ModelInfer` of the Open Inference Protocol: a message to rows, and probabilities to a message."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from tablefold.errors import InvalidRequest
from tablefold.protos import inference_pb2 as pb
from tablefold.server.models.model import Model
from tablefold.server.models.repository import Repository
from tablefold.server.queue import Call
from tablefold.server.wire.parse import parse
from tablefold.server.wire.prediction import Prediction
from tablefold.server.wire.scan import SMALL_MESSAGE_BYTES, check_infer, fields, text
from tablefold.server.wire.tensors import check_parameters, read_inputs


def read_infer(message: bytes, repository: Repository) -> Prediction:
    """Return the rows of a request. Raises ModelNotFound, Unavailable, InvalidRequest or Overloaded."""
    if len(message) > SMALL_MESSAGE_BYTES:
        check_infer(message, repository)
    request: pb.ModelInferRequest = parse(pb.ModelInferRequest, message)
    model = repository.find(request.model_name, request.model_version)
    for requested in request.outputs:
        if requested.name != "probability":
            raise InvalidRequest(f"there is no output {requested.name!r}; the only one is 'probability'")
        check_parameters("output 'probability'", requested.parameters)
    dense, ids = read_inputs(request, model.manifest.feature_schema)
    return Prediction(model, dense, ids, _encoder(model, request.id, raw=len(request.raw_input_contents) > 0))


def request_id(message: bytes) -> str:
    """Return the id in a request, for the answer to one that cannot be read; "" where it has none."""
    found = ""
    with suppress(InvalidRequest):
        for field in fields(message, 0, len(message)):
            if field.number == 3:
                found = text(message, field, "the request's id")
    return found


def _encoder(model: Model, request_id: str, *, raw: bool) -> Callable[[Call], bytes]:
    def encode(call: Call) -> bytes:
        probability: NDArray[np.float32] | None = call.probability
        assert probability is not None
        response = pb.ModelInferResponse(
            model_name=model.name, model_version=str(model.version), id=request_id
        )
        output = response.outputs.add(name="probability", datatype="FP32", shape=[len(probability)])
        if raw:
            response.raw_output_contents.append(probability.tobytes())
        else:
            output.contents.fp32_contents.extend(probability.tolist())
        return response.SerializeToString()

    return encode
