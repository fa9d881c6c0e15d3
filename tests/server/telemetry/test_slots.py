"""What a process counts can be read from its memory, whatever became of it."""

import os
import signal
import subprocess
import sys
from threading import Thread

import pytest

from tablefold.model_size import Parts
from tablefold.server.telemetry.counters import Counters
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.telemetry.slots import KEY_BYTES, LENGTH, NUMBERS, SLOTS, Slots, map_memory, new_memory
from tablefold.server.telemetry.version_counts import MAX_CLOSED


@pytest.fixture
def memory():
    descriptor = new_memory()
    yield map_memory(descriptor)
    os.close(descriptor)


def counted(counters: Counters) -> dict[tuple[str, ...], float]:
    """(name, *label values) -> value, where there is one."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in counters.collect()
        for sample in family.samples
        if sample.value
    }


def count_everything(metrics: Metrics) -> None:
    model = metrics.of_model("toy", Parts(), 3)
    for rows in (1, 5, 300):
        model.batch(rows, 0.002)
        model.answered(rows, 0.01, 0.003, 0.002)
        metrics.call("Infer", "OK", None, 0.01)
    model.counts.fail("INTERNAL", "internal", 0.1)
    metrics.call("Infer", "INTERNAL", "internal", 0.1)
    metrics.call_not_received("Infer")
    metrics.unknown_method()


def test_another_reader_of_the_memory_sees_the_same_metrics(memory):
    metrics = Metrics(Slots(memory))
    count_everything(metrics)
    seen = counted(Counters(Slots(memory)))
    assert seen == counted(metrics.counters)
    assert seen["tablefold_rows_total", "toy"] == 306
    assert seen["tablefold_batch_rows_bucket", "toy", "+Inf"] == 3
    assert seen["nv_inference_request_failure", "toy", "3", "BACKEND"] == 1
    assert seen["tablefold_model_calls_total", "toy", "3", "INTERNAL", "internal"] == 1


def test_counting_goes_on_where_the_memory_has_figures(memory):
    count_everything(Metrics(Slots(memory)))
    again = Metrics(Slots(memory))
    count_everything(again)
    assert counted(again.counters)["tablefold_rows_total", "toy"] == 612
    assert counted(again.counters)["nv_inference_count", "toy", "3"] == 612


def test_what_a_killed_process_counted_is_there():
    descriptor = new_memory()
    code = f"""
import os, signal
from tablefold.server.telemetry.counters import Counters
from tablefold.server.telemetry.slots import Slots, map_memory
count = Counters(Slots(map_memory({descriptor}))).rows.labels("toy")
for _ in range(1000):
    count.add(3)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], pass_fds=[descriptor], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    seen = counted(Counters(Slots(map_memory(descriptor))))
    os.close(descriptor)
    assert seen["tablefold_rows_total", "toy"] == 3000


def test_threads_lose_no_count(memory):
    counters = Counters(Slots(memory))

    def work() -> None:
        for _ in range(2000):
            counters.calls.labels("Infer", "OK").add()
            counters.call_seconds.labels("Infer").observe(0.5)

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = counted(counters)
    assert seen["tablefold_calls_total", "Infer", "OK"] == 16000
    assert (seen["tablefold_call_seconds_count", "Infer"], seen["tablefold_call_seconds_sum", "Infer"]) == (
        16000,
        8000,
    )


def test_what_finds_no_room_is_counted_all_the_same(memory):
    slots = Slots(memory)
    long = slots.take("tablefold_rows", "x" * KEY_BYTES)
    long[0] = 7
    taken = [slots.take("many", str(i)) for i in range(SLOTS + 1)]
    taken[-1][0] = 5
    assert [numbers[0] for _, numbers in slots.of("tablefold_rows")] == [7]
    assert len(list(slots.of("many"))) == SLOTS + 1
    seen = Slots(memory)
    assert not list(seen.of("tablefold_rows"))
    assert len(list(seen.of("many"))) == SLOTS
    slots.release(taken[-1])
    slots.release(taken[0])
    assert len(list(slots.of("many"))) == SLOTS - 1
    again = slots.take("again")
    assert list(again) == [0.0] * NUMBERS
    assert len(list(Slots(memory).of("again"))) == 1


def test_new_versions_without_end_take_no_more_slots(memory):
    metrics = Metrics(Slots(memory))
    for version in range(3 * MAX_CLOSED):
        model = metrics.of_model("toy", Parts(), version)
        model.answered(1, 0.1, 0.1, 0.1)
        model.counts.fail("INTERNAL", "internal", 0.1)
        model.close()
        model.counts.fail("INTERNAL", "late", 0.1)  # a call that ended after all
    slots = Slots(memory)
    assert len(list(slots.of("sums of a version"))) == MAX_CLOSED
    assert len(list(slots.of("tablefold_model_calls"))) == 2 * MAX_CLOSED


def test_a_call_that_ends_after_its_version_was_forgotten_counts_nowhere(memory):
    slots = Slots(memory)
    counters = Counters(slots)
    first, again = (counters.versions.open("toy", "1") for _ in range(2))
    first.answer(1, 1.0, 1.0, 1.0)
    counters.versions.close(first)
    counters.versions.close(again)
    others = [slots.take("other", str(i)) for i in range(4)]
    first.answer(1, 1.0, 1.0, 1.0)
    first.fail("INTERNAL", "internal", 1.0)
    assert all(list(numbers) == [0.0] * NUMBERS for numbers in others)
    assert counted(counters)["nv_inference_request_success", "toy", "1"] == 1


@pytest.mark.parametrize(
    "wild", [b"\xff" * 400, LENGTH.pack(5) + b"\xff\xff\xff\xff\xff", LENGTH.pack(2) + b"17"]
)
def test_memory_that_a_process_wrote_wildly_into_is_read_as_far_as_it_can_be(memory, wild):
    slots = Slots(memory)
    slots.take("lost")
    slots.take("tablefold_rows", "toy")[0] = 3
    memory[: len(wild)] = wild
    assert [numbers[0] for _, numbers in Slots(memory).of("tablefold_rows")] == [3]
    assert not list(Slots(memory).of("lost"))
