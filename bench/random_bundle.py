"""A bundle of any size without training: a random DLRM of Criteo's shape (26 features, 13 dense, d = 16).

Used by the benches of the server. Every known id has a row of its own; the dictionary is the compact one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir.passes import Sequential

from tablefold.bundle import GRAPH, MANIFEST, WEIGHTS, GoldenRows, Manifest, Method, digest
from tablefold.exporter.dictionary import DictionaryKind
from tablefold.exporter.graph import empty_model, parts_of
from tablefold.exporter.lookup import BuildLookup, build_dictionary
from tablefold.exporter.network import AttachNetwork
from tablefold.exporter.row_types import RowType, pack
from tablefold.exporter.rows import AttachRows
from tablefold.footprint import Footprint
from tablefold.logs.synthetic import FIELD_SIZES, SCHEMA
from tablefold.trainer.collection import fuse
from tablefold.trainer.dlrm import DLRM
from tablefold.trainer.model import Head
from tablefold.trainer.row_map import RowMap

DIM = 16


@dataclass(frozen=True)
class Ids:
    """What requests may ask for: each column's known ids."""

    keys: list[np.ndarray]

    def rows(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """dense float32 [count, 13] and known ids int64 [count, 26], evenly drawn."""
        ids = np.stack([keys[rng.integers(0, len(keys), count)] for keys in self.keys], axis=1)
        return rng.exponential(5, (count, 13)).astype(np.float32), ids


def write_bundle(
    repository: Path, name: str, version: int, ids: int, *, seed: int = 0, row_type: RowType = RowType.FP32
) -> Ids:
    """`repository/name/version` with about `ids` known ids; the seed makes the weights, not the ids."""
    torch.manual_seed(seed)
    sizes = [max(3, round(size * ids / sum(FIELD_SIZES))) for size in FIELD_SIZES]
    keys = [np.unique(np.random.default_rng(size).integers(0, 2**62, size)) for size in sizes]
    maps = fuse(
        SCHEMA,
        [RowMap(keys=k, rows=np.arange(len(k)), hashed_first=len(k), hashed_rows=1) for k in keys],
    )
    columns = SCHEMA.feature_of_column
    table = np.random.default_rng(seed).normal(0, 0.1, (1 + sum(map(len, keys)) + 26, DIM))
    dictionary = build_dictionary(DictionaryKind.COMPACT, maps, columns)
    graph = Sequential(
        BuildLookup(maps, columns, dictionary),
        AttachRows(pack(table.astype(np.float32), row_type), columns, len(maps)),
        AttachNetwork(Head(SCHEMA, DLRM(13, 26, DIM)).eval()),
    )(empty_model(SCHEMA)).model
    drawn = Ids([row_map.keys for row_map in maps])
    folder = repository / name / f".{version}.writing"
    folder.mkdir(parents=True)
    ir.save(graph, folder / GRAPH, external_data=WEIGHTS)
    session = onnxruntime.InferenceSession(folder / GRAPH, providers=["CPUExecutionProvider"])
    dense, known = drawn.rows(16, np.random.default_rng(seed))
    [probability] = session.run(["probability"], {"dense": dense, "ids": known})
    manifest = Manifest(
        name=name,
        version=version,
        feature_schema=SCHEMA,
        method=Method(
            name="full",
            dim=DIM,
            rows=len(table),
            distinct_ids=sum(map(len, keys)),
            known_ids=sum(map(len, keys)),
        ),
        row_type=row_type.value,
        lookup="compact",
        footprint=Footprint(parts=parts_of(graph), baseline_fp32=sum(map(len, keys)) * DIM * 4),
        golden=GoldenRows.of(dense, known, np.asarray(probability)),
        files={file: digest(folder / file) for file in (GRAPH, WEIGHTS)},
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    folder.rename(repository / name / str(version))
    return drawn
