"""Whatever goes wrong is counted by its code or refused in plain words, and what was measured is kept."""

import asyncio
import os
import signal
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from tablefold.errors import UsageError
from tablefold.loadtest.generator.arrivals import CLIENT_LIMIT, open_loop
from tablefold.loadtest.generator.coordinator import ClientProcessDied
from tablefold.loadtest.generator.load_generator import LoadGenerator
from tablefold.loadtest.generator.recorder import printable
from tablefold.loadtest.interrupt import Interrupt
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.report.page import page
from tablefold.loadtest.slo import LatencySlo
from tablefold.loadtest.target import open_target, run

BASE = Plan(server="-", model="ctr", rows="5", rate=100.0, duration=2.0, warmup=0.2, processes=1)


async def measure(address, on_progress=lambda _: None, **options):
    return await run(replace(BASE, server=address, **options), on_progress)


def once(action):
    """Does it when a run is well under way, and only then."""
    done = []

    def on_progress(progress):
        if progress.report.due > 20 and not done:
            done.append(action())

    return on_progress


async def test_every_shed_call_is_counted_by_its_code(start_fake):
    shedding = start_fake(shed_every=10)
    result = await measure(shedding.address, rate=200.0)
    assert set(result.errors) == {"RESOURCE_EXHAUSTED"}
    # Every tenth of 400, give or take the one at either end of the window.
    assert result.errors["RESOURCE_EXHAUSTED"] == pytest.approx(40, abs=1)
    assert result.calls.ok + result.calls.failed == result.calls.due == 400
    assert result.latency_ms.count == result.calls.ok
    assert "RESOURCE_EXHAUSTED" in result.verdict


async def test_a_call_that_runs_into_its_deadline_counts_in_full(start_fake):
    slow = start_fake(delay=[0.6, 0.7])
    result = await measure(slow.address, rate=20.0, duration=1.0, timeout=0.3)
    assert result.errors == {"DEADLINE_EXCEEDED": 20}
    assert result.latency_ms.p50 == pytest.approx(300, rel=0.1)
    assert result.achieved_rps == 0


@pytest.mark.parametrize("protocol", ["oip", "tablefold"])
@pytest.mark.parametrize("spoil", ["nan", "short"])
async def test_a_reply_that_is_not_one_number_a_row_is_refused_before_the_run(start_fake, protocol, spoil):
    spoiling = start_fake(spoil=spoil)
    with pytest.raises(UsageError, match="does not answer as a recommender should"):
        await measure(spoiling.address, protocol=protocol)


async def test_a_server_killed_midway_leaves_partial_results(start_fake):
    doomed = start_fake(delay=[0.001, 0.002])
    result = await measure(doomed.address, once(doomed.kill))
    assert result.calls.ok > 20
    assert result.errors["UNAVAILABLE"] > 20
    assert result.calls.due == 200
    assert result.latency_ms.count == result.calls.ok
    assert result.server_memory_bytes.resident_peak > 10e6
    assert not result.interrupted


async def test_a_server_that_goes_away_and_comes_back_is_loaded_and_weighed_again(
    start_fake, unused_tcp_port
):
    first, started = start_fake(port=unused_tcp_port), []

    def restart():
        first.kill()
        started.append((time.perf_counter(), start_fake(port=unused_tcp_port, change_after=-1)))

    result = await measure(first.address, once(restart), rate=20.0, duration=8.0, timeout=2.0)
    assert result.errors["UNAVAILABLE"] > 0
    assert [span.version for span in result.answered_by] == ["10", "11"]
    assert result.answered_by[1].calls > 20
    assert result.memory_over_time[-1].second > 7.0
    assert result.memory_over_time[-1].resident > 10e6
    assert result.server_cpu is None


async def test_a_dead_server_is_not_hammered_by_the_closed_loop(start_fake):
    doomed = start_fake()
    result = await measure(doomed.address, once(doomed.kill), rate=None, concurrency=4)
    assert 0 < result.errors["UNAVAILABLE"] < 4 * 2.0 / 0.01 + 10


def client_processes(parent=None):
    """Those of a load test, by default this process's."""
    children = (parent or psutil.Process()).children()
    alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if "tablefold.loadtest.generator.client_process" in child.cmdline()]


def client_process():
    """The one client process."""
    (found,) = client_processes()
    return found


async def test_the_only_client_process_that_dies_is_named(quick):
    with pytest.raises(ClientProcessDied, match="ended with exit code -9"):
        await measure(quick.address, once(lambda: client_process().kill()), duration=30.0)


