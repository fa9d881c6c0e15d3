"""What the exported graph costs, beside what anybody would write first; one thread, one core.

    python -m bench.models.graph [--ids 1000000]

DLRM of Criteo's shape (26 features, 13 dense values, d = 16, MLPs 512-256-64 and 512-256). Ours starts from
raw ids; the others are given rows. Each round times all of them once, so that the machine's noise hits all
alike; the median is printed, and each figure as a ratio to ours.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir.passes import Sequential
from rich.console import Console
from rich.table import Table

from bench.random_bundle import DIM, random_row_map
from tablefold.exporter.byte_counts import count_parts
from tablefold.exporter.graph import empty_model, value_named
from tablefold.exporter.network_graph import export_network
from tablefold.exporter.options import DictionaryKind, RowType
from tablefold.exporter.passes.element_gathers import QuickenElementGathers
from tablefold.exporter.passes.lookup import ROWS, BuildLookup, build_dictionary
from tablefold.exporter.passes.network import AttachNetwork
from tablefold.exporter.passes.quantise_network import QuantiseNetwork
from tablefold.exporter.passes.rows import AttachRows
from tablefold.exporter.tables.stored_table import StoredTable
from tablefold.logs.formats.synthetic import FIELD_SIZES, SCHEMA
from tablefold.trainer.embedding.collection import fuse
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.networks.ctr_model import Network
from tablefold.trainer.networks.dlrm import DLRM

BATCHES, ROUNDS = (1, 270, 4096), 60
Inputs = dict[str, np.ndarray]
Run = Callable[[Inputs], object]


class Plain(torch.nn.Module):
    """The same model as everybody writes it: one embedding a feature, given rows of its own table."""

    def __init__(self, trained: Network, sizes: list[int]) -> None:
        super().__init__()
        self.tables = torch.nn.ModuleList(torch.nn.Embedding(size, DIM) for size in sizes)
        self.network = trained

    def forward(self, dense: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """dense float32 [B, 13], rows int64 [B, 26] -> probability [B]."""
        vectors = torch.stack([table(ids[:, i]) for i, table in enumerate(self.tables)], dim=1)
        return torch.sigmoid(self.network(dense, vectors))


def session(model: bytes) -> Run:
    """A run on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    opened = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = {tensor.name for tensor in opened.get_inputs()}
    return lambda inputs: opened.run(None, {name: inputs[name] for name in names})


def ours(
    kind: DictionaryKind,
    maps: tuple[RowMap, ...],
    table: StoredTable,
    trained: Network,
    int8_on: Inputs | None,
) -> tuple[ir.Model, ir.Model]:
    """The whole graph, its network in int8 with scales from the given rows if any; and the lookup alone."""
    columns = LookupColumns.of(SCHEMA, [[row_map] for row_map in maps])
    lookup = BuildLookup(maps, columns, build_dictionary(kind, maps, columns))
    network = QuickenElementGathers()(export_network(trained, 13, len(maps), DIM)).model
    if int8_on is not None:
        network = QuantiseNetwork(int8_on["dense"], int8_on["vectors"])(network).model
    rows = AttachRows(table, columns)
    whole = Sequential(lookup, rows, AttachNetwork(network))(empty_model(SCHEMA)).model
    alone = lookup(empty_model(SCHEMA)).model
    alone.graph.outputs.append(value_named(alone, ROWS))
    return whole, alone


