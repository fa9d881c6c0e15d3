"""A `tablefold.v1` PredictRequest, small ones parsed whole, large ones feature by feature when it is read."""

from dataclasses import dataclass

from tablefold.errors import InvalidRequest
from tablefold.protos import tablefold_pb2 as pb
from tablefold.server.wire.parse import parse
from tablefold.server.wire.scan import SMALL_MESSAGE_BYTES, Field, fields, text

MAX_FEATURE_FIELDS = 8


class SentFeature:
    """A feature of a request. `feature`: where it is parsed; else `place`: where it stands in the message."""

    __slots__ = ("_feature", "name", "place")

    def __init__(self, name: str, feature: pb.Feature | None, place: Field | None = None) -> None:
        self.name, self.place = name, place
        self._feature = feature

    def load(self, message: bytes) -> pb.Feature:
        """Return the feature; one of a large message is not kept. Raises InvalidRequest."""
        if self._feature is not None:
            return self._feature
        assert self.place is not None
        feature: pb.Feature = parse(pb.Feature, message[self.place.start : self.place.stop])
        return feature


@dataclass(slots=True)
class PredictRequest:
    """The parts of the message."""

    message: bytes
    model: str
    version: str
    """A number or a label; "" for the default."""
    context: list[SentFeature]
    candidates: list[SentFeature]
    inputs_digest: str
    """Of the schema that the values were encoded by; "" where the client does not say."""


def read_request(message: bytes) -> PredictRequest:
    """Return the request. Raises InvalidRequest where the message cannot be parsed."""
    return _small(message) if len(message) <= SMALL_MESSAGE_BYTES else _large(message)


def _small(message: bytes) -> PredictRequest:
    request = parse(pb.PredictRequest, message)
    context = [SentFeature(feature.name, feature) for feature in request.context]
    candidates = [SentFeature(feature.name, feature) for feature in request.candidates]
    return PredictRequest(
        message, request.model, version_of(request), context, candidates, request.inputs_digest
    )


def _large(message: bytes) -> PredictRequest:
    head = bytearray()
    sent: dict[int, list[SentFeature]] = {3: [], 4: []}
    position = 0
    for field in fields(message, 0, len(message)):
        if field.number in sent:
            sent[field.number].append(_feature(message, field))
        elif field.stop - position > SMALL_MESSAGE_BYTES:
            raise InvalidRequest("the names of model and label take more than 64 KB")
        else:
            head += message[position : field.stop]
        position = field.stop
    request = parse(pb.PredictRequest, bytes(head))
    return PredictRequest(
        message, request.model, version_of(request), sent[3], sent[4], request.inputs_digest
    )


def _feature(message: bytes, place: Field) -> SentFeature:
    names = [
        text(message, field, "a feature's name")
        for field in fields(message, place.start, place.stop, most=MAX_FEATURE_FIELDS)
        if field.number == 1
    ]
    return SentFeature(names[-1] if names else "", None, place)


def version_of(request: pb.PredictRequest | pb.GetModelRequest) -> str:
    """Return the version or label that is asked for. Raises InvalidRequest where both are."""
    if request.version and request.label:
        raise InvalidRequest(
            f"the request names version {request.version} and label {request.label!r}: give one"
        )
    return request.label or str(request.version)
