"""Export: checkpoint -> fold -> passes -> bundle, proved before anybody can see it.

The bundle is written under a temporary name, verified there, and renamed; a failed verification leaves
nothing behind.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import Sequential

from tablefold.bundle import GRAPH, MANIFEST, WEIGHTS, GoldenRows, Manifest, Method, digest
from tablefold.errors import UsageError
from tablefold.exporter import config_pbtxt
from tablefold.exporter.dictionary import Dictionary, DictionaryKind
from tablefold.exporter.folded import Folded, fold, folded_model
from tablefold.exporter.graph import empty_model, parts_of
from tablefold.exporter.lookup import BuildLookup, build_dictionary
from tablefold.exporter.network import AttachNetwork
from tablefold.exporter.probes import probe_rows
from tablefold.exporter.row_types import RowType, pack
from tablefold.exporter.rows import AttachRows
from tablefold.exporter.verify import graph_of, require_equal, require_known_ids
from tablefold.footprint import Footprint
from tablefold.logs import Log
from tablefold.metrics import auc, logloss
from tablefold.trainer.checkpoint import Checkpoint
from tablefold.trainer.model import CTRModel

VERIFIED_ROWS = 4096
GOLDEN_ROWS = 32

OnStep = Callable[[str], None]
"""Told what is being done, before it is."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """In how few bytes."""

    row_type: RowType = RowType.FP32
    lookup: DictionaryKind = DictionaryKind.EXACT


def export(
    checkpoint: Checkpoint,
    repository: Path,
    name: str,
    *,
    version: int | None = None,
    options: ExportOptions | None = None,
    on_step: OnStep = lambda step: None,
) -> Path:
    """Write `repository/name/version` and return that folder; None takes the next free version.

    Raises UsageError for a version that exists, VerificationError for a bundle that is not its checkpoint.
    """
    model_folder = repository / name
    folder = model_folder / str(version or _next_version(model_folder))
    if folder.exists():
        raise UsageError(f"{folder} exists; give another --version, or none for the next free one")
    on_step("folding, building the graph")
    draft = _Draft.of(checkpoint, options or ExportOptions())
    temporary = model_folder / f".{folder.name}.writing"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        on_step("writing")
        ir.save(draft.graph, temporary / GRAPH, external_data=WEIGHTS)
        on_step("verifying")
        golden = draft.verify(temporary)
        manifest = draft.manifest(name, int(folder.name), golden, temporary)
        (temporary / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        (model_folder / "config.pbtxt").write_text(config_pbtxt.render(name, draft.folded.schema))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _next_version(model_folder: Path) -> int:
    versions = [int(path.name) for path in model_folder.glob("*") if path.name.isdecimal()]
    return max(versions, default=0) + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class _Draft:
    """A bundle in memory, with what it must equal."""

    checkpoint: Checkpoint
    options: ExportOptions
    folded: Folded
    dictionary: Dictionary
    graph: ir.Model
    reference: CTRModel
    """The folded model in torch, with the rows and the row maps as the graph stores them."""

    @classmethod
    def of(cls, checkpoint: Checkpoint, options: ExportOptions) -> Self:
        """The passes in their order: fold, lookup, rows, network."""
        folded = fold(checkpoint)
        schema, columns = folded.schema, folded.schema.feature_of_column
        packed = pack(folded.table, options.row_type)
        dictionary = build_dictionary(options.lookup, folded.row_maps, columns)
        passes = Sequential(
            BuildLookup(folded.row_maps, columns, dictionary),
            AttachRows(packed, columns, len(schema.categorical)),
            AttachNetwork(checkpoint.model.head),
        )
        return cls(
            checkpoint=checkpoint,
            options=options,
            folded=folded,
            dictionary=dictionary,
            graph=passes(empty_model(schema)).model,
            reference=folded_model(checkpoint, dictionary.row_maps, packed.vectors()),
        )

    def verify(self, folder: Path) -> GoldenRows:
        """The proof, on the files as written: fold against trained, dictionary against row maps, graph
        against torch. Raises VerificationError."""
        folded, validation = self.folded, self.checkpoint.validation
        require_known_ids(folded.row_maps, self.dictionary.row_maps, folded.schema)
        real = validation.take(slice(0, VERIFIED_ROWS))
        probes = probe_rows(validation, folded.row_maps, folded.schema.feature_of_column, VERIFIED_ROWS)
        unquantised = folded_model(self.checkpoint, folded.row_maps, folded.table)
        trained, graph = self.checkpoint.model, graph_of(folder)
        for log, kind in ((real, "validation rows"), (probes, "random ids")):
            require_equal(trained.predict, unquantised.predict, log, f"fold against trained, {kind}")
            require_equal(self.reference.predict, graph, log, f"graph against torch, {kind}")
        half = GOLDEN_ROWS // 2
        rows = Log(
            dense=np.concatenate([real.dense[:half], probes.dense[:half]]),
            ids=np.concatenate([real.ids[:half], probes.ids[:half]]),
            label=None,
        )
        return GoldenRows.of(rows.dense, rows.ids, graph(rows))

    def manifest(self, name: str, version: int, golden: GoldenRows, folder: Path) -> Manifest:
        """Everything about the bundle in `folder` but its arrays."""
        description = self.checkpoint.description
        distinct = sum(record.distinct_ids for record in description.row_maps)
        dim = description.config.dim
        return Manifest(
            name=name,
            version=version,
            feature_schema=self.folded.schema,
            method=Method(
                name=description.config.method,
                dim=dim,
                rows=len(self.folded.table),
                distinct_ids=distinct,
                known_ids=sum(len(row_map.keys) for row_map in self.folded.row_maps),
            ),
            row_type=self.options.row_type.value,
            lookup=self.options.lookup.value,
            false_hit_rate=self.dictionary.false_hit_rate,
            footprint=Footprint(parts=parts_of(self.graph), baseline_fp32=distinct * dim * 4),
            metrics=description.metrics | self._cost(),
            provenance=description.provenance | {"seed": str(description.config.seed)},
            golden=golden,
            files={file: digest(folder / file) for file in (GRAPH, WEIGHTS)},
        )

    def _cost(self) -> dict[str, float]:
        """What rows in fewer bits and false hits did to the validation rows of the checkpoint."""
        log = self.checkpoint.validation
        trained, stored = self.checkpoint.model.predict(log), self.reference.predict(log)
        cost = {
            "export_logloss_increase": logloss(log.labels, stored) - logloss(log.labels, trained),
            "export_largest_change": float(np.abs(stored - trained).max()),
        }
        before, after = auc(log.labels, trained), auc(log.labels, stored)
        if before is not None and after is not None:
            cost["export_auc_loss"] = before - after
        return cost
