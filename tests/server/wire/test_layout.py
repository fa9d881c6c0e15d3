"""A request that is known by its bytes is read as if it were parsed."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablefold.errors import RequestError
from tablefold.protos import inference_pb2 as pb
from tablefold.schema import CategoricalFeature, DenseFeature, FeatureSchema
from tablefold.server.wire.oip.infer import InferReader
from tablefold.server.wire.oip.layout import MAX_LAYOUTS

FULL = FeatureSchema(
    name="log",
    label="y",
    dense=[DenseFeature(name="a"), DenseFeature(name="b")],
    categorical=[CategoricalFeature(name="c", encoding="int")],
)
SPARSE = FeatureSchema(name="log", label="y", categorical=[CategoricalFeature(name="c", encoding="int")])


class Model:
    def __init__(self, schema: FeatureSchema, version: int = 1) -> None:
        self.name, self.version = "m", version
        self.manifest = SimpleNamespace(feature_schema=schema)
        self.batcher = SimpleNamespace(max_queue_rows=1000)


def anything(model: object, rows: int) -> None:
    """The queue takes any rows."""


class Repository:
    def __init__(self, model: Model) -> None:
        self.model = model

    def find(self, name: str, version: str) -> Model:
        return self.model


def request(schema: FeatureSchema, rows: int, seed: int, *, ids_first: bool = False, **fields: str) -> bytes:
    rng = np.random.default_rng(seed)
    message = pb.ModelInferRequest(model_name="m", **fields)
    inputs = [("ids", "INT64", rng.integers(-9, 9, (rows, 1)))]
    if schema.dense:
        inputs.append(("dense", "FP32", rng.normal(size=(rows, 2)).astype(np.float32)))
    for name, datatype, values in inputs if ids_first else reversed(inputs):
        message.inputs.add(name=name, datatype=datatype, shape=values.shape)
        message.raw_input_contents.append(values.tobytes())
    return message.SerializeToString()


def outcome(reader: InferReader, message: bytes, repository: Repository) -> tuple:
    """What is read, and the reply to probabilities; or the error."""
    try:
        read = reader.read(message, repository, anything)
    except RequestError as error:
        return type(error), str(error)
    probability = np.linspace(0, 1, len(read.ids), dtype=np.float32)
    reply = read.encode(SimpleNamespace(probability=probability, rows=len(read.ids)))
    return read.model.version, read.dense.tobytes(), read.dense.shape, read.ids.tolist(), reply


@given(
    schema=st.sampled_from([FULL, SPARSE]),
    rows=st.integers(1, 300),
    seed=st.integers(0, 99),
    ids_first=st.booleans(),
    version=st.sampled_from(["", "1"]),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3),
)
def test_a_known_request_is_read_as_if_parsed(schema, rows, seed, ids_first, version, changes):
    repository, reader = Repository(Model(schema)), InferReader()
    fields = {"ids_first": ids_first, "model_version": version}
    reader.read(request(schema, rows, 0, **fields), repository, anything)
    message = bytearray(request(schema, rows, seed, **fields))
    for place, value in changes:
        message[place % len(message)] = value
    assert outcome(reader, bytes(message), repository) == outcome(InferReader(), bytes(message), repository)


def parses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the messages that are parsed from now on."""
    parsed: list[int] = []
    real = pb.ModelInferRequest.FromString
    monkeypatch.setattr(
        "tablefold.server.wire.oip.infer.parse",
        lambda kind, message: parsed.append(len(message)) or real(message),
    )
    return parsed


def test_the_second_request_is_not_parsed_but_one_with_an_id_is(monkeypatch):
    parsed = parses(monkeypatch)
    repository, reader = Repository(Model(FULL)), InferReader()
    for seed in range(3):
        reader.read(request(FULL, 5, seed), repository, anything)
    assert len(parsed) == 1
    for _ in range(2):
        reader.read(request(FULL, 5, 0, id="mine"), repository, anything)
    assert len(parsed) == 3


def test_another_model_under_the_name_is_checked_anew_and_the_old_one_is_let_go(monkeypatch):
    parsed = parses(monkeypatch)
    repository, reader = Repository(Model(FULL)), InferReader()
    old = weakref.ref(repository.model)
    reader.read(request(FULL, 5, 0), repository, anything)
    repository.model = Model(SPARSE, version=2)
    gc.collect()
    assert old() is None
    assert outcome(reader, request(FULL, 5, 0), repository)[0].__name__ == "InvalidRequest"
    repository.model = Model(FULL, version=3)
    assert outcome(reader, request(FULL, 5, 0), repository)[0] == 3
    assert len(parsed) == 3


def test_what_stands_behind_or_between_the_tensors_counts():
    repository, reader = Repository(Model(FULL)), InferReader()
    known = request(FULL, 2, 0)
    reader.read(known, repository, anything)
    twice = pb.ModelInferRequest(model_name="other", model_version="9").SerializeToString()
    for message in (known + twice, known[:-8], known + b"\x3a\x00"):
        assert outcome(reader, message, repository) == outcome(InferReader(), message, repository)


def test_layouts_are_bounded():
    repository, reader = Repository(Model(FULL)), InferReader()
    for rows in range(1, MAX_LAYOUTS + 50):
        reader.read(request(FULL, rows, 0), repository, anything)
    assert 0 < len(reader._layouts._seen) <= MAX_LAYOUTS
