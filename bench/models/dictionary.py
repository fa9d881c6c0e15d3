"""What a compact dictionary of many ids costs to build and to ask, whole and in pieces side by side.

    python -m bench.models.dictionary [--ids 20000000] [--rows 200000]

Random ids of one feature. Each is built in a process of its own: seconds, processor time, peak anonymous
memory (sampled) above that of the ids and their rows, bytes an id, and microseconds an id to ask 4,096 random
known ids at once in ONNX Runtime, one thread, the best call. Prints a table and one line of JSON.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np
import onnx_ir as ir
import onnxruntime
from rich.console import Console
from rich.table import Table

from bench.process_memory import anonymous_growth
from tablefold.exporter.dictionaries import words
from tablefold.exporter.dictionaries.compact import CompactDictionary
from tablefold.exporter.dictionaries.words import word_pools
from tablefold.exporter.graph import empty_model, value_named
from tablefold.exporter.passes.lookup import ROWS, BuildLookup
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap

FALSE_HITS = 1 / 64
SCHEMA = FeatureSchema(
    name="one", dense=(), categorical=(CategoricalFeature(name="id", encoding=Encoding.INT),)
)
ASKED, CALLS = 4096, 200


def measure(ids: int, rows: int) -> dict[str, float]:
    """Build one, ask it."""
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(-(2**63), 2**63 - 1, ids))
    row_map = RowMap(
        keys=keys, rows=1 + rng.integers(0, rows, len(keys)), hashed_first=rows + 1, hashed_rows=1
    )
    with anonymous_growth() as growth:
        started, worked = time.perf_counter(), time.process_time()
        dictionary = CompactDictionary([row_map], np.zeros(1, np.int64), [FALSE_HITS])
        used = {"s": time.perf_counter() - started, "core_s": time.process_time() - worked}
    columns = LookupColumns(
        id_column=np.zeros(1, np.int64), row_map=np.zeros(1, np.int64), feature=np.zeros(1, np.int64),
        share=np.zeros(1, np.float32),
    )  # fmt: skip
    model = BuildLookup([row_map], columns, dictionary)(empty_model(SCHEMA)).model
    model.graph.outputs.append(value_named(model, ROWS))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    times = []
    for _ in range(CALLS):
        asked = rng.integers(0, len(keys), ASKED)
        began = time.perf_counter()
        got = session.run(None, {"ids": keys[asked, None]})[0]
        times.append(time.perf_counter() - began)
        assert np.array_equal(np.asarray(got)[:, 0], row_map.rows[asked])
    [pool] = word_pools([len(keys)], [rows], [FALSE_HITS])
    return used | {
        "pieces": pool.layout.pieces,
        "MB": growth.kilobytes / 1e3,
        "bytes_an_id": sum(pool.bytes_of_planes.values()) / len(keys),
        "us_an_id": 1e6 * min(times) / ASKED,
    }


def main() -> None:
    """Measure both, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ids", type=int, default=20_000_000, help="known ids")
    parser.add_argument("--rows", type=int, default=200_000, help="that they share")
    parser.add_argument("--one", choices=("whole", "pieces"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        if given.one == "whole":
            words.WHOLE_UP_TO_KEYS = given.ids
        print(json.dumps(measure(given.ids, given.rows)))
        return
    results = []
    for one in ("whole", "pieces"):
        command = [sys.executable, "-m", "bench.models.dictionary", "--one", one]
        printed = subprocess.check_output(
            [*command, "--ids", str(given.ids), "--rows", str(given.rows)], text=True
        )
        results.append(json.loads(printed))
    table = Table(*results[0], title=f"{given.ids:,} ids, {given.rows:,} rows")
    for result in results:
        table.add_row(*(f"{value:,.3f}" for value in result.values()))
    Console().print(table)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
