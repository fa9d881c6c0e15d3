"""`ModelInfer` of the Open Inference Protocol: a message to rows."""

from contextlib import suppress
from functools import partial

from tablefold.errors import InvalidRequest
from tablefold.protos import inference_pb2 as pb
from tablefold.server.models.repository import Repository
from tablefold.server.wire.inputs import INPUTS_DIGEST, require_inputs
from tablefold.server.wire.oip.layout import Layouts
from tablefold.server.wire.oip.reply import RawReply, TypedReply
from tablefold.server.wire.oip.tensors import check_parameters, read_inputs
from tablefold.server.wire.parse import parse
from tablefold.server.wire.prediction import Admit, Prediction
from tablefold.server.wire.scan import SMALL_MESSAGE_BYTES, check_infer, fields, text


class InferReader:
    """Reads the messages of `ModelInfer`; those like one before at a fraction of the cost."""

    def __init__(self) -> None:
        self._layouts = Layouts()

    def read(self, message: bytes, repository: Repository, admit: Admit) -> Prediction:
        """Return the rows of a request.

        Raises ModelNotFound, Unavailable, InvalidRequest, Overloaded, and what `admit` raises.
        """
        known = self._layouts.read(message, repository, admit)
        if known is not None:
            return known
        if len(message) > SMALL_MESSAGE_BYTES:
            check_infer(message, repository)
        request: pb.ModelInferRequest = parse(pb.ModelInferRequest, message)
        model = repository.find(request.model_name, request.model_version)
        if INPUTS_DIGEST in request.parameters:
            require_inputs(model, request.parameters[INPUTS_DIGEST].string_param)
        for requested in request.outputs:
            if requested.name != "probability":
                raise InvalidRequest(f"there is no output {requested.name!r}; the only one is 'probability'")
            check_parameters("output 'probability'", requested.parameters)
        dense, ids = read_inputs(request, model.manifest.feature_schema, partial(admit, model))
        reply = RawReply if request.raw_input_contents else TypedReply
        prediction = Prediction(model, dense, ids, reply(model, request.id, len(ids)))
        self._layouts.learn(message, request, prediction)
        return prediction


def request_id(message: bytes) -> str:
    """Return the id in a request, for the answer to one that cannot be read; "" where it has none."""
    found = ""
    with suppress(InvalidRequest):
        for field in fields(message, 0, len(message)):
            if field.number == 3:
                found = text(message, field, "the request's id")
    return found
