"""What a client asks and how it reads the replies, without sending anything itself.

Every question is a generator: it yields calls and is sent their replies, or has their errors thrown into it.
So the blocking and the asynchronous client share all of it; each adds only how a call is made.
"""

import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from google.protobuf.message import Message

from tablefold.client.features import encode_features
from tablefold.client.footprint import ServerFootprint
from tablefold.client.protocols.codec import Prediction
from tablefold.client.protocols.tablefold_v1 import (
    GET_FOOTPRINT,
    GET_MODEL,
    PREDICT,
    predict_request,
    read_prediction,
)
from tablefold.client.replies import ModelInfo, ModelStatus
from tablefold.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Unavailable,
    UsageError,
)
from tablefold.protos import inference_pb2 as oip
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import FeatureSchema

Result = TypeVar("Result")
OIP_SERVICE = "/inference.GRPCInferenceService"
ATTEMPTS = 3
"""Predictions sent for one answer, while the model's versions change under way."""
LARGEST_VERSION = (1 << 64) - 1
LONGEST_TIMEOUT_SECONDS = 30 * 24 * 3600.0


class Call(NamedTuple):
    """One call to be made."""

    method: str
    request: Message
    reply: type[Message]
    seconds: float
    """Its deadline, from now."""


Exchange: TypeAlias = Generator[Call, Any, Result]
"""Yields calls, is sent the message that replies to each, returns the result."""


class Session:
    """The questions to one server, and what is known of its models."""

    def __init__(self, timeout: float) -> None:
        self._timeout = _checked_timeout(timeout)
        self._models: dict[tuple[str, int | None, str | None], ModelInfo] = {}
        """The version served last, by what was asked for."""
        self._schemas: dict[tuple[str, int], FeatureSchema] = {}

    def predict(
        self,
        model: str,
        features: Mapping[str, Any],
        context: Mapping[str, Any] | None,
        version: int | None,
        label: str | None,
        timeout: float | None,
    ) -> Exchange[Prediction]:
        """Probabilities, encoded by the schema of the very version that gives them.

        Raises InvalidRequest before anything is sent, and whatever the calls raise.
        """
        deadline = self._deadline(timeout)
        features, context = _by_name("features", features), _by_name("context", context or {})
        asked = _checked_version(model, version, label)
        fresh = asked not in self._models
        info = self._models.get(asked) or (yield from self._ask_model(asked, deadline))
        for _ in range(ATTEMPTS):
            try:
                encoded = encode_features(model, info.schema, features, context)
                if not encoded.rows:
                    return Prediction(np.empty(0, np.float32), version=str(info.version))
                message = predict_request(
                    model, encoded.context, encoded.candidates,
                    version=asked[1] or 0, label=label or "", inputs_digest=info.inputs_digest,
                )  # fmt: skip
                reply = yield Call(PREDICT, message, pb.PredictResponse, _seconds_to(deadline))
            except Unavailable:
                # Whatever answers next may have other files under the same number.
                self._models.pop(asked, None)
                raise
            except (InvalidRequest, ModelNotFound):
                # The server may have changed to a version with other features since it was asked.
                if fresh:
                    raise
                newer, fresh = (yield from self._ask_model(asked, deadline)), True
                if newer.schema == info.schema:
                    raise
                info = newer
                continue
            if self._schemas.get((model, reply.version)) != info.schema:
                newer, fresh = (yield from self._ask_model(asked, deadline)), True
                if self._schemas.get((model, reply.version)) != info.schema:
                    info = newer
                    continue
            return read_prediction(reply, encoded.rows)
        raise Unavailable(f"model {model!r} changes its version with every call; name one with `version`")

    def model_info(
        self, model: str, version: int | None, label: str | None, timeout: float | None
    ) -> Exchange[ModelInfo]:
        """What the version reads and how it was made. Raises ModelNotFound."""
        return (yield from self._ask_model(_checked_version(model, version, label), self._deadline(timeout)))

    def models(self, timeout: float | None) -> Exchange[list[ModelStatus]]:
        """Every version in the repository, refused ones too."""
        reply = yield Call(
            f"{OIP_SERVICE}/RepositoryIndex",
            oip.RepositoryIndexRequest(),
            oip.RepositoryIndexResponse,
            _seconds_to(self._deadline(timeout)),
        )
        return [ModelStatus.of(entry) for entry in reply.models]

    def footprint(self, timeout: float | None) -> Exchange[ServerFootprint]:
        """Bytes of every version and of the server."""
        reply = yield Call(
            GET_FOOTPRINT,
            pb.GetFootprintRequest(),
            pb.GetFootprintResponse,
            _seconds_to(self._deadline(timeout)),
        )
        return ServerFootprint.of(reply)

    def ready(self, model: str | None, timeout: float | None) -> Exchange[bool]:
        """May calls come? False where nobody answers, or there is no such model."""
        seconds = _seconds_to(self._deadline(timeout))
        if model is None:
            call = Call(
                f"{OIP_SERVICE}/ServerReady", oip.ServerReadyRequest(), oip.ServerReadyResponse, seconds
            )
        else:
            request = oip.ModelReadyRequest(name=model)
            call = Call(f"{OIP_SERVICE}/ModelReady", request, oip.ModelReadyResponse, seconds)
        try:
            reply = yield call
        except (DeadlineExceeded, ModelNotFound, Unavailable):
            return False
        return bool(reply.ready)

    def _ask_model(self, asked: tuple[str, int | None, str | None], deadline: float) -> Exchange[ModelInfo]:
        model, version, label = asked
        request = pb.GetModelRequest(model=model, version=version or 0, label=label or "")
        self._models.pop(asked, None)
        reply = yield Call(GET_MODEL, request, pb.GetModelResponse, _seconds_to(deadline))
        info = self._models[asked] = ModelInfo.of(reply)
        self._schemas[model, info.version] = info.schema
        return info

    def _deadline(self, timeout: float | None) -> float:
        """By `time.monotonic()`."""
        return time.monotonic() + (self._timeout if timeout is None else _checked_timeout(timeout))


