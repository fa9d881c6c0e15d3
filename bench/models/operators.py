"""What single operators of the lookup cost in ONNX Runtime, beside others that do the same; one thread.

    python -m bench.models.operators [--entries 1000000]

4,096 rows x 26 ids. The best of many runs, in microseconds a row of 26.
"""

import argparse
import time

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx_ir.tape import Tape
from rich.console import Console
from rich.table import Table

ROWS, COLUMNS, RUNS = 4096, 26, 100
IDS = ROWS * COLUMNS


def microseconds(
    name: str, x: np.ndarray, constant: np.ndarray | None, attributes: dict[str, int] | None = None
) -> float:
    """Best time of an operator on `x`, with the constant as its other input if it takes one."""
    given = ir.val("x", dtype=ir.DataType.from_numpy(x.dtype), shape=x.shape)
    graph = ir.Graph([given], [], nodes=[], opset_imports={"": 20}, name="one")
    tape = Tape(graph)
    other = [] if constant is None else [tape.initializer(ir.tensor(constant, name="c"))]
    inputs = [*other, given] if name.startswith("Gather") else [given, *other]
    value = tape.op(name, inputs, attributes)
    graph.outputs.append(value)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    model = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output(str(value.name))
    best = float("inf")
    for _ in range(RUNS):
        started = time.perf_counter()
        session.run_with_iobinding(binding)
        best = min(best, time.perf_counter() - started)
    return best / ROWS * 1e6


def main() -> None:
    """Time them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the arrays that are gathered from")
    entries = parser.parse_args().entries
    rng = np.random.default_rng(0)
    places = rng.integers(0, entries, IDS).astype(np.int32)
    words = rng.integers(-(2**63), 2**63 - 1, max(entries, IDS))
    three = np.stack([places] * 3)
    cases = {
        "read 64-bit numbers": {
            name: microseconds(name, places, words) for name in ("Gather", "GatherElements")
        },
        "read 16-bit numbers": {
            name: microseconds(name, places, words.astype(np.uint16)) for name in ("Gather", "GatherElements")
        },
        "sum three words": {
            "ReduceSum": microseconds("ReduceSum", three, np.array([0]), {"keepdims": 0}),
            "Add, Add": 2 * microseconds("Add", places, places),
        },
        "take a sum modulo 2^16": {
            "Mod, 64 bits": microseconds("Mod", words[:IDS], np.array(65_536)),
            "Cast to 16 bits": microseconds("Cast", places, None, {"to": ir.DataType.UINT16}),
        },
    }
    table = Table("task", "operator", title=f"{ROWS:,} rows x {COLUMNS} ids, {entries:,} entries")
    table.add_column("us a row", justify="right")
    table.add_column("/ the best", justify="right")
    for task, ways in cases.items():
        for operator, spent in ways.items():
            table.add_row(task, operator, f"{spent:.3f}", f"{spent / min(ways.values()):.1f}x")
    Console().print(table)


if __name__ == "__main__":
    main()
