"""Large messages are looked at before they are parsed: the same rows, or a refusal, never another error."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tablefold.errors import InvalidRequest, RequestError
from tablefold.protos import tablefold_pb2 as pb
from tablefold.server.wire.scan import fields
from tablefold.server.wire.tablefold_v1 import predict_request
from tablefold.server.wire.tablefold_v1.features import read_rows
from tests.server.conftest import SCHEMA

NAMES = st.sampled_from(["age", "price", "user", "item", "tags", "other", ""])
VALUES = st.one_of(
    st.builds(pb.Numbers, values=st.lists(st.floats(width=32), max_size=6)).map(
        lambda sent: {"numbers": sent}
    ),
    st.builds(pb.Ids, values=st.lists(st.integers(-9, 9), max_size=6)).map(lambda sent: {"ids": sent}),
    st.builds(pb.Texts, values=st.lists(st.sampled_from(["", "1", "ff", "x"]), max_size=6)).map(
        lambda sent: {"texts": sent}
    ),
    st.just({}),
)
FEATURES = st.lists(st.builds(lambda name, sent: pb.Feature(name=name, **sent), NAMES, VALUES), max_size=5)


def outcome(read, message: bytes) -> object:
    try:
        request = read(message)
        dense, ids = read_rows(request, SCHEMA, 4, lambda rows: None)
    except RequestError:  # which fault is found first differs
        return "refused"
    return request.model, request.version, dense.tobytes(), ids.tolist()


@settings(max_examples=300)
@given(
    context=FEATURES,
    candidates=FEATURES,
    version=st.integers(0, 2),
    label=st.sampled_from(["", "canary"]),
)
def test_read_feature_by_feature_or_whole_it_is_the_same_request(context, candidates, version, label):
    request = pb.PredictRequest(
        model="toy", version=version, label=label, context=context, candidates=candidates
    )
    message = request.SerializeToString()
    assert outcome(predict_request._large, message) == outcome(predict_request._small, message)


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_refused_and_nothing_else(message):
    for read in (predict_request._large, predict_request._small):
        outcome(read, message)
    try:
        places = list(fields(message, 0, len(message)))
    except InvalidRequest:
        return
    assert all(0 <= field.start <= field.stop <= len(message) for field in places)


def test_a_walk_over_fields_ends_at_the_limit():
    message = b"\x08\x00" * 1001
    assert len(list(fields(message, 0, 2000))) == 1000
    with pytest.raises(InvalidRequest, match="more than 1000 fields"):
        list(fields(message, 0, len(message)))
    assert len(list(fields(message, 0, len(message), most=None))) == 1001
