"""`tablefold predict` scores every row of a log through a server, in order, and says how well."""

import json

import numpy as np
import pytest
import typer
from sklearn.metrics import log_loss, roc_auc_score
from typer.testing import CliRunner

from tablefold.client.cli import predict
from tablefold.errors import UsageError

app = typer.Typer()
app.command()(predict)


def call(*words: str):
    """Stdout of the command; its UsageError raised."""
    result = CliRunner().invoke(app, words)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_json_holds_every_row_in_order_with_auc_and_logloss(quick, criteo_file):
    file, scores, labels = criteo_file
    text = call("--server", quick.address, "--model", "ctr", "--data", f"criteo:{file}", "--json")
    figures = json.loads(text)
    assert list(figures) == ["rows", "auc", "logloss", "part", "split", "probability"]
    assert figures["rows"] == len(figures["probability"]) == 2345
    assert np.allclose(figures["probability"], scores, atol=1e-6)
    assert figures["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert figures["logloss"] == pytest.approx(log_loss(labels, figures["probability"]), rel=1e-4)


def test_order_holds_where_replies_overtake_one_another(start_fake, criteo_file):
    file, scores, _ = criteo_file
    slow = start_fake(delay=[0.0, 0.05])
    text = call(
        "--server", slow.address, "--model", "ctr", "--data", f"criteo:{file}", "--json", "--rows", "97"
    )
    assert np.allclose(json.loads(text)["probability"], scores, atol=1e-6)


def test_for_people_it_prints_one_line(quick, criteo_file):
    text = call("--server", quick.address, "--model", "ctr", "--data", f"criteo:{criteo_file[0]}")
    assert text.startswith("rows 2,345   AUC 0.")
    assert "logloss" in text


def test_without_labels_there_is_no_quality(quick, criteo_file, tmp_path):
    unlabelled = tmp_path / "unlabelled.tsv"
    lines = criteo_file[0].read_text().splitlines()
    unlabelled.write_text("".join(line.split("\t", 1)[1] + "\n" for line in lines))
    figures = json.loads(
        call("--server", quick.address, "--model", "ctr", "--data", f"criteo:{unlabelled}", "--json")
    )
    assert figures["auc"] is figures["logloss"] is None
    assert np.allclose(figures["probability"], criteo_file[1], atol=1e-6)


def test_one_class_only_has_a_logloss_but_no_auc(quick, criteo_file, tmp_path):
    ones = tmp_path / "ones.tsv"
    lines = [line for line in criteo_file[0].read_text().splitlines() if line.startswith("1\t")]
    ones.write_text("\n".join(lines) + "\n")
    figures = json.loads(
        call("--server", quick.address, "--model", "ctr", "--data", f"criteo:{ones}", "--json")
    )
    assert figures["auc"] is None
    assert figures["logloss"] > 0


def test_a_server_that_refuses_midway_is_quoted(start_fake, criteo_file):
    shedding = start_fake(shed_every=3)
    with pytest.raises(UsageError, match="refused with RESOURCE_EXHAUSTED: the queue is full"):
        call("--server", shedding.address, "--model", "ctr", "--data", f"criteo:{criteo_file[0]}")


def test_refused_connection_and_unknown_model(quick, nobody, criteo_file):
    with pytest.raises(UsageError, match="no server answers"):
        call("--server", nobody, "--model", "ctr", "--data", f"criteo:{criteo_file[0]}")
    with pytest.raises(UsageError, match=r"does not have it: .*other.*check --model"):
        call("--server", quick.address, "--model", "other", "--data", f"criteo:{criteo_file[0]}")
