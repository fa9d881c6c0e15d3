"""One rank of a few small training runs, one after another: `python -m tests.trainer.ranks.program PLAN`.

PLAN is JSON: see `Plan`. The lead leaves the losses of a run's steps beside its checkpoint.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch

from tablefold.errors import RankLost, TrainingError
from tablefold.logs.formats import synthetic
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.ranks.gloo import STEP, GlooRanks, join
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.follow import follow
from tablefold.trainer.training.run import train
from tests.full_disk import files_at_most
from tests.trainer.runs import easy_splits

ROWS = 2000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the lead runs, and what befalls a rank."""

    runs: Mapping[str, Mapping[str, object]]
    """Settings, by the checkpoint's folder."""
    resume: bool = False
    signal: int = 0
    """Sent to `rank` after `steps` steps."""
    rank: int = 1
    steps: int = 0
    answers_within: float = STEP.total_seconds()
    others_rows: int = ROWS
    shard_tables: bool = False
    most_bytes: int = 0
    """Of a file that the lead writes, where that is limited."""


class Losses(Callback):
    """Collects them, and sends the signal."""

    def __init__(self, plan: Plan, process: int) -> None:
        self.losses: list[float] = []
        self.warnings: list[str] = []
        self._plan, self._process = plan, process

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)

    def on_step(self, examples: int, loss: float) -> None:
        self.losses.append(loss)
        if len(self.losses) == self._plan.steps:
            os.kill(self._process, self._plan.signal)


def run(out: Path, settings: Mapping[str, object], callback: Losses, **more: object) -> None:
    """One run, which leaves `<out>.losses`, `<out>.warnings`, and `<out>.error` where it ends by one."""
    config = TrainConfig.model_validate(settings)
    try:
        train(synthetic.SCHEMA, easy_splits(ROWS), config, out, callback=callback, **more)  # type: ignore[arg-type]
    except RankLost:
        raise
    except TrainingError as error:
        out.with_name(f"{out.name}.error").write_text(str(error))
    out.with_name(f"{out.name}.losses").write_text(json.dumps(callback.losses))
    out.with_name(f"{out.name}.warnings").write_text("\n".join(callback.warnings))


def main() -> None:
    torch.set_num_threads(1)
    plan = Plan(**json.loads(sys.argv[1]))
    with join(timedelta(seconds=plan.answers_within), shard_tables=plan.shard_tables) as ranks:
        processes = ranks.gather(torch.tensor([os.getpid()])).tolist()
        if isinstance(ranks, GlooRanks) and not ranks.lead:
            follow(ranks, lambda: (synthetic.SCHEMA, easy_splits(plan.others_rows)))
            return
        for out, settings in plan.runs.items():
            callback = Losses(plan, processes[plan.rank])
            with files_at_most(plan.most_bytes) if plan.most_bytes else nullcontext():
                run(Path(out), settings, callback, ranks=ranks, resume=plan.resume, state_minutes=0.002)


if __name__ == "__main__":
    main()
