"""`tablefold adopt`: take over a model that was trained elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from tablefold.console import make_console, print_written
from tablefold.files.place import local_path
from tablefold.options import Data


def adopt(
    data: Data,
    torchrec: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="What torch.distributed.checkpoint saved of the model, sharded in any way.",
            show_default=False,
        ),
    ],
    network: Annotated[
        str,
        typer.Option(
            metavar="package.module:Factory",
            help="Makes the network behind the tables; it gets its weights from the checkpoint. Or a .pt2 "
            "file of torch.export.save, which has them.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", parser=local_path, help="The checkpoint folder to write.", show_default=False
        ),
    ],
    table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FEATURE=TABLE",
            help="The table of a feature, where it is called neither FEATURE nor t_FEATURE.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Take over a model that TorchRec trained; none of its probabilities changes.

    --data has the features' schema, and the validation examples that judge every later step: compress,
    export, shrink. TorchRec need not be installed.
    """
    from tablefold.errors import UsageError
    from tablefold.logs.terminal import read_splits_with_bar
    from tablefold.trainer.adoption.torchrec import adopt_torchrec
    from tablefold.trainer.checkpoint import files as checkpoints
    from tablefold.trainer.networks.registry import import_factory

    checkpoints.require_free(out)
    tables = {}
    for text in table or []:
        feature, separator, name = text.partition("=")
        if not (separator and feature and name) or feature in tables:
            raise UsageError(f"--table {text}: give FEATURE=TABLE, each feature once")
        tables[feature] = name
    factory = import_factory(network)
    if factory is None:
        raise UsageError(
            f"--network {network} is Tablefold's own; give the factory of the model's network, or its .pt2 "
            "file"
        )
    console = make_console(stderr=True)
    schema, splits = read_splits_with_bar(console, data)
    with console.status("reading and writing the tables"):
        adopted = adopt_torchrec(torchrec, schema, factory, splits.validation, out, tables=tables)
    metrics = adopted.description.metrics
    judged = ", ".join(f"{name.removeprefix('validation_')} {value:.4f}" for name, value in metrics.items())
    make_console().print(f"{len(splits.validation):,} validation examples: {judged}")
    print_written(console, out)