async def test_of_two_client_processes_one_dies_and_the_other_finishes(quick):
    def kill_one():
        first, *_ = client_processes()
        first.kill()

    result = await measure(quick.address, once(kill_one), processes=2, rate=50.0)
    assert result.calls.ok > 40
    (reason,) = [doubt.reason for doubt in result.doubts if doubt.word == "process lost"]
    assert "ended with exit code -9" in reason
    assert not result.valid


async def test_a_target_is_loaded_again_after_a_client_process_died(quick):
    interrupt, kill = Interrupt(), once(lambda: client_process().kill())
    plan = replace(BASE, server=quick.address, duration=1.0)
    async with open_target(plan, interrupt, kill) as target:
        with pytest.raises(ClientProcessDied):
            await target.run(plan)
        assert (await target.run(plan)).calls.ok == 100


async def test_one_example_of_every_code_in_the_servers_words(start_fake):
    shedding = start_fake(shed_every=10, spoil="nan", spoil_after=100)
    result = await measure(shedding.address)
    assert set(result.errors) == {"RESOURCE_EXHAUSTED", "BAD_REPLY"}
    assert result.problems == {
        "RESOURCE_EXHAUSTED": "the queue is full",
        "BAD_REPLY": "the reply holds a probability that is not a finite number",
    }
    assert "RESOURCE_EXHAUSTED, for example: the queue is full" in page(result).render()


async def test_requests_of_a_size_that_is_refused_are_refused_at_once(start_fake):
    narrow = start_fake(max_rows=4)
    with pytest.raises(UsageError, match=r"answers a call of 1 row, but refused 3 calls of 5 rows: .*give"):
        await measure(narrow.address)
    assert (await measure(narrow.address, rows="4", duration=0.5)).calls.ok == 50


def test_the_words_of_a_server_cannot_command_the_terminal():
    assert printable("no\x1b[31m\nmodel\t'x'") == "no [31m model 'x'"
    assert len(printable("x" * 10_000)) < 400


@pytest.mark.parametrize("protocol", ["oip", "tablefold"])
async def test_every_version_that_answered_is_named(start_fake, protocol):
    changing = start_fake(change_after=120)
    result = await measure(changing.address, protocol=protocol)
    assert [span.version for span in result.answered_by] == ["10", "11"]
    assert sum(span.calls for span in result.answered_by) == result.calls.ok == 200
    old, new = result.answered_by
    assert 0 <= old.first_second < old.last_second < new.last_second <= 2.0
    assert new.first_second == pytest.approx(old.last_second, abs=0.2)
    assert result.model_version == "10, 11"
    assert "The model changed: version 10 answered" in result.verdict


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_keeps_what_was_measured(quick, number):
    work = measure(quick.address, once(lambda: os.kill(os.getpid(), number)), duration=60.0)
    result = await asyncio.wait_for(work, timeout=30)
    assert result.interrupted
    assert 0.1 < result.seconds < 30.0
    assert result.latency_ms.count == result.calls.ok > 20


async def test_ctrl_c_before_the_load_begins_ends_the_run(quick, monkeypatch):
    prepare = LoadGenerator.prepare

    async def prepare_and_interrupt(generator, plan):
        await prepare(generator, plan)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)

    monkeypatch.setattr(LoadGenerator, "prepare", prepare_and_interrupt)
    result = await asyncio.wait_for(measure(quick.address, duration=60.0), timeout=30)
    assert result.interrupted
    assert result.calls.ok < 20


async def test_the_open_loop_bounds_its_calls_in_flight(monkeypatch):
    monkeypatch.setattr("tablefold.loadtest.generator.arrivals.IN_FLIGHT_LIMIT", 3)
    release, calls = asyncio.Event(), []

    async def send(due):
        await release.wait()
        return type("Call", (), {"code": "OK"})()

    load = asyncio.create_task(open_loop(send, calls.append, [np.zeros(10)]))
    await asyncio.sleep(0.05)
    release.set()
    await load
    codes = [call.code for call in calls]
    assert codes.count(CLIENT_LIMIT) == 7
    assert codes.count("OK") == 3


async def test_refused_connection(nobody):
    with pytest.raises(UsageError, match=f"no server answers at {nobody}"):
        await measure(nobody)


