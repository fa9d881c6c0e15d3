"""What is refused is refused before it costs anything: unread where its time is over or the queue is full."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from tablefold.errors import DeadlineExceeded, Overloaded, RequestError
from tablefold.model_size import Parts
from tablefold.protos import inference_pb2 as oip
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import CategoricalFeature, DenseFeature, Encoding, FeatureSchema
from tablefold.server.dispatcher import SMALL_BYTES, Dispatcher
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.wire.oip.infer import InferReader
from tablefold.server.wire.tablefold_v1 import features
from tablefold.server.wire.tablefold_v1.service import read_predict

SCHEMA = FeatureSchema(
    name="shop",
    dense=(DenseFeature(name="price"),),
    categorical=(CategoricalFeature(name="item", encoding=Encoding.INT),),
)
ROWS = 1000


class FullQueue:
    """Has room for nobody, or for all; says what it was asked."""

    max_queue_rows = 4096

    def __init__(self, *, full: bool = True) -> None:
        self.full = full
        self.asked: list[tuple[int, float | None, str]] = []
        self.offered = 0
        self.metrics = Metrics().of_model("shop", Parts())

    def check(self, claim) -> None:
        self.asked.append((claim.rows, claim.deadline, claim.client))
        if self.full:
            raise Overloaded("the queue is full")

    def offer(self, call) -> None:
        self.offered += 1
        raise Overloaded("the queue is full")


class Arrival:
    """A call that says how it ended."""

    peer, metadata, cancelled, call = "ipv4:1.2.3.4:5", (), False, None

    def __init__(self, method: str, message: bytes, seconds: float | None = None) -> None:
        self.method, self.message, self.arrived = method, message, time.monotonic()
        self.deadline = None if seconds is None else self.arrived + seconds
        self.ends: list[RequestError] = []

    def refuse(self, error: RequestError) -> None:
        self.ends.append(error)


class Front:
    """Gives some arrivals, once."""

    waits = False

    def __init__(self, *arrivals: Arrival) -> None:
        self._arrivals = [*arrivals]

    def receive(self, max_calls: int, *, wait: bool) -> list[Arrival]:
        given, self._arrivals = self._arrivals, []
        return given

    def flush(self) -> None:
        pass


def given(*arrivals: Arrival, methods=None) -> tuple[FullQueue, Metrics]:
    """Let a dispatcher receive them for a model whose queue is full."""
    queue, metrics = FullQueue(), Metrics()
    model = SimpleNamespace(
        name="shop", version=1, retired=False, batcher=queue, manifest=SimpleNamespace(feature_schema=SCHEMA)
    )
    repository = SimpleNamespace(find=lambda name, version: model)
    dispatcher = Dispatcher(
        methods or {"Predict": read_predict, "Infer": InferReader().read}, repository, metrics
    )
    dispatcher.serve(Front(*arrivals))
    dispatcher.receive(wait=False)
    return queue, metrics


def predict(rows: int) -> bytes:
    request = pb.PredictRequest(model="shop")
    request.context.add(name="price").numbers.values.append(1.0)
    request.candidates.add(name="item").ids.values.extend(range(1 << 40, (1 << 40) + rows))
    return request.SerializeToString()


def infer(rows: int, *, typed: bool) -> bytes:
    request = oip.ModelInferRequest(model_name="shop")
    for name, datatype, array in (
        ("dense", "FP32", np.zeros((rows, 1), np.float32)),
        ("ids", "INT64", np.arange(1 << 40, (1 << 40) + rows).reshape(rows, 1)),
    ):
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if typed:
            values = tensor.contents.fp32_contents if name == "dense" else tensor.contents.int64_contents
            values.extend(array.ravel().tolist())
        else:
            request.raw_input_contents.append(array.tobytes())
    return request.SerializeToString()


@pytest.fixture
def no_rows(monkeypatch: pytest.MonkeyPatch):
    """Making arrays of rows fails."""

    def made(*arguments, **named):
        raise AssertionError("rows were read")

    for module in (features.np, np):
        for name in ("full", "fromiter", "frombuffer"):
            monkeypatch.setattr(module, name, made)


@pytest.mark.parametrize(
    ("method", "message"),
    [("Predict", predict(ROWS)), ("Infer", infer(ROWS, typed=False)), ("Infer", infer(ROWS, typed=True))],
    ids=["predict", "raw", "typed"],
)
def test_a_large_call_that_finds_no_room_is_refused_before_its_rows_are_read(no_rows, method, message):
    assert len(message) > SMALL_BYTES
    arrival = Arrival(method, message, seconds=60)
    queue, metrics = given(arrival)
    assert [type(error) for error in arrival.ends] == [Overloaded]
    assert queue.asked == [(ROWS, arrival.deadline, arrival.peer)]
    assert queue.offered == 0
    assert queue.metrics.counts.failed() == {("RESOURCE_EXHAUSTED", "queue_full"): 1}
    assert metrics.counters.refusals.labels("queue_full").value == 1


def test_a_small_call_is_read_at_once_and_the_queue_decides():
    arrival = Arrival("Predict", predict(1), seconds=60)
    queue, _ = given(arrival)
    assert [type(error) for error in arrival.ends] == [Overloaded]
    assert (queue.asked, queue.offered) == ([], 1)


def test_a_call_whose_time_is_over_is_not_even_parsed():
    def read(message, repository, admit):
        raise AssertionError("it was read")

    arrival = Arrival("Predict", predict(ROWS), seconds=0)
    _, metrics = given(arrival, methods={"Predict": read})
    assert [type(error) for error in arrival.ends] == [DeadlineExceeded]
    assert metrics.counters.refusals.labels("deadline").value == 1


@pytest.mark.parametrize(("seconds", "reason"), [(0.005, "deadline"), (60, "cancelled"), (None, "cancelled")])
def test_a_client_that_leaves_at_its_deadline_has_not_cancelled(seconds, reason):
    """Its clock began before ours, so that its cancel can come before our deadline does."""
    arrival = Arrival("Predict", b"", seconds=seconds)
    arrival.cancelled = True
    _, metrics = given(arrival)
    assert arrival.ends == []
    counted = {name: metrics.counters.refusals.labels(name).value for name in ("deadline", "cancelled")}
    assert counted == {"deadline": 0, "cancelled": 0, reason: 1}


def ask_unread(*queues: FullQueue) -> Metrics:
    """Ask about a call whose message has not come; the models have these queues."""
    models = [
        SimpleNamespace(name=f"model {number}", version=number, batcher=queue)
        for number, queue in enumerate(queues)
    ]
    metrics = Metrics()
    dispatcher = Dispatcher({}, SimpleNamespace(served=lambda: iter(models)), metrics)
    try:
        dispatcher.check_unread("Predict", (), 12.5, "peer")
    except Overloaded:
        assert metrics.counters.refusals.labels("queue_full").value == 1
        raise
    assert metrics.counters.refusals.labels("queue_full").value == 0
    return metrics


def test_a_call_that_no_model_would_take_is_refused_before_its_message_is_read():
    queues = [FullQueue(), FullQueue()]
    with pytest.raises(Overloaded):
        ask_unread(*queues)
    for queue in queues:
        assert queue.asked == [(1, 12.5, "peer")]
        assert queue.metrics.counts.failed() == {}  # nobody knows whose call it was


def test_the_only_model_counts_a_call_that_it_refused_unread():
    queue = FullQueue()
    with pytest.raises(Overloaded):
        ask_unread(queue)
    assert queue.metrics.counts.failed() == {("RESOURCE_EXHAUSTED", "queue_full"): 1}


@pytest.mark.parametrize("full", [[], [False], [True, False], [False, True]])
def test_where_any_model_would_take_it_the_message_is_read(full):
    ask_unread(*(FullQueue(full=one) for one in full))
