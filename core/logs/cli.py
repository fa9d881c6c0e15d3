"""`tablefold encode`: a log becomes a cache that `train`, `study` and `footprint` read."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tablefold.files.place import local_path
from tablefold.options import Data


def encode(
    data: Data,
    cache: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            parser=local_path,
            help="Where the cache goes; every worker must see it.",
            show_default=False,
        ),
    ],
    engine: Annotated[Literal["local", "ray", "spark"], typer.Option(help="What runs the tasks.")] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes here, of local or of a Ray that is started. (default: one a core)"
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Ray cluster, such as auto. (default: one is started)"),
    ] = None,
    spark_master: Annotated[
        str | None, typer.Option(metavar="MASTER", help="Such as local[2,4]. (default: as Spark is set up)")
    ] = None,
    split: Annotated[
        Literal["order", "random"] | None, typer.Option(help="As for `train`. (default: the format's own)")
    ] = None,
    seed: Annotated[int, typer.Option(help="As for `train`: a random split draws by it.")] = 0,
) -> None:
    """Encode a log once, on as many machines as you have, for all runs that name the same cache.

    A file of the log is a task; a worker that dies costs its task. The bytes are those that `train --cache`
    makes, whatever the engine and the number of workers.
    """
    from tablefold.console import make_console, print_written
    from tablefold.errors import UsageError
    from tablefold.logs.encoded.clusters import OnRay, OnSpark
    from tablefold.logs.encoded.engines import Engine
    from tablefold.logs.encoded.processes import Processes
    from tablefold.logs.splits import SplitRule
    from tablefold.logs.terminal import read_splits_with_bar

    if (ray_address and engine != "ray") or (spark_master and engine != "spark"):
        raise UsageError("--ray-address goes with --engine ray, --spark-master with --engine spark")
    if workers and (ray_address or engine == "spark"):
        raise UsageError("--workers: the cluster says how many it has; leave the option out")
    chosen: Engine
    if engine == "ray":
        chosen = OnRay(ray_address, workers)
    elif engine == "spark":
        chosen = OnSpark(spark_master)
    else:
        chosen = Processes(workers)
    rule = SplitRule(split) if split else None
    console = make_console(stderr=True)
    _, splits = read_splits_with_bar(
        console, data, rule=rule, seed=seed, cache=cache.absolute(), engine=chosen
    )
    parts = (
        f"{len(splits.train):,} training, {len(splits.validation):,} validation, {len(splits.test):,} test"
    )
    print_written(console, cache, f": {parts} examples, split {splits.rule}; give it to train as --cache")
