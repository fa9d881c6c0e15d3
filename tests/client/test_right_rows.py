"""A log is scored by the model it fits, and only the rows that the model was not trained on."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tablefold.cli import main
from tests.client.conftest import Server

USERS = 30
CLICKS = 3000


def write_schema(path: Path, features: dict[str, str], file: str = "clicks.tsv", more: str = "") -> Path:
    lines = ['name = "shop"', 'label = "click"', "[files]", 'format = "tsv"', f'path = "{file}"', more]
    for name, encoding in features.items():
        lines += ["[[categorical]]", f'name = "{name}"', f'encoding = "{encoding}"']
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose clicks follow the user, two models of it (split by order, and at random), a repository."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, USERS, CLICKS), rng.integers(0, 600, CLICKS)
    click = (rng.random(CLICKS) < 1 / (1 + np.exp(-(user - 15) / 3))).astype(int)
    rows = [f"{c}\t{u}\t{i}\n" for c, u, i in zip(click, user, item, strict=True)]
    (folder / "clicks.tsv").write_text("click\tuser\titem\n" + "".join(rows))
    write_schema(folder / "shop.toml", {"user": "int", "item": "int"})
    for split in ("order", "random"):
        run(
            "train", "--data", folder / "shop.toml", "--dim", 4, "--epochs", 1, "--split", split, "--seed", 5,
            "--out", folder / split,
        )  # fmt: skip
        run("export", folder / split, "--repository", folder / "repository", "--name", split)
    return folder


@pytest.fixture(scope="module")
def server(shop: Path, start_server: Callable[..., Server]) -> Server:
    return start_server(shop / "repository")


def run(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tablefold", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code


@pytest.fixture
def predict(server: Server, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(model: str, data: Path, *options: str) -> str:
        capsys.readouterr()
        run("predict", "--server", server.address, "--model", model, "--data", data, *options)
        return capsys.readouterr().out

    return call


def trained_metrics(folder: Path) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((folder / "checkpoint.json").read_text())["metrics"]
    return metrics


@pytest.mark.parametrize("split", ["order", "random"])
def test_the_rows_held_out_from_training_are_the_default(
    shop: Path, predict: Callable[..., str], split: str
) -> None:
    scores = json.loads(predict(split, shop / "shop.toml", "--json"))
    assert scores["part"] == "test"
    assert scores["rows"] == CLICKS / 10
    assert scores["auc"] == pytest.approx(trained_metrics(shop / split)["test_auc"], abs=1e-4)
    rule = "by order" if split == "order" else "at random with seed 5"
    assert scores["split"] == rule
    assert f"held out when this model was trained; split {rule})" in predict(split, shop / "shop.toml")


def test_a_part_may_be_chosen_and_the_output_says_which(shop: Path, predict: Callable[..., str]) -> None:
    counts = {"train": 2400, "validation": 300, "test": 300, "all": 3000}
    for part, count in counts.items():
        scores = json.loads(predict("order", shop / "shop.toml", "--part", part, "--json"))
        assert (scores["part"], scores["rows"]) == (part, count)
    assert "(all rows of the log)" in predict("order", shop / "shop.toml", "--part", "all")
    assert "train: such rows are what a model is trained on" in predict(
        "order", shop / "shop.toml", "--part", "train"
    )


def test_another_order_of_the_features_changes_nothing(shop: Path, predict: Callable[..., str]) -> None:
    other = write_schema(shop / "other_order.toml", {"item": "int", "user": "int"})
    for protocol in ("oip", "tablefold"):
        right = json.loads(predict("order", shop / "shop.toml", "--json", "--protocol", protocol))
        assert json.loads(predict("order", other, "--json", "--protocol", protocol)) == right


def test_a_log_that_does_not_fit_is_refused_by_name(
    shop: Path, server: Server, refused: Callable[..., str]
) -> None:
    (shop / "other.tsv").write_text("click\tuser\tproduct\n" + "1\t5\t7\n0\t6\t8\n" * 10)
    for features, file, says in [
        (
            {"user": "string", "item": "int"},
            "clicks.tsv",
            "feature 'user' is string in the log and int in the model",
        ),
        (
            {"user": "int", "product": "int"},
            "other.tsv",
            "the model has no feature 'product'; the model also reads 'item'",
        ),
        ({"user": "int"}, "clicks.tsv", "the model also reads 'item'"),
    ]:
        schema = write_schema(shop / "wrong.toml", features, file)
        for command in ("predict", "loadtest"):
            error = refused(command, "--server", server.address, "--model", "order", "--data", schema)
            assert f"wrong.toml does not fit model 'order': {says}" in error


def test_a_file_without_labels_is_scored_whole(shop: Path, predict: Callable[..., str]) -> None:
    (shop / "new.tsv").write_text("user\titem\n" + "5\t7\n" * 40)
    schema = write_schema(shop / "new.toml", {"user": "int", "item": "int"}, "new.tsv")
    scores = json.loads(predict("order", schema, "--json"))
    assert (scores["rows"], scores["part"], scores["auc"], scores["logloss"]) == (40, "all", None, None)


def test_a_version_or_its_label_may_be_named(
    shop: Path, server: Server, predict: Callable[..., str], refused: Callable[..., str]
) -> None:
    data = shop / "shop.toml"
    assert predict("order", data, "--version", "1") == predict("order", data)
    ask = ("predict", "--server", server.address, "--model", "order", "--data", data)
    assert "model 'order' has no version 9 here; served: 1" in refused(*ask, "--version", 9)
    assert "check --model, or the version asked for" in refused(*ask, "--label", "canary")
    assert "give one of them" in refused(*ask, "--label", "canary", "--version", 1)
    assert "--version must be a number from 1 on" in refused(*ask, "--version", 0)
    for rows in (0, -5):
        assert f"--rows must be above 0, not {rows}" in refused(*ask, "--rows", rows)


def test_a_log_the_model_was_trained_on_gives_its_held_out_rows_although_the_file_is_named(
    tmp_path: Path, start_server: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    lines = []
    for _ in range(500):
        ids = [f"{value:08x}" for value in rng.integers(0, 20, 26)]
        lines.append("\t".join([str(rng.integers(0, 2)), *["1"] * 13, *ids]) + "\n")
    log = tmp_path / "log.txt"
    log.write_text("".join(lines))
    run("train", "--data", f"criteo:{log}", "--dim", 4, "--epochs", 1, "--out", tmp_path / "checkpoint")
    run("export", tmp_path / "checkpoint", "--repository", tmp_path / "models", "--name", "ads")
    address = start_server(tmp_path / "models").address
    capsys.readouterr()
    predict = ("predict", "--server", address, "--model", "ads", "--json", "--data")
    run(*predict, f"criteo:{log}")
    scores = json.loads(capsys.readouterr().out)
    assert (scores["rows"], scores["part"]) == (50, "test")
    run(*predict, f"criteo:{log}", "--part", "all")
    assert json.loads(capsys.readouterr().out)["rows"] == 500
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("".join(lines[-50:]))
    run(*predict, f"criteo:{held_out}")
    again = json.loads(capsys.readouterr().out)
    assert (again["rows"], again["part"]) == (50, "all")
    assert again["probability"] == scores["probability"]


def test_rows_beyond_the_servers_largest_message_are_refused_with_the_limit(
    shop: Path, start_server: Callable[..., Server], refused: Callable[..., str]
) -> None:
    small = start_server(shop / "repository", "--max-message-bytes", "8000")
    ask = ("predict", "--server", small.address, "--model", "order", "--data", shop / "shop.toml")
    error = refused(*ask, "--part", "all", "--rows", 3000)
    assert "bytes and the server" in error
    assert "allows 8,000: send fewer rows a call" in error


@pytest.mark.parametrize("rows", ["", "1\t5\t7\n", "1\t5\t7\n0\t6\t8\n" * 2])
def test_a_log_of_few_rows_or_none(
    shop: Path, server: Server, tmp_path: Path, rows: str, refused: Callable[..., str]
) -> None:
    (tmp_path / "few.tsv").write_text("click\tuser\titem\n" + rows)
    schema = write_schema(tmp_path / "few.toml", {"user": "int", "item": "int"}, "few.tsv")
    ask = ("predict", "--server", server.address, "--model", "order", "--data", schema)
    if rows.count("\n") >= 3:
        run(*ask)
    else:
        assert "few" in refused(*ask)
    if rows:
        run(*ask, "--part", "all")
