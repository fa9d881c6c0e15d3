"""`tablefold shrink` as it is called: on a trained model, on a log, with wrong usage."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tablefold.bundle import read_manifest
from tablefold.cli import app
from tablefold.logs import Log
from tablefold.study.shrink.evaluator import Evaluator
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.checkpoint.files import save

Tiny = tuple[Checkpoint, Path]
Refused = Callable[..., str]


def shrink(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["shrink", *map(str, arguments)])


@pytest.fixture(scope="module")
def shrunk(tiny_model: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A trained model made smaller: the folder, and what the command wrote."""
    folder = tmp_path_factory.mktemp("shrunk")
    done = shrink(
        tiny_model[1], "--max-auc-loss", "0.01", "--repository", folder / "models", "--name", "m",
        "--json", folder / "m.json", "--html", folder / "m.html",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder, json.loads((folder / "m.json").read_text())


def test_what_is_written_is_what_was_chosen(shrunk: tuple[Path, dict[str, Any]]) -> None:
    folder, result = shrunk
    manifest, chosen = read_manifest(folder / "models/m/1"), result["chosen"]
    parts = manifest.footprint.parts
    assert (chosen["bytes"], chosen["bytes_without_network"]) == (parts.total, parts.total - parts.network)
    assert result["baseline_fp32"] == manifest.footprint.baseline_fp32
    assert chosen["bytes"] < result["full"]["bytes"] / 2
    assert chosen["options"]["lookup"] == manifest.lookup == "compact"
    assert set(chosen["options"]["sizes"]) == {"user", "item", "nothing"}
    assert chosen["options"]["sizes"]["nothing"] == "left out"
    assert chosen["auc_loss"] == pytest.approx(result["full"]["test_auc"] - chosen["test_auc"])
    low, high = chosen["auc_loss_95"]
    assert low <= chosen["auc_loss"] <= high
    highest = max(high, chosen["logloss_increase_95"][1])
    assert chosen["holds_on_test"] == (highest <= 0.01)
    assert chosen["validation"]["auc_loss_95"][1] <= 0.01
    assert chosen["validation"]["logloss_increase_95"][1] <= 0.01
    assert result["finished"]
    assert not result["nothing_smaller"]
    # The bytes that decided are those of the bundle, but for a few constants of the network.
    (judged,) = [tried for tried in result["tried"] if tried["options"] == chosen["options"]]
    assert judged["bytes"] == pytest.approx(chosen["bytes"], abs=200)
    assert all(tried["bytes"] >= judged["bytes"] for tried in result["tried"] if tried["holds"])
    page = (folder / "m.html").read_text()
    for words in ("Where the bytes go", "What was tried", "may lose", "tablefold shrink"):
        assert words in page


def test_the_same_command_tries_nothing_twice(
    shrunk: tuple[Path, dict[str, Any]], tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = shrunk
    judge, judged = Evaluator._judge, []
    monkeypatch.setattr(
        Evaluator, "_judge", lambda self, recipe: judged.append(recipe) or judge(self, recipe)
    )
    options = ("--repository", folder / "models", "--name", "m")
    again = shrink(tiny_model[1], "--max-auc-loss", "0.01", *options)
    assert again.exit_code == 0, again.output
    assert judged == []
    assert (folder / "models/m/2").is_dir()


def test_so_many_bytes_and_no_more(
    shrunk: tuple[Path, dict[str, Any]], tiny_model: Tiny, tmp_path: Path
) -> None:
    folder, result = shrunk
    options = ("--repository", folder / "models", "--name", "m")
    most = result["chosen"]["bytes"] * 2
    done = shrink(tiny_model[1], "--max-bytes", f"{most / 1000}kB", *options, "--json", tmp_path / "m.json")
    assert done.exit_code == 0, done.output
    best = json.loads((tmp_path / "m.json").read_text())
    assert best["chosen"]["bytes"] <= most + 200
    fitting = [tried for tried in best["tried"] if tried["bytes"] <= most]
    assert best["chosen"]["validation"]["logloss"] == min(t["validation"]["logloss"] for t in fitting)
    none = shrink(tiny_model[1], "--max-bytes", "10", *options)
    assert none.exit_code == 1
    assert "no model within 10 bytes was found" in str(none.exception)


def test_labels_of_one_kind_are_judged_by_logloss(tiny_model: Tiny, tmp_path: Path) -> None:
    log = tiny_model[0].validation.take(slice(0, 200))
    clicks = Log(dense=log.dense, ids=log.ids, label=np.ones(200, np.float32))
    save(replace(tiny_model[0], validation=clicks), tmp_path / "checkpoint")
    options = ("--minutes", "0.001", "--repository", tmp_path / "models", "--name", "m")
    done = shrink(tmp_path / "checkpoint", *options, "--json", tmp_path / "m.json")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "m.json").read_text())
    assert result["full"]["test_auc"] is None
    assert result["chosen"]["test_auc"] is None
    assert result["chosen"]["auc_loss"] is None
    assert result["chosen"]["auc_loss_95"] is None


def test_a_full_model_that_learned_nothing_is_said_to(tiny_model: Tiny, tmp_path: Path) -> None:
    full = tiny_model[0]
    metrics = full.description.metrics | {"validation_normalised_entropy": 0.995}
    description = full.description.model_copy(update={"metrics": metrics})
    save(replace(full, description=description), tmp_path / "checkpoint")
    options = ("--minutes", "0.001", "--repository", tmp_path / "models", "--name", "m")
    done = shrink(tmp_path / "checkpoint", *options)
    assert done.exit_code == 0, done.output
    assert "the full model learned next to nothing" in done.stdout.splitlines()[-1]


def test_on_a_log_it_trains_and_where_time_is_short_the_full_model_is_written(
    tiny: Path, tmp_path: Path
) -> None:
    options = ("--minutes", "0.0001", "--repository", tmp_path / "models", "--name", "m")
    done = shrink("--data", tiny, *options, "--json", tmp_path / "m.json")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "m.json").read_text())
    assert result["nothing_smaller"]
    assert not result["finished"]
    assert result["chosen"]["auc_loss"] == 0
    assert "the full model was written" in done.stdout
    manifest = read_manifest(tmp_path / "models/m/1")
    assert manifest.metrics["test_auc"] == pytest.approx(result["full"]["test_auc"])
    assert manifest.footprint.parts.total == pytest.approx(result["full"]["bytes"], abs=200)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give either a log to train on"),
        (("checkpoint", "--data", "synthetic:100"), "give either a log to train on"),
        (("--data", "synthetic:100", "--fine-tune"), "--fine-tune is for a CHECKPOINT"),
        (("--data", "synthetic:100", "--minutes", "0"), "--minutes 0"),
        (("--data", "synthetic:100", "--max-auc-loss", "nan"), "--max-auc-loss nan"),
        (("--data", "synthetic:100", "--max-bytes", "many"), "--max-bytes 'many' is not a size"),
        (("--data", "synthetic:100", "--max-bytes", "1kB", "--max-auc-loss", "0"), "not both"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], says: str, refused: Refused, tmp_path: Path) -> None:
    assert says in refused("shrink", *arguments, "--repository", tmp_path / "models", "--name", "m")
    assert not list(tmp_path.iterdir())
