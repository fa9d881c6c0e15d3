"""Ranks train as one process does, stay equal to the bit, and end together."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from tablefold.metrics import quality
from tablefold.trainer.checkpoint import files as checkpoints
from tests.trainer.ranks.networks import Normalising
from tests.trainer.ranks.program import Losses, Plan, run

ROOT = Path(__file__).parents[3]
SMALL = {"dim": 4, "inner_dim": 8, "batch_size": 30, "epochs": 2, "patience": 2, "bottom": (8,), "top": (8,)}
"""54 steps an epoch, the last of 10 examples."""
TIMEOUT = 300
"""Seconds, on a busy machine."""
METHODS: Mapping[str, Mapping[str, object]] = {
    "full": {"method": "full", "l2": 1e-3},
    "sgd": {"method": "double", "optimizer": "sgd", "lr": 0.1, "embedding_lr": 0.1, "network": "deepfm"},
    "two stages": {"method": "lhf+mlet", "first_stage_l2": 1e-4},
    "warm": {"method": "lhf", "warm_start": True},
    "one example": {"method": "lhf-f", "batch_size": 1599},
}
OTHERS: Mapping[str, Mapping[str, object]] = {
    "dropping": {"method": "lhf", "first_stage_l2": 1e-4, "network": "tests.trainer.runs:Dropping"},
    "diverging": {"network": "tests.trainer.runs:Diverging"},
    "of its rank": {"network": "tests.trainer.ranks.networks:OfItsRank"},
    "normalising": {"network": "tests.trainer.ranks.networks:Normalising"},
}
"""What is not the same on one process."""


def start(plan: Plan, ranks: int = 2, others: Plan | None = None) -> list[subprocess.Popen[str]]:
    """`others` is the plan of those that are not the lead, if it is another one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    program = [sys.executable, "-m", "tests.trainer.ranks.program"]
    plans = [plan, *[others or plan] * (ranks - 1)]
    return [
        subprocess.Popen(
            [*program, json.dumps(asdict(of_rank))],
            cwd=ROOT,
            env=os.environ | world | {"RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, of_rank in enumerate(plans)
    ]


def end(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each says at its end."""
    try:
        return [process.communicate(timeout=TIMEOUT)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def together(plan: Plan, ranks: int = 2) -> None:
    processes = start(plan, ranks)
    says = end(processes)
    assert [process.returncode for process in processes] == [0] * ranks, says


def settings(name: str) -> dict[str, object]:
    return SMALL | {**METHODS, **OTHERS}[name]


def losses(out: Path) -> list[float]:
    found: list[float] = json.loads(out.with_name(f"{out.name}.losses").read_text())
    return found


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two ranks make."""
    folder = tmp_path_factory.mktemp("ranks")
    together(Plan(runs={str(folder / name): settings(name) for name in [*METHODS, *OTHERS]}))
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_learn_what_one_process_does(of_ranks: Path, tmp_path: Path, name: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run(tmp_path / name, settings(name), Losses(Plan(runs={}), 0))
    torch.set_num_threads(threads)
    alone, ranks = losses(tmp_path / name), losses(of_ranks / name)
    assert len(alone) == len(ranks)
    assert ranks[:100] == pytest.approx(alone[:100], abs=1e-6)
    one = checkpoints.load(tmp_path / name).description.metrics
    two = checkpoints.load(of_ranks / name).description.metrics
    assert two["epoch"] == one["epoch"]
    assert two["test_auc"] == pytest.approx(one["test_auc"], abs=2e-4)


def test_a_run_whose_ranks_are_killed_ends_as_if_they_were_not(of_ranks: Path, tmp_path: Path) -> None:
    whole, out = of_ranks / "dropping", tmp_path / "m"
    runs = {str(out): settings("dropping")}
    for rank, steps in ((1, 40), (0, len(losses(whole)) - 60)):
        killed = Plan(runs=runs, resume=True, signal=signal.SIGKILL, rank=rank, steps=steps)
        processes = start(killed)
        other = end(processes)[1 - rank]
        assert processes[rank].returncode == -signal.SIGKILL
        assert processes[1 - rank].returncode == 1
        assert f"RankLost: rank {1 - rank} of 2 cannot go on: another rank has ended" in other
    together(Plan(runs=runs, resume=True))
    assert len(losses(out)) < len(losses(whole)) - 40
    assert (out / checkpoints.ARRAYS).read_bytes() == (whole / checkpoints.ARRAYS).read_bytes()
    assert (out / checkpoints.DESCRIPTION).read_text() == (whole / checkpoints.DESCRIPTION).read_text()


def test_a_rank_that_hangs_is_given_up(tmp_path: Path) -> None:
    runs = {str(tmp_path / "m"): SMALL}
    lead, hanging = start(Plan(runs=runs, signal=signal.SIGSTOP, steps=20, answers_within=5))
    try:
        (says,) = end([lead])
    finally:
        hanging.kill()
    assert end([hanging]) == [""]
    assert lead.returncode == 1
    assert "RankLost: rank 0 of 2 cannot go on: another rank has ended, or does not answer (Timed out" in says


def test_ranks_that_read_other_examples_are_refused(tmp_path: Path) -> None:
    processes = start(Plan(runs={str(tmp_path / "m"): SMALL}, others_rows=1000))
    lead, other = end(processes)
    assert [process.returncode for process in processes] == [1, 1]
    assert (
        "UsageError: rank 1 reads other training examples than rank 0: give all ranks the same log" in other
    )
    assert "RankLost: rank 0" in lead


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("diverging", "the loss became nan in epoch 1, step 3: no dense value, vector or weight is extreme"),
        ("of its rank", "the ranks no longer have the same weights"),
    ],
)
def test_what_goes_wrong_on_all_ranks_the_lead_says(of_ranks: Path, name: str, says: str) -> None:
    assert (of_ranks / f"{name}.error").read_text().startswith(says)


def test_what_a_network_counts_is_what_the_lead_counted(of_ranks: Path) -> None:
    trained = checkpoints.load(of_ranks / "normalising", Normalising)
    measured = quality(trained.validation.labels, trained.model.predict(trained.validation), np.zeros(200))
    assert trained.description.metrics["validation_logloss"] == pytest.approx(measured["logloss"], abs=1e-9)
