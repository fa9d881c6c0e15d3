"""Studies: every arm is tuned on validation rows alone, nothing is done twice, what was found adds up."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from tablefold.cli import app
from tablefold.errors import TrainingError, UsageError
from tablefold.logs import Splits
from tablefold.logs.formats import synthetic
from tablefold.model_size import Parts
from tablefold.study import training_runs as runners
from tablefold.study.curves import auc_at, budgets, family, fronts, width_saved
from tablefold.study.page import cells, page
from tablefold.study.results import EvaluatedModel, Result, lock_folder
from tablefold.study.runner import StudyRunner
from tablefold.study.settings import Study, read_study
from tablefold.study.summary import describe_collapses, summarise, verdict
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.callbacks import Callback

STUDY = Study(
    data="synthetic:200",
    seeds=2,
    tune={"embedding_lr": [0.001, 0.01, 0.1]},
    arms=({"method": "full", "dim": [4, 8]}, {"method": "hash", "tune": {"embedding_lr": [0.01, 0.5]}}),
)
LOG = synthetic.generate(200)
SPLITS = Splits(train=LOG, validation=LOG.take(slice(0, 40)), test=LOG.take(slice(40, 60)))


class Trainer:
    """In the place of training: the loss says how far the learning rate is from 0.01; at 0.5 it is NaN."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.configs: list[TrainConfig] = []
        self.collapsed: set[tuple[str, int]] = set()
        """Methods and seeds whose runs learn nothing."""
        self.first_stage_collapsed: set[tuple[str, int]] = set()
        self.failing: set[tuple[str, int]] = set()
        self.lucky: tuple[float, int] | None = None
        """A learning rate that does best with one seed, and worst with any other."""
        monkeypatch.setattr(runners, "train", self.train)
        monkeypatch.setattr(runners.checkpoints, "load", lambda folder: folder)

    def train(self, schema, splits, config, out, *, callback, data, stage, resume, first_stage_at):  # type: ignore
        assert splits.test is splits.validation  # nobody reads the test rows but the scales
        self.configs.append(config)
        if config.embedding_lr == 0.5 or (config.method, config.seed) in self.failing:
            raise TrainingError("the loss became nan")
        loss = abs(config.embedding_lr - 0.01) + config.dim / 1000
        if self.lucky is not None and config.embedding_lr == self.lucky[0]:
            loss = 0.0 if config.seed == self.lucky[1] else 1.0
        entropy = 0.995 if (config.method, config.seed) in self.collapsed else 0.8
        metrics = {
            "validation_logloss": loss, "validation_normalised_entropy": entropy, "test_auc": 0.5
        }  # fmt: skip
        if (config.method, config.seed) in self.first_stage_collapsed:
            metrics["first_stage_collapsed"] = 1.0
        return SimpleNamespace(description=SimpleNamespace(metrics=metrics))


def evaluate(checkpoint: object, log: object) -> list[EvaluatedModel]:
    assert log is SPLITS.test
    parts = Parts(tables=100, network=7)
    return [
        EvaluatedModel(row_type=row_type, parts=parts, baseline_fp32=1000, auc=0.7, logloss=0.5)
        for row_type in ("fp32", "int8")
    ]


def run(study: Study, out: Path) -> list[Result]:
    return list(StudyRunner(study, synthetic.SCHEMA, SPLITS, out, evaluate, Callback()).results())


def test_what_a_study_leaves_open_is_as_for_a_log_of_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(monkeypatch)
    run(STUDY.model_copy(update={"train": {"bottom": [8]}}), tmp_path)
    assert {(config.network, config.top, config.bottom) for config in trainer.configs} == {
        ("dlrm", (64, 32), (8,))
    }


def test_every_arm_is_tuned_once_and_then_trained_for_every_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(monkeypatch)
    results = run(STUDY, tmp_path)
    assert [(result.arm, result.seed, result.row_type) for result in results] == [
        (arm, seed, row_type)
        for arm in ("full, dim 4", "full, dim 8", "hash")
        for seed in (0, 1)
        for row_type in ("fp32", "int8")
    ]
    assert {result.tuned["embedding_lr"] for result in results} == {0.01}
    assert not any(result.at_edge for result in results)  # an axis of two points is all edge
    # The best three points are trained with both seeds; a learning rate that cannot be trained has lost.
    assert len(trainer.configs) == (3 + 3) + (3 + 3) + (2 + 1)


