"""The footprint before anything exists is the footprint of what is then made."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tablefold.bundle import read_manifest
from tablefold.cli import app
from tablefold.errors import UsageError
from tablefold.exporter.export import export
from tablefold.exporter.footprint_forecast import forecast_footprint
from tablefold.exporter.id_counts import parse_sizes
from tablefold.exporter.options import DictionaryKind, ExportOptions, NetworkType, RowType
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.logs import read_splits
from tablefold.logs.formats.synthetic import SCHEMA
from tablefold.metrics import auc
from tablefold.study.evaluate import evaluate
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.embedding.vocabulary import count_vocabularies
from tablefold.trainer.methods.builder import FeatureSize

OPTIONS = [
    ("full", ExportOptions()),
    ("hash", ExportOptions(row_type=RowType.FP16, network_type=NetworkType.FP16)),
    ("lhf", ExportOptions(row_type=RowType.INT8, network_type=NetworkType.INT8)),
    ("lhf+mlet", ExportOptions(row_type=RowType.INT4, lookup=DictionaryKind.COMPACT)),
    ("mlet", ExportOptions(row_type=RowType.INT4, row_type_of={"C3": RowType.FP32})),
    ("qr+mlet", ExportOptions(row_type=RowType.INT4, row_type_of={"C3": RowType.FP32})),
]


@pytest.mark.parametrize(("method", "options"), OPTIONS)
def test_the_prediction_is_the_footprint_of_the_bundle(
    method: str,
    options: ExportOptions,
    trained: Callable[[str], tuple[Checkpoint, Path]],
    tmp_path: Path,
) -> None:
    checkpoint = trained(method)[0]
    schema, splits = read_splits("synthetic:12000")
    sizes = [FeatureSize.of(vocabulary) for vocabulary in count_vocabularies(schema, splits.train)]
    predicted = forecast_footprint(schema, sizes, checkpoint.description.config, options)
    made = read_manifest(export(checkpoint, tmp_path, "m", options=options)).footprint
    assert predicted.baseline_fp32 == made.baseline_fp32
    for part, size in made.parts.model_dump().items():
        assert getattr(predicted.parts, part) == pytest.approx(size, rel=0.01, abs=4000), part
    if options.network_type is NetworkType.FP32 and not options.row_type_of:  # a study counts exactly
        [evaluated] = evaluate(checkpoint, splits.test, [options.row_type], options.lookup)
        for part in ("tables", "scales", "row_maps", "vocabulary"):
            assert getattr(evaluated.parts, part) == getattr(made.parts, part)
        assert evaluated.parts.network == pytest.approx(made.parts.network, abs=1000)
        assert evaluated.baseline_fp32 == made.baseline_fp32
        served = open_graph(tmp_path / "m/1")(splits.test)
        assert evaluated.auc == pytest.approx(auc(splits.test.labels, served), abs=1e-4)


def test_numbers_of_ids_are_one_for_each_feature() -> None:
    every = [f"{feature.name}=100" for feature in SCHEMA.categorical]
    sizes = parse_sizes(SCHEMA, [*every[:-1], "C26=50/20"])
    assert (sizes[0].distinct, sizes[0].often, sizes[-1].often) == (100, 100, 20)
    with pytest.raises(UsageError, match="--ids is missing for C26"):
        parse_sizes(SCHEMA, every[:-1])
    for wrong in ("C99=3", "C1=many", "C1=3/x", "C1"):
        with pytest.raises(UsageError, match="give FEATURE=DISTINCT or"):
            parse_sizes(SCHEMA, [wrong])


def footprint_of(*arguments: str) -> dict[str, int | dict[str, int]]:
    done = CliRunner().invoke(app, ["footprint", *arguments, "--json"], catch_exceptions=False)
    answer: dict[str, int | dict[str, int]] = json.loads(done.stdout)
    return answer


def test_the_command_predicts_from_a_schema_and_from_a_log(tmp_path: Path) -> None:
    options = ["--method", "lhf+mlet", "--row-ratio", "10000", "--row-type", "int4", "--lookup", "compact"]
    criteo = footprint_of("--schema", "criteo", *options)
    assert criteo["baseline_fp32"] == 33_762_577 * 16 * 4
    assert criteo["int8_only"] == 33_762_577 * (16 + 4)
    assert 25 < criteo["baseline_fp32"] / criteo["total"] < 30  # type: ignore[operator]
    log = footprint_of("--data", "synthetic:3000", "--method", "hash", "--row-type", "C1=int8")
    assert 0 < log["total"] < log["baseline_fp32"] + 2_000_000  # type: ignore[operator]
    with pytest.raises(UsageError, match="give one of: a bundle's folder"):
        footprint_of("--schema", "criteo", "--data", "synthetic:3000")
    with pytest.raises(UsageError, match="--row-type 'int3' is not known"):
        footprint_of("--schema", "criteo", "--row-type", "int3")
