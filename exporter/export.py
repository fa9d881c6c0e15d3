"""Export: checkpoint -> fold -> passes -> bundle, proved before anybody can see it.

    fold -> lookup graph -> network -> write -> prove -> judge -> manifest -> publish

The bundle is a draft until the end. A failed proof, or a quality that fewer bits cost too much of, leaves
nothing behind.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir

from tablefold.bundle import GRAPH, WEIGHTS
from tablefold.exporter.byte_counts import count_parts
from tablefold.exporter.dictionaries.entropy import entropy_bytes
from tablefold.exporter.folded import Folded, fold, folded_model
from tablefold.exporter.lookup_graph import LookupGraph, folded_dictionary
from tablefold.exporter.manifest import describe_bundle
from tablefold.exporter.mapped_pages import release_pages
from tablefold.exporter.network_graph import build_network_graph
from tablefold.exporter.options import ExportOptions
from tablefold.exporter.passes.network import AttachNetwork
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.exporter.proof.expected import ExpectedValues
from tablefold.exporter.proof.golden import choose_golden_rows
from tablefold.exporter.proof.probes import probe_rows
from tablefold.exporter.proof.quality import measure_cost, require_quality
from tablefold.exporter.proof.verify import require_bundle, require_equal
from tablefold.exporter.reference import declare_rows, measure_reference
from tablefold.exporter.repository import config_pbtxt
from tablefold.exporter.repository.upload import require_free, upload
from tablefold.exporter.repository.version_folder import new_draft, publish, require_destination, require_name
from tablefold.files.atomic import write_text
from tablefold.files.place import Place, place_of
from tablefold.files.remote import RemotePath
from tablefold.trainer.checkpoint.checkpoint import Checkpoint

__all__ = ["export"]

VERIFIED_ROWS = 4096

OnStep = Callable[[str], None]
"""Receives the name of a step before it begins."""


def export(
    checkpoint: Checkpoint,
    repository: Place | str,
    name: str,
    *,
    version: int | None = None,
    options: ExportOptions | None = None,
    on_step: OnStep = lambda step: None,
) -> Place:
    """Write `repository/name/version` and return that folder; None takes the next free version.

    A repository at a URL gets the version once it is proved, the manifest last.

    Raises UsageError for a version that exists or a feature that does not, VerificationError for a bundle
    that does not equal its checkpoint, QualityError for one that costs more than `max_logloss_increase`,
    TablefoldError for a folder or a store that cannot be written.
    """
    repository, options = place_of(repository), options or ExportOptions()
    require_place(repository, name, version)
    if isinstance(repository, RemotePath):
        with TemporaryDirectory() as here:
            folder = _export(checkpoint, Path(here), name, version, options, on_step)
            on_step("uploading")
            return upload(folder, repository / name, version)
    return _export(checkpoint, repository, name, version, options, on_step)


def require_place(repository: Place, name: str, version: int | None) -> None:
    """Check before any work that a version can be written. Raises UsageError."""
    if isinstance(repository, RemotePath):
        require_name(name)
        require_free(repository / name, version)
    else:
        require_destination(repository, name, version)


def _export(
    checkpoint: Checkpoint,
    repository: Path,
    name: str,
    version: int | None,
    options: ExportOptions,
    on_step: OnStep,
) -> Path:
    schema, validation = checkpoint.description.feature_schema, checkpoint.validation
    row_types = options.row_types(schema)
    with new_draft(repository / name) as draft:
        on_step("folding")
        folded = fold(checkpoint)
        on_step("building the dictionary")
        dictionary = folded_dictionary(folded, options.lookup, validation)
        on_step("building the graph")
        lookup = LookupGraph.build(checkpoint, folded, dictionary, row_types)
        network = build_network_graph(
            lookup.stored_model, options.network_type, validation.take(slice(0, VERIFIED_ROWS))
        )
        graph = declare_rows(AttachNetwork(network)(lookup.graph).model, folded)
        on_step("computing in torch")
        expected = _fold_and_compute(checkpoint, folded, lookup)
        trained = checkpoint.model.predict(validation)
        false_hits = lookup.false_hits(checkpoint.model, validation)
        on_step("writing")
        ir.save(graph, draft / GRAPH, external_data=WEIGHTS)
        for weights in checkpoint.model.parameters():  # torch is done: now the bundle is mapped
            release_pages(weights)
        on_step("verifying")
        require_bundle(draft, expected, folded, options.network_type)
        on_step("judging on validation examples")
        probability = open_graph(draft)(validation)
        cost = measure_cost(
            validation,
            checkpoint=trained,
            bundle=probability,
            false_hits=false_hits,
            metrics=checkpoint.description.metrics,
        )
        require_quality(cost, len(validation), options.max_logloss_increase)
        on_step("describing")
        manifest = describe_bundle(
            draft,
            checkpoint,
            options,
            name=name,
            rows=len(folded.table),
            row_types=lookup.row_types,
            false_hit_rate_of=_by_feature(dictionary.false_hit_rates, folded),
            entropy=entropy_bytes(folded.row_maps),
            parts=count_parts(graph),
            cost=cost,
            reference=measure_reference(draft, folded, validation, probability),
            golden=choose_golden_rows(draft, expected),
        )
        write_text(repository / name / "config.pbtxt", config_pbtxt.render(name, schema))
        return publish(draft, repository / name, manifest, version)


def _by_feature(rates: Sequence[float], folded: Folded) -> dict[str, float]:
    """Return the largest rate of each feature's row maps."""
    names = [feature.name for feature in folded.schema.categorical]
    largest = dict.fromkeys(names, 0.0)
    for rate, feature in zip(rates, folded.columns.feature_of_row_map, strict=True):
        largest[names[feature]] = max(rate, largest[names[feature]])
    return largest


def _fold_and_compute(checkpoint: Checkpoint, folded: Folded, lookup: LookupGraph) -> list[ExpectedValues]:
    """Check that folding changed nothing, and return what the stored model gives in torch.

    Raises VerificationError for a fold that does not equal the trained model.
    """
    validation = checkpoint.validation
    logs = {
        "validation examples": validation.take(slice(0, VERIFIED_ROWS)),
        "random ids": probe_rows(validation, folded.row_maps, folded.columns, VERIFIED_ROWS),
    }
    unquantised = folded_model(checkpoint, folded.row_maps, folded.table, folded.projection)
    for source, log in logs.items():
        require_equal(checkpoint.model.predict(log), unquantised.predict, log, f"fold, {source}")
    return [ExpectedValues.of(lookup.stored_model, log, source) for source, log in logs.items()]
