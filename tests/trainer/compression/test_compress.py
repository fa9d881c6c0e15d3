"""Compression without retraining: exact where nothing is given up, the best there is where something is."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tablefold.bundle import read_manifest
from tablefold.errors import QualityError, UsageError
from tablefold.exporter.export import export
from tablefold.exporter.options import ExportOptions, RowType
from tablefold.logs import Log
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression import cli
from tablefold.trainer.compression.compress import cluster_rows, compress, low_rank
from tablefold.trainer.compression.feature_table import feature_tables

Trained = Callable[..., tuple[Checkpoint, Path]]
DIM = 8


def error(before: Checkpoint, after: Checkpoint) -> list[float]:
    """Of each feature: the sum over its rows of count x squared error."""
    return [
        float((was.weights * (was.vectors.double() - now.vectors.double()).square()).sum())
        for was, now in zip(feature_tables(before), feature_tables(after), strict=True)
    ]


@pytest.mark.parametrize("method", ["full", "mlet", "hash"])
def test_all_directions_are_the_model_itself(method: str, trained: Trained) -> None:
    checkpoint = trained(method)[0]
    same = low_rank(checkpoint, DIM)
    rows = checkpoint.validation
    np.testing.assert_allclose(same.model.predict(rows), checkpoint.model.predict(rows), rtol=0, atol=1e-5)


def test_no_factorisation_of_the_same_rank_is_nearer_and_none_of_a_higher_rank_is_worse(
    trained: Trained,
) -> None:
    checkpoint = trained("full")[0]
    spectra = [
        np.linalg.svd((f.vectors.double() * f.weights.sqrt()).numpy(), compute_uv=False)
        for f in feature_tables(checkpoint)
    ]
    last = [np.inf] * len(spectra)
    for rank in range(1, DIM + 1):
        errors = error(checkpoint, low_rank(checkpoint, rank))
        least = [float((spectrum[rank:] ** 2).sum()) for spectrum in spectra]  # Eckart-Young
        scale = [float((spectrum**2).sum()) for spectrum in spectra]
        np.testing.assert_allclose(np.divide(errors, scale), np.divide(least, scale), rtol=0, atol=1e-6)
        assert all(np.divide(errors, scale) <= np.divide(last, scale) + 1e-6)
        last = errors


@pytest.mark.parametrize("method", ["full", "lhf+mlet"])
def test_as_many_rows_as_before_are_the_model_itself(method: str, trained: Trained) -> None:
    checkpoint = trained(method)[0]
    same = cluster_rows(checkpoint, 1)
    rows = checkpoint.validation
    np.testing.assert_allclose(same.model.predict(rows), checkpoint.model.predict(rows), rtol=0, atol=1e-6)


def test_a_shared_row_is_the_weighted_mean_of_its_ids_and_unknown_ids_keep_theirs(trained: Trained) -> None:
    checkpoint = trained("full")[0]
    assert checkpoint.row_counts is not None
    small = cluster_rows(checkpoint, 4)
    for was, now in zip(feature_tables(checkpoint), feature_tables(small), strict=True):
        assert was.row_maps[0].keys.tolist() == now.row_maps[0].keys.tolist()
        assert int(was.counts.sum()) == int(now.counts.sum())
        known = len(was.row_maps[0].keys)
        assert now.row_maps[0].num_rows - 1 <= max(32, -(-known // 4))
        for row in np.unique(now.row_maps[0].rows)[:50]:
            shared = was.row_maps[0].rows[now.row_maps[0].rows == row]
            mean = (was.vectors[shared] * was.weights[shared]).sum(0) / was.weights[shared].sum()
            torch.testing.assert_close(now.vectors[row].double(), mean, rtol=0, atol=1e-6)
        unknown = was.vectors[was.row_maps[0].hashed_first], now.vectors[now.row_maps[0].hashed_first]
        assert torch.equal(*unknown)
    strangers = np.full(checkpoint.validation.ids.shape, -987_654_321)
    rows = Log(dense=checkpoint.validation.dense, ids=strangers, label=None)
    assert np.array_equal(small.model.predict(rows), checkpoint.model.predict(rows))


def test_more_rows_lose_less(trained: Trained) -> None:
    checkpoint = trained("full")[0]

    def squared_error(ratio: float) -> float:
        small = cluster_rows(checkpoint, ratio)
        return sum(
            float((was.weights * (was.vectors - now.vectors[place]).square()).sum())
            for was, now in zip(feature_tables(checkpoint), feature_tables(small), strict=True)
            for place in [np.append(now.row_maps[0].rows, now.row_maps[0].hashed_first)]
        )

    errors = [squared_error(ratio) for ratio in (1, 2, 8, 64)]
    assert errors == sorted(errors)
    assert errors[0] == 0


def test_compressed_models_are_saved_exported_and_verified_like_any_other(
    trained: Trained, tmp_path: Path
) -> None:
    checkpoint = trained("full")[0]
    done = compress(checkpoint, rank=3, row_ratio=4, max_logloss_increase=1)
    checkpoints.save(done.checkpoint, tmp_path / "small")
    again = checkpoints.load(tmp_path / "small")
    log = checkpoint.validation
    assert np.array_equal(again.model.predict(log), done.checkpoint.model.predict(log))
    assert np.array_equal(again.row_counts, done.checkpoint.row_counts)
    assert done.largest_change == np.abs(again.model.predict(log) - checkpoint.model.predict(log)).max()
    metrics = again.description.metrics
    assert metrics["compress_logloss_increase"] == done.after.logloss - done.before.logloss
    assert "test_auc" not in metrics  # that was another model
    assert done.after.row_bytes < done.before.row_bytes / 4
    options = ExportOptions(row_type=RowType.INT8, max_logloss_increase=1)
    manifest = read_manifest(export(again, tmp_path, "small", options=options))
    rows = done.after.rows
    assert manifest.footprint.parts.tables == rows * 3 + 26 * 3 * DIM * 4  # a byte a value; projections
    distinct = checkpoint.description.distinct_ids
    assert manifest.footprint.baseline_fp32 == distinct * DIM * 4
    assert manifest.method.name == "lhf+mlet"
    assert manifest.provenance["compressed"] == "rank 3, row ratio 4"
    assert manifest.metrics["compress_largest_change"] == pytest.approx(done.largest_change)


def test_what_costs_too_much_is_refused_and_all_steps_are_judged_against_the_model_as_trained(
    trained: Trained, tmp_path: Path
) -> None:
    checkpoint = trained("full")[0]
    with pytest.raises(
        QualityError, match=r"costs too much on 1200 validation examples: .* at most 0\.001 more"
    ):
        compress(checkpoint, rank=1, row_ratio=100)
    once = compress(checkpoint, rank=6, max_logloss_increase=1)
    increase = once.after.logloss - once.before.logloss
    assert compress(checkpoint, rank=6, max_logloss_increase=max(0, increase)).after == once.after
    twice = compress(once.checkpoint, rank=2, max_logloss_increase=1)
    for step in (once, twice):
        assert step.checkpoint.description.metrics["trained_logloss"] == once.before.logloss
    total = twice.after.logloss - once.before.logloss
    with pytest.raises(QualityError):
        compress(once.checkpoint, rank=2, max_logloss_increase=total - 1e-9)
    options = ExportOptions(row_type=RowType.INT8, max_logloss_increase=1)
    metrics = read_manifest(export(twice.checkpoint, tmp_path, "twice", options=options)).metrics
    assert metrics["total_logloss_increase"] == pytest.approx(
        total + metrics["export_logloss_increase"], abs=1e-6
    )


def test_rows_that_were_never_counted_count_one(trained: Trained) -> None:
    checkpoint = replace(trained("mlet")[0], row_counts=None)
    small = compress(checkpoint, rank=4, row_ratio=2, max_logloss_increase=1).checkpoint
    assert small.row_counts is None
    assert all((feature.weights == 1).all() for feature in feature_tables(small))


def test_what_cannot_be_is_refused(trained: Trained, tmp_path: Path) -> None:
    checkpoint, folder = trained("full")
    with pytest.raises(UsageError, match="--rank 9: rows are 8 values wide; give 1 to 8"):
        low_rank(checkpoint, 9)
    with pytest.raises(UsageError, match=r"--row-ratio 0\.5: give 1 or more"):
        cluster_rows(checkpoint, 0.5)
    with pytest.raises(UsageError, match="there is nothing to merge"):
        cluster_rows(trained("hash")[0], 4)
    with pytest.raises(UsageError, match="give --rank, --row-ratio or both"):
        cli.compress(folder, tmp_path / "small")
    with pytest.raises(UsageError, match="is the checkpoint itself"):
        cli.compress(folder, folder, rank=2)
    (tmp_path / "thesis").write_text("years of work")
    with pytest.raises(UsageError, match="exists and is not a checkpoint"):
        cli.compress(folder, tmp_path / "thesis", rank=2)


def test_the_command_prints_what_it_costs(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(
        sys, "argv", ["tablefold", "compress", str(trained("full")[1]), "--out", str(tmp_path / "small")]
    )
    from tablefold.cli import main

    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    sys.argv += ["--rank", "2", "--row-ratio", "8"]
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    printed = capsys.readouterr().out
    for line in ("rows ", "bytes of rows, fp32", "AUC", "logloss", "largest change of a probability"):
        assert line in printed
    assert checkpoints.load(tmp_path / "small").description.provenance["compressed"] == "rank 2, row ratio 8"
