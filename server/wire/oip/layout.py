"""Requests like one before: known by their bytes, and not parsed again.

A client sends the same names, datatypes and shapes with every request; only the tensors' own bytes differ:

    head (up to the length of the first tensor) | bytes | link (tag and length of the second one) | bytes
"""

from contextlib import suppress
from dataclasses import dataclass
from weakref import ReferenceType, ref

import numpy as np

from tablefold.errors import InvalidRequest
from tablefold.protos import inference_pb2 as pb
from tablefold.server.models.model import Model
from tablefold.server.models.repository import Repository
from tablefold.server.wire.oip.reply import RawReply
from tablefold.server.wire.oip.tensors import DENSE, IDS
from tablefold.server.wire.prediction import Admit, Prediction
from tablefold.server.wire.scan import Field, fields

KEY_BYTES = 16
"""Of the head, which is never shorter; most of the model's name."""
MAX_HEAD_BYTES = 1024
MAX_FIELDS = 16
MAX_LAYOUTS = 256
RAW = 7
"""The field of a ModelInferRequest with the bytes of a tensor."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Of a request whose every tensor is raw. Whatever has the same head, link and length is read alike."""

    model_name: str
    version: str
    """As they were asked for."""
    model: ReferenceType[Model]
    """For which the request was checked; a reference would keep a retired one in memory."""
    head: bytes
    link: bytes
    link_start: int
    ids_first: bool
    """Or alone."""
    rows: int
    dense_columns: int
    id_columns: int
    reply: RawReply

    def read(self, message: bytes, repository: Repository, admit: Admit) -> Prediction | None:
        """Return the rows of a message of the same length; None where it is of another layout.

        Raises the errors of `Repository.find`, `admit` and `Prediction`.
        """
        second = self.link_start + len(self.link)
        if not message.startswith(self.head) or message[self.link_start : second] != self.link:
            return None
        model = repository.find(self.model_name, self.version)
        if model is not self.model():
            return None
        admit(model, self.rows)
        first, last = message[len(self.head) : self.link_start], message[second:]  # copies, which are aligned
        ids, dense = (first, last) if self.ids_first else (last, first)
        return Prediction(
            model,
            np.ndarray((self.rows, self.dense_columns), DENSE, dense),
            np.ndarray((self.rows, self.id_columns), IDS, ids),
            self.reply,
        )


class Layouts:
    """Those of the requests seen lately; used by any thread."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, bytes], Layout] = {}

    def read(self, message: bytes, repository: Repository, admit: Admit) -> Prediction | None:
        """Return the rows of a request whose layout is known. Raises the errors of `Layout.read`."""
        layout = self._seen.get((len(message), message[:KEY_BYTES]))
        return None if layout is None else layout.read(message, repository, admit)

    def learn(self, message: bytes, request: pb.ModelInferRequest, prediction: Prediction) -> None:
        """Remember the layout of a request that was read, if it is one that comes again."""
        reply, raw = prediction.encode, _raw_fields(message)
        if not isinstance(reply, RawReply) or request.id or len(raw) != len(request.inputs):
            return
        first, last = raw[0], raw[-1]
        if last.stop != len(message) or first.start > MAX_HEAD_BYTES:
            return
        link_start = first.stop
        if len(self._seen) >= MAX_LAYOUTS:
            self._seen.clear()
        self._seen[len(message), message[:KEY_BYTES]] = Layout(
            model_name=request.model_name,
            version=request.model_version,
            model=ref(prediction.model),
            head=message[: first.start],
            link=message[link_start : last.start] if len(raw) > 1 else b"",
            link_start=link_start,
            ids_first=request.inputs[0].name == "ids",
            rows=len(prediction.ids),
            dense_columns=prediction.dense.shape[1],
            id_columns=prediction.ids.shape[1],
            reply=reply,
        )


def _raw_fields(message: bytes) -> list[Field]:
    with suppress(InvalidRequest):  # too many fields: it was parsed all the same
        return [field for field in fields(message, 0, len(message), most=MAX_FIELDS) if field.number == RAW]
    return []