def test_the_best_points_with_one_seed_are_trained_with_all_before_one_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(monkeypatch)
    trainer.lucky = (0.001, 0)
    one = STUDY.model_copy(update={"arms": ({"method": "full"},), "seeds": 3})
    assert {result.tuned["embedding_lr"] for result in run(one, tmp_path)} == {0.01}
    assert len(trainer.configs) == 3 * 3
    hasty = one.model_copy(update={"finalists": 1})
    assert {result.tuned["embedding_lr"] for result in run(hasty, tmp_path)} == {
        0.001
    }  # another choice, evaluated anew
    assert {result.tuned["embedding_lr"] for result in run(one, tmp_path)} == {0.01}
    assert len(trainer.configs) == 3 * 3
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2 * 3 * 2


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(monkeypatch)
    done = run(STUDY, tmp_path)
    before = len(trainer.configs)
    with (tmp_path / "runs.jsonl").open("a") as lines:
        lines.write('{"config": {"met')  # killed while it wrote
    assert run(STUDY, tmp_path) == done
    assert len(trainer.configs) == before
    more = run(STUDY.model_copy(update={"seeds": 3}), tmp_path)
    assert len(trainer.configs) == before + 3 + 3 + 1  # one more seed of each finalist
    assert {result.seed for result in more} == {0, 1, 2}


def test_the_best_at_the_end_of_its_grid_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trainer(monkeypatch)
    wide = STUDY.model_copy(
        update={"tune": {"embedding_lr": [0.01, 0.1, 0.2]}, "arms": ({"method": "full"},)}
    )
    assert {result.at_edge for result in run(wide, tmp_path)} == {("embedding_lr",)}


def test_collapsed_seeds_are_named_in_results_summary_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trainer(monkeypatch).collapsed = {("hash", 1)}
    results = run(STUDY, tmp_path)
    collapsed = {(item.arm, item.seed) for item in results if item.collapsed}
    assert collapsed == {("hash", 1)}
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {(line["arm"], line["seed"]) for line in lines if line["collapsed"]} == collapsed
    summaries = summarise(results)
    assert [cells(summary)[-1] for summary in summaries if summary.row_type == "fp32"] == ["", "", "1"]
    (sentence,) = describe_collapses(summaries)
    assert "hash: seed 1. They count in the means" in sentence
    assert sentence in page(summaries, results, "synthetic:200", "again").warnings
    healthy = [item for item in results if not item.collapsed]
    assert describe_collapses(summarise(healthy)) == []


def test_seeds_whose_first_stage_collapsed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trainer(monkeypatch).first_stage_collapsed = {("hash", 0)}
    results = run(STUDY, tmp_path)
    (sentence,) = describe_collapses(summarise(results))
    assert sentence.endswith("as by lhf-f: hash: seed 0.")


def test_what_a_kill_cut_off_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trainer(monkeypatch)
    one = STUDY.model_copy(update={"arms": ({"method": "full"},), "seeds": 1})
    done = run(one, tmp_path)
    for file in ("runs.jsonl", "results.jsonl"):
        with (tmp_path / file).open("a") as lines:
            lines.write('{"config": {"met')
    more = run(one.model_copy(update={"seeds": 2}), tmp_path)
    assert more[: len(done)] == done
    assert run(one.model_copy(update={"seeds": 2}), tmp_path) == more  # every line is whole again


