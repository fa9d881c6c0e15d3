"""Export: checkpoint -> fold -> passes -> bundle, proved before anybody can see it.

The bundle is written as a draft (see `tablefold.atomic`), verified there, and put in its place; a failed
verification, or a quality that fewer bits cost too much of, leaves nothing behind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import Sequential

from tablefold.atomic import create_folder, write_text
from tablefold.bundle import GRAPH, MANIFEST, WEIGHTS, GoldenRows, Manifest, Method, digest
from tablefold.errors import QualityError, TablefoldError, UsageError
from tablefold.exporter import config_pbtxt
from tablefold.exporter.dictionaries.dictionary import Dictionary
from tablefold.exporter.folded import Folded, fold, folded_model
from tablefold.exporter.graph import empty_model, parts_of
from tablefold.exporter.mapped_pages import give_back
from tablefold.exporter.network_graph import build_network
from tablefold.exporter.options import ExportOptions, RowType
from tablefold.exporter.passes.lookup import BuildLookup, build_dictionary
from tablefold.exporter.passes.network import AttachNetwork
from tablefold.exporter.passes.rows import AttachRows
from tablefold.exporter.proof.probes import probe_rows
from tablefold.exporter.proof.verify import Answers, graph_of, require_bundle, require_equal
from tablefold.exporter.tables.stored_table import StoredTable
from tablefold.logs import Log
from tablefold.metrics import auc, logloss
from tablefold.model_size import Footprint
from tablefold.trainer.checkpoint.checkpoint import Checkpoint

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
    options: ExportOptions | None = None,
    on_step: OnStep = lambda step: None,
) -> Path:
    """Write `repository/name/version` and return that folder; None takes the next free version.

    Raises UsageError for a version that exists or a feature that does not, VerificationError for a bundle
    that is not its checkpoint, QualityError for one that costs more than `max_logloss_increase`,
    TablefoldError for a folder that cannot be written.
    """
    model_folder = repository / name
    folder = model_folder / str(version or _next_version(model_folder))
    if folder.exists():
        raise UsageError(f"{folder} exists; give another --version, or none for the next free one")
    draft = _Draft.of(checkpoint, options or ExportOptions(), on_step)
    try:
        on_step("writing")
        with create_folder(folder) as files:
            ir.save(draft.graph, files / GRAPH, external_data=WEIGHTS)
            for weights in checkpoint.model.parameters():  # torch has answered: now the bundle is mapped
                give_back(weights)
            on_step("verifying")
            golden = draft.verify(files)
            on_step("judging on validation rows")
            cost = draft.cost(files)
            manifest = draft.manifest(name, int(folder.name), golden, cost, files)
            (files / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
            write_text(model_folder / "config.pbtxt", config_pbtxt.render(name, draft.folded.schema))
    except OSError as error:
        why = error.strerror or f"is the disk full? {error}"  # numpy tells only the numbers of values
        raise TablefoldError(f"{folder} could not be written, nothing of it is left: {why}") from error
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
    trained: np.ndarray
    """float32 [rows]: what the trained model gives for the checkpoint's validation rows."""
    answers: tuple[Answers, ...]
    """What the folded model gives in torch, with rows and row maps as the graph stores them."""

    @classmethod
    def of(cls, checkpoint: Checkpoint, options: ExportOptions, on_step: OnStep) -> Self:
        """The passes in their order: fold, lookup, rows, network; and what torch makes of it.

        Raises VerificationError for a fold that is not the trained model.
        """
        on_step("folding")
        folded = fold(checkpoint)
        schema, columns = folded.schema, folded.columns
        table = StoredTable.of(folded.table, folded.feature_rows, _row_types(folded, options))
        on_step("building the dictionary")
        dictionary = build_dictionary(options.lookup, folded.row_maps, columns)
        reference = folded_model(checkpoint, dictionary.row_maps, table.vectors(), folded.projection)
        on_step("building the graph")
        validation = checkpoint.validation
        sample = validation.take(slice(0, VERIFIED_ROWS))
        passes = Sequential(
            BuildLookup(folded.row_maps, columns, dictionary),
            AttachRows(table, columns, folded.projection),
            AttachNetwork(build_network(reference, options.network_type, sample)),
        )
        graph = passes(empty_model(schema)).model
        on_step("asking torch")
        logs = {
            "validation rows": sample,
            "random ids": probe_rows(validation, folded.row_maps, columns, VERIFIED_ROWS),
        }
        unquantised = folded_model(checkpoint, folded.row_maps, folded.table, folded.projection)
        for what, log in logs.items():
            require_equal(checkpoint.model.predict(log), unquantised.predict, log, f"fold, {what}")
        return cls(
            checkpoint=checkpoint,
            options=options,
            folded=folded,
            dictionary=dictionary,
            graph=graph,
            trained=checkpoint.model.predict(validation),
            answers=tuple(Answers.of(reference, log, what) for what, log in logs.items()),
        )

    def verify(self, folder: Path) -> GoldenRows:
        """Prove the files as written; rows and probabilities to replay. Raises VerificationError."""
        require_bundle(folder, self.answers, self.folded, self.options.network_type)
        half = GOLDEN_ROWS // 2
        logs = [each.log.take(slice(0, half)) for each in self.answers]
        rows = Log(
            dense=np.concatenate([log.dense for log in logs]),
            ids=np.concatenate([log.ids for log in logs]),
            label=None,
        )
        return GoldenRows.of(rows.dense, rows.ids, graph_of(folder)(rows))

    def cost(self, folder: Path) -> dict[str, float]:
        """What fewer bits and false hits did to the validation rows of the checkpoint.

        Raises QualityError past `max_logloss_increase`.
        """
        log, trained = self.checkpoint.validation, self.trained
        stored = graph_of(folder)(log)
        increase = logloss(log.labels, stored) - logloss(log.labels, trained)
        change = float(np.abs(stored - trained).max())
        cost = {"export_logloss_increase": increase, "export_largest_change": change}
        before, after = auc(log.labels, trained), auc(log.labels, stored)
        if before is not None and after is not None:
            cost["export_auc_loss"] = before - after
        if not increase <= self.options.max_logloss_increase:
            told = ", ".join(f"{name.removeprefix('export_')} {value:.5f}" for name, value in cost.items())
            raise QualityError(
                f"these options cost too much on {len(log)} validation rows: {told}; at most "
                f"{self.options.max_logloss_increase:g} of logloss is allowed. Nothing was written: store "
                "rows or network in more bits, or allow more with --max-logloss-increase"
            )
        return cost

    def manifest(
        self, name: str, version: int, golden: GoldenRows, cost: dict[str, float], folder: Path
    ) -> Manifest:
        """Everything about the bundle in `folder` but its arrays."""
        description, options = self.checkpoint.description, self.options
        distinct = description.distinct_ids
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
                known_ids=sum(max(len(row_map.keys) for row_map in its) for its in self.checkpoint.row_maps),
            ),
            row_type=options.row_type.value,
            row_type_of={feature: row_type.value for feature, row_type in options.row_type_of.items()},
            network_type=options.network_type.value,
            tolerance=options.network_type.tolerance,
            lookup=options.lookup.value,
            false_hit_rate=self.dictionary.false_hit_rate,
            footprint=Footprint(parts=parts_of(self.graph), baseline_fp32=distinct * dim * 4),
            metrics=description.metrics | cost,
            provenance=description.provenance | {"seed": str(description.config.seed)},
            golden=golden,
            files={file: digest(folder / file) for file in (GRAPH, WEIGHTS)},
        )


def _row_types(folded: Folded, options: ExportOptions) -> list[RowType]:
    names = [feature.name for feature in folded.schema.categorical]
    strangers = sorted(set(options.row_type_of) - set(names))
    if strangers:
        raise UsageError(
            f"--row-type names {strangers[0]!r}, which is no feature: there are {', '.join(names)}"
        )
    return [options.row_type_of.get(name, options.row_type) for name in names]
