"""Export: checkpoint -> fold -> passes -> bundle, proved before anybody can see it.

The bundle is written under a temporary name, verified there, and renamed; a failed verification leaves
nothing behind.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnx_ir.passes

from tablefold.bundle import GRAPH, MANIFEST, WEIGHTS, GoldenRows, Manifest, Method, digest
from tablefold.errors import UsageError
from tablefold.exporter import config_pbtxt
from tablefold.exporter.folded import Folded, fold, folded_model
from tablefold.exporter.graph import empty_model, parts_of
from tablefold.exporter.lookup import BuildLookup
from tablefold.exporter.network import AttachNetwork
from tablefold.exporter.probes import probe_rows
from tablefold.exporter.row_types import PackedRows, RowType, pack
from tablefold.exporter.rows import AttachRows
from tablefold.exporter.verify import graph_of, require_equal
from tablefold.footprint import Footprint
from tablefold.logs import Log
from tablefold.metrics import auc, logloss
from tablefold.trainer.checkpoint import Checkpoint
from tablefold.trainer.model import CTRModel

VERIFIED_ROWS = 4096
GOLDEN_ROWS = 32

OnStep = Callable[[str], None]
"""Told what is being done, before it is."""


def export(
    checkpoint: Checkpoint,
    repository: Path,
    name: str,
    *,
    version: int | None = None,
    row_type: RowType = RowType.FP32,
    on_step: OnStep = lambda step: None,
) -> Path:
    """Write `repository/name/version` and return that folder; None takes the next free version.

    Raises UsageError for a version that exists, VerificationError for a bundle that is not its checkpoint.
    """
    model_folder = repository / name
    folder = model_folder / str(version or _next_version(model_folder))
    if folder.exists():
        raise UsageError(f"{folder} exists; give another --version, or none for the next free one")
    on_step("folding")
    folded = fold(checkpoint)
    packed = pack(folded.table, row_type)
    reference = folded_model(checkpoint, packed.vectors())
    on_step("building the graph")
    model = build_graph(checkpoint, folded, packed)
    temporary = model_folder / f".{folder.name}.writing"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        on_step("writing")
        ir.save(model, temporary / GRAPH, external_data=WEIGHTS)
        on_step("verifying")
        golden = _verify(checkpoint, folded, reference, temporary)
        manifest = _manifest(checkpoint, folded, reference, model, golden, temporary, name, folder, row_type)
        (temporary / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        (model_folder / "config.pbtxt").write_text(config_pbtxt.render(name, folded.schema))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def build_graph(checkpoint: Checkpoint, folded: Folded, packed: PackedRows) -> ir.Model:
    """The passes in their order: lookup, rows, network."""
    schema = folded.schema
    passes = onnx_ir.passes.Sequential(
        BuildLookup(folded.row_maps, schema.feature_of_column),
        AttachRows(packed, schema.feature_of_column, len(schema.categorical)),
        AttachNetwork(checkpoint.model.head),
    )
    return passes(empty_model(schema)).model


def _next_version(model_folder: Path) -> int:
    versions = [int(path.name) for path in model_folder.glob("*") if path.name.isdecimal()]
    return max(versions, default=0) + 1


def _verify(checkpoint: Checkpoint, folded: Folded, reference: CTRModel, folder: Path) -> GoldenRows:
    real = checkpoint.validation.take(slice(0, VERIFIED_ROWS))
    columns = folded.schema.feature_of_column
    probes = probe_rows(checkpoint.validation, folded.row_maps, columns, VERIFIED_ROWS)
    unquantised = folded_model(checkpoint, folded.table)
    graph = graph_of(folder)
    for log, kind in ((real, "validation rows"), (probes, "random ids")):
        require_equal(checkpoint.model.predict, unquantised.predict, log, f"fold against trained, {kind}")
        require_equal(reference.predict, graph, log, f"graph against torch, {kind}")
    half = GOLDEN_ROWS // 2
    rows = Log(
        dense=np.concatenate([real.dense[:half], probes.dense[:half]]),
        ids=np.concatenate([real.ids[:half], probes.ids[:half]]),
        label=None,
    )
    return GoldenRows.of(rows.dense, rows.ids, graph(rows))


def _manifest(
    checkpoint: Checkpoint,
    folded: Folded,
    reference: CTRModel,
    model: ir.Model,
    golden: GoldenRows,
    temporary: Path,
    name: str,
    folder: Path,
    row_type: RowType,
) -> Manifest:
    description = checkpoint.description
    distinct = sum(record.distinct_ids for record in description.row_maps)
    dim = description.config.dim
    return Manifest(
        name=name,
        version=int(folder.name),
        feature_schema=folded.schema,
        method=Method(
            name=description.config.method,
            dim=dim,
            rows=len(folded.table),
            distinct_ids=distinct,
            known_ids=sum(len(row_map.keys) for row_map in folded.row_maps),
        ),
        row_type=row_type.value,
        footprint=Footprint(parts=parts_of(model), baseline_fp32=distinct * dim * 4),
        metrics=description.metrics | _cost_of_row_type(checkpoint, reference),
        provenance=description.provenance | {"seed": str(description.config.seed)},
        golden=golden,
        files={file: digest(temporary / file) for file in (GRAPH, WEIGHTS)},
    )


def _cost_of_row_type(checkpoint: Checkpoint, reference: CTRModel) -> dict[str, float]:
    """What storing rows in fewer bits did to the validation rows of the checkpoint."""
    log = checkpoint.validation
    trained, stored = checkpoint.model.predict(log), reference.predict(log)
    cost = {
        "row_type_logloss_increase": logloss(log.labels, stored) - logloss(log.labels, trained),
        "row_type_largest_change": float(np.abs(stored - trained).max()),
    }
    before, after = auc(log.labels, trained), auc(log.labels, stored)
    if before is not None and after is not None:
        cost["row_type_auc_loss"] = before - after
    return cost