def test_one_study_at_a_time_runs_in_a_folder(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path / "out"),
        pytest.raises(UsageError, match="another study runs in"),
        lock_folder(tmp_path / "out"),
    ):
        pass
    with lock_folder(tmp_path / "out"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"), lock_folder(tmp_path / "file"):
        pass


def test_an_arm_that_cannot_be_trained_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trainer(monkeypatch).failing = {("hash", 1)}
    lost = {"method": "mlet", "tune": {"embedding_lr": [0.5]}}
    with pytest.raises(TrainingError, match="no arm can be trained; arm 'mlet' cannot be trained: the loss"):
        run(STUDY.model_copy(update={"arms": (lost,)}), tmp_path / "none")
    more = STUDY.model_copy(update={"arms": (lost, *STUDY.arms)})
    runner = StudyRunner(more, synthetic.SCHEMA, SPLITS, tmp_path / "more", evaluate, Callback())
    results = list(runner.results())
    assert {result.arm for result in results} == {"full, dim 4", "full, dim 8"}
    assert runner.untrained == {
        "mlet": "arm 'mlet' cannot be trained: the loss became nan",
        "hash": "arm 'hash', seed 1: the loss became nan",
    }


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        ({"dim": 0}, "dim: Input should be greater"),
        ({"width": 3}, "arm 'full, width 3': width: Extra inputs"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_runs(arm: dict[str, int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        STUDY.model_copy(update={"arms": (arm,)}).contenders()


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    for text in (
        "data = ",
        'data = "synthetic:100"\narms = []',
        "seeds = 1",
        "seeds = 1" + "0" * 5000,
        "a=" + "[" * 9999,
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=r"s\.toml: not TOML|s\.toml is not a study: "):
            read_study(file)


def result(arm: str, row_type: str, seed: int, auc: float, size: int, loss: float = 0.5) -> Result:
    return Result(
        arm=arm, row_type=row_type, seed=seed, auc=auc, logloss=0.4, parts=Parts(tables=size, network=50),
        baseline_fp32=1000, tuned={}, validation_logloss=loss,
        logloss_deciles=tuple(loss * tenth for tenth in range(10)),
    )  # fmt: skip


def test_losses_are_against_the_best_full_table_seed_by_seed() -> None:
    found = [
        result(arm, row_type, seed, auc + seed / 100, size, loss)
        for arm, row_type, auc, size, loss in [
            ("full, dim 4", "fp32", 0.70, 400, 0.6),
            ("full, dim 8", "fp32", 0.72, 800, 0.5),
            ("full, dim 8", "int8", 0.7195, 200, 0.5),
            ("hash", "fp32", 0.71, 100, 0.4),
        ]
        for seed in range(3)
    ]
    small, reference, int8, hashed = summarise(found)
    assert reference.lost == (0, 0, 3)
    assert small.lost.mean == pytest.approx(0.02)
    assert (hashed.lost.mean, hashed.lost.deviation) == (pytest.approx(0.01), pytest.approx(0))
    assert (hashed.auc.mean, hashed.auc.deviation) == (pytest.approx(0.72), pytest.approx(0.01))
    assert (int8.bytes, int8.without_network, int8.compression) == (250, 200, 5)
    assert small.deciles == tuple(pytest.approx(0.1 * tenth) for tenth in range(10))
    assert "the smallest is full, dim 8 int8: 200 bytes" in verdict([small, reference, int8, hashed])


def test_a_family_is_every_size_of_one_method_and_its_front_what_nothing_of_it_beats() -> None:
    assert family("lhf, dim 8, row_ratio 20.0, l2 0.01") == "lhf, l2 0.01"
    found = summarise(
        [
            result(arm, row_type, 0, auc, size)
            for arm, row_type, auc, size in [
                ("hash, row_ratio 4", "fp32", 0.72, 1600),
                ("hash, row_ratio 4", "int8", 0.72, 400),
                ("hash, row_ratio 16", "fp32", 0.70, 410),
                ("hash, row_ratio 16", "int8", 0.70, 100),
                ("lhf, row_ratio 16", "fp32", 0.73, 900),
                ("full", "fp32", 0.73, 3000),
            ]
        ]
    )
    curves = fronts(found)
    assert [result.title for result in curves["hash"]] == [
        "hash, row_ratio 16 int8",
        "hash, row_ratio 4 int8",
    ]
    assert auc_at(curves["hash"], 99) is None
    assert [auc_at(curves["hash"], size) for size in (100, 200, 400, 4000)] == pytest.approx(
        [0.70, 0.71, 0.72, 0.72]
    )
    assert budgets(curves) == [1024, 2048, 4096]  # two methods fit the first, all of them the last


def test_width_saved_is_the_single_layers_width_at_equal_auc_over_an_arms_own() -> None:
    single = [(1, 0.70), (2, 0.72), (4, 0.71), (8, 0.74)]  # it falls at 4: noise, and the curve does not
    results = [result(f"full, dim {d}", "fp32", seed, auc, d) for d, auc in single for seed in (0, 1)]
    results += [
        result("mlet, inner_dim 8, dim 2", "fp32", seed, auc, 2) for seed, auc in enumerate((0.72, 0.8))
    ]
    results += [
        result("mlet, inner_dim 8, dim 2", "int8", 0, 0.9, 1),
        result("hash, row_ratio 4", "fp32", 0, 0.9, 1),
    ]
    [saved] = width_saved(results)
    assert (saved.arm, saved.single) == ("mlet, inner_dim 8, dim 2", "full")
    assert saved.times == 4  # at 0.76, the mean of both seeds, it is above all; 8 wide is the best of them
    assert (saved.low, saved.high) == (pytest.approx(1), 4)  # both draws 0.72; one of them at least 0.8
    assert saved.above == pytest.approx(0.75, abs=0.05)
    assert width_saved(results[:2]) == []


def test_the_command_trains_evaluates_and_draws(tmp_path: Path, refused: Callable[..., str]) -> None:
    file, out = tmp_path / "s.toml", tmp_path / "out"
    file.write_text(
        'data = "synthetic:600"\nseeds = 1\nrow_types = ["fp32", "int4"]\n'
        "[train]\nepochs = 1\ndim = 4\nbottom = [8]\ntop = [8]\n[[arms]]\nmethod = ['full', 'hash']\n"
    )
    done = CliRunner().invoke(app, ["study", str(file), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert [(result["arm"], result["row_type"]) for result in printed] == [
        ("full", "fp32"), ("full", "int4"), ("hash", "fp32"), ("hash", "int4")
    ]  # fmt: skip
    assert printed == json.loads((out / "results.json").read_text())
    assert printed[0]["parts"]["tables"] > 4 * printed[1]["parts"]["tables"]
    assert "Within 0.001 AUC" in (out / "study.html").read_text()
    drawing = ElementTree.parse(out / "study.svg").getroot()
    assert {"full", "hash"} <= {text.strip() for text in drawing.itertext()}
    assert "row_types.1: Input should be 'fp32', 'fp16', 'int8' or 'int4'" in refused(
        "study", _with(file, '"int4"', '"int3"'), "--out", tmp_path / "other"
    )


def _with(file: Path, old: str, new: str) -> Path:
    file.write_text(file.read_text().replace(old, new))
    return file