@pytest.mark.parametrize("protocol", ["oip", "tablefold"])
async def test_unknown_model(quick, protocol):
    with pytest.raises(UsageError, match="does not have it: there is no model 'nosuch'"):
        await measure(quick.address, model="nosuch", protocol=protocol)


@pytest.mark.parametrize(("spoken", "asked"), [("oip", "tablefold"), ("tablefold", "oip")])
async def test_wrong_protocol_names_the_other(start_fake, spoken, asked):
    server = start_fake(speaks=[spoken])
    with pytest.raises(UsageError, match=f"does not speak '{asked}'.*--protocol {spoken}"):
        await measure(server.address, protocol=asked)


async def test_a_server_that_refuses_the_requests_is_quoted(start_fake):
    picky = start_fake(refuse="INVALID_ARGUMENT")
    with pytest.raises(UsageError, match="refused with INVALID_ARGUMENT: as it was told to"):
        await measure(picky.address)


async def test_a_model_of_another_kind(start_fake):
    with pytest.raises(UsageError, match="input 'prompt' of model 'ctr' is BYTES"):
        await measure(start_fake(tensors="text").address)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rows": "0"}, "--rows '0': give a number from 1"),
        ({"rows": "700-100"}, "--rows '700-100': give"),
        ({"context": ("C1",)}, "--context needs --protocol tablefold"),
        ({"slo": (LatencySlo.parse("p99=20s"),)}, "cannot be judged with --timeout 10"),
        ({"processes": 0}, "--processes must be above 0"),
        ({"rate": -1.0}, "--rate must be above 0"),
        ({"rate": float("inf")}, "--rate must be at most 100,000, not inf"),
        ({"rate": 1e7}, "--rate must be at most 100,000, not 10,000,000"),
        ({"rate": None, "concurrency": 10**9}, "--concurrency must be at most 10,000"),
        ({"processes": 10**6}, "--processes must be at most 256"),
        ({"duration": float("inf")}, "--duration must be at most 2,592,000, not inf"),
        ({"duration": float("nan")}, "--duration must be above 0, not nan"),
        ({"warmup": float("nan")}, "--warmup must be 0 or above, not nan"),
        ({"warmup": 1e9}, "--warmup must be at most 86,400"),
        ({"timeout": 1e300}, "--timeout must be at most 3,600"),
        ({"seed": -1}, "--seed must be 0 or above"),
        ({"seed": 2**64}, "--seed must be at most"),
        ({"price_per_hour": float("nan")}, "--price-per-hour must be above 0, not nan"),
        ({"price_per_hour": float("inf")}, "--price-per-hour must be at most"),
        ({"model": ""}, "--model is empty"),
        ({"data": " "}, "--data is empty"),
        ({"rows": "1e3"}, "--rows '1e3': give a number from 1 to 1,000,000"),
        ({"rows": "1_0"}, "--rows '1_0': give"),
        ({"rows": "\u0663"}, "--rows .*: give"),
        ({"rows": "5-"}, "--rows '5-': give"),
        ({"rows": "-5"}, "--rows '-5': give"),
        ({"rate": float("nan")}, "--rate must be above 0"),
        ({"rate": None, "concurrency": 0}, "--concurrency must be above 0"),
        ({"duration": 0.0}, "--duration must be above 0"),
        ({"warmup": -1.0}, "--warmup must be 0 or above"),
        ({"rate": 0.1, "duration": 1.0}, "less than one call"),
    ],
)
def test_plans_that_cannot_be(options, problem):
    with pytest.raises(UsageError, match=problem):
        replace(BASE, **options)


@pytest.mark.parametrize(
    "server", ["", "localhost", "localhost:", ":80", "host:http", "host:0", "host:70000"]
)
async def test_addresses_that_cannot_be(server):
    with pytest.raises(UsageError, match="is not HOST:PORT"):
        await measure(server)


async def test_data_of_other_features_names_them(quick, tmp_path):
    (tmp_path / "clicks.csv").write_text("click,user\n1,5\n0,6\n1,7\n0,8\n")
    schema = tmp_path / "tiny.toml"
    schema.write_text(
        'name = "tiny"\nlabel = "click"\n[files]\nformat = "csv"\npath = "clicks.csv"\n'
        '[[categorical]]\nname = "user"\nencoding = "int"\n'
    )
    differences = r"the model has no feature 'user'; the model also reads 'I1', .*'I5' and 34 more"
    with pytest.raises(UsageError, match=rf"tiny.toml does not fit model 'ctr': {differences}"):
        await measure(quick.address, data=str(schema))