def _by_name(argument: str, values: Any) -> dict[str, Any]:
    """The values by feature, of a dictionary or a data frame.

    Iterators become lists: they give their values once, and a request may be encoded twice.
    """
    if not hasattr(values, "items") and hasattr(values, "to_dict"):  # as polars has it
        values = values.to_dict()
    if not hasattr(values, "items"):
        raise InvalidRequest(f"`{argument}` is {type(values).__name__}: give a dictionary, feature to values")
    return {name: list(column) if isinstance(column, Iterator) else column for name, column in values.items()}


def _checked_version(
    model: str, version: int | None, label: str | None
) -> tuple[str, int | None, str | None]:
    """What is asked for. Raises InvalidRequest."""
    for name, text in (("model", model), ("label", label or "")):
        if not (isinstance(text, str) and text.isprintable()):
            raise InvalidRequest(f"{text!r} is no {name}'s name: give printable text")
    if version is None:
        return model, None, label
    if label is not None:
        raise InvalidRequest(f"version {version} and label {label!r} are given: give one of them")
    if not isinstance(version, (int, np.integer)) or version is True or not 1 <= version <= LARGEST_VERSION:
        raise InvalidRequest(f"{version!r} is no version: versions are whole numbers from 1 on")
    return model, int(version), None


def _checked_timeout(seconds: float) -> float:
    if not isinstance(seconds, (int, float)) or not 0 < seconds <= LONGEST_TIMEOUT_SECONDS:
        raise UsageError(f"timeout must be above 0 and at most 30 days, in seconds, not {seconds}")
    return seconds


def _seconds_to(deadline: float) -> float:
    """What is left. Raises DeadlineExceeded where nothing is."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise DeadlineExceeded("the time of the call was over before it could be sent")
    return seconds