def plain_onnx(plain: Plain) -> bytes:
    """torch.onnx of the plain model."""
    batch = torch.export.Dim("batch", min=1)
    example = (torch.zeros(2, 13), torch.zeros(2, len(plain.tables), dtype=torch.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = {"dense": {0: batch}, "ids": {0: batch}}
        program = torch.onnx.export(plain, example, dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert program is not None
    return program.model_proto.SerializeToString()


def eager(plain: Plain) -> Run:
    """PyTorch without a graph."""

    @torch.inference_mode()
    def run(inputs: dict[str, np.ndarray]) -> object:
        return plain(torch.from_numpy(inputs["dense"]), torch.from_numpy(inputs["rows"])).numpy()

    return run


def seconds(runs: dict[str, Run], inputs: dict[str, np.ndarray]) -> dict[str, float]:
    """Median time of a call, the contenders in turn."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    repeat = max(1, 200 // len(inputs["ids"]))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.perf_counter()
            for _ in range(repeat):
                run(inputs)
            taken[name].append((time.perf_counter() - started) / repeat)
    return {name: float(np.median(times)) for name, times in taken.items()}


def main() -> None:
    """Build, time, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ids", type=int, default=1_000_000, help="ids of all features together")
    wanted = parser.parse_args().ids
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    sizes = [max(3, min(size, round(size * wanted / sum(FIELD_SIZES)))) for size in FIELD_SIZES]
    known = sum(sizes)
    unfused = [random_row_map(size, None, rng) for size in sizes]
    maps = fuse(SCHEMA, [[row_map] for row_map in unfused])
    trained = Network(SCHEMA, DLRM(13, 26, DIM)).eval()
    table = rng.normal(0, 0.1, (1 + known + 26, DIM)).astype(np.float32)
    stored = StoredTable.of(table, [row_map.num_rows for row_map in unfused], [RowType.FP32] * 26)
    calibration = rows(4096, maps, sizes, table, rng)
    plain = Plain(trained, sizes).eval()
    runs: dict[str, Run] = {}
    lookups: dict[str, dict[str, float]] = {}
    for kind in DictionaryKind:
        started = time.perf_counter()
        whole, lookup = ours(kind, maps, stored, trained, None)
        lookups[kind.value] = {
            "bytes_an_id": count_parts(lookup).total / known,
            "build_seconds": time.perf_counter() - started,
        }
        runs[f"ours, {kind}, from raw ids"] = session(ir.to_proto(whole).SerializeToString())
        runs[f"ours, {kind}, the lookup alone"] = session(ir.to_proto(lookup).SerializeToString())
    int8, _ = ours(DictionaryKind.EXACT, maps, stored, trained, calibration)
    runs["ours, exact, int8 network"] = session(ir.to_proto(int8).SerializeToString())
    network = QuickenElementGathers()(export_network(trained, 13, len(maps), DIM)).model
    runs["the network alone, from vectors"] = session(ir.to_proto(network).SerializeToString())
    runs["torch.onnx, one embedding a feature"] = session_of_rows(plain_onnx(plain))
    runs["PyTorch eager, the same"] = eager(plain)
    results = {batch: seconds(runs, rows(batch, maps, sizes, table, rng)) for batch in BATCHES}
    show(known, lookups, results)
    print(json.dumps({"ids": known, "lookup": lookups, "seconds": results}))


def rows(
    batch: int, maps: tuple[RowMap, ...], sizes: list[int], table: np.ndarray, rng: np.random.Generator
) -> Inputs:
    """Rows of known ids, raw, as rows of each feature's own table, and as vectors."""
    picks = rng.integers(0, sizes, (batch, len(sizes)))
    return {
        "dense": rng.exponential(5, (batch, 13)).astype(np.float32),
        "ids": np.stack([row_map.keys[picks[:, c]] for c, row_map in enumerate(maps)], axis=1),
        "rows": picks,
        "vectors": table[rng.integers(0, len(table), picks.shape)],
    }


def show(known: int, lookups: dict[str, dict[str, float]], results: dict[int, dict[str, float]]) -> None:
    """The table; every ratio is to our own graph with the exact dictionary."""
    costs = [f"{kind} {cost['bytes_an_id']:.2f} bytes an id" for kind, cost in lookups.items()]
    shown = Table(title=f"{known:,} ids; dictionary and row map: {', '.join(costs)}")
    shown.add_column("")
    for batch in results:
        shown.add_column(f"{batch} rows: us a call", justify="right")
        shown.add_column("/ ours", justify="right")
    names = list(results[BATCHES[0]])
    for name in names:
        cells = [
            cell
            for times in results.values()
            for cell in (f"{times[name] * 1e6:,.1f}", f"{times[name] / times[names[0]]:.2f}")
        ]
        shown.add_row(name, *cells)
    Console(width=130).print(shown)


def session_of_rows(model: bytes) -> Run:
    """The plain graph takes rows under the name `ids`."""
    run = session(model)
    return lambda inputs: run({"dense": inputs["dense"], "ids": inputs["rows"]})


if __name__ == "__main__":
    main()
