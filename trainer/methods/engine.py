"""Who clusters in a training run: threads of it, or Ray's workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from tablefold.errors import UsageError
from tablefold.logs.encoded.clusters import OnRay
from tablefold.trainer.methods.cells import clustering_on


@contextmanager
def clustering_engine(name: Literal["local", "ray"], address: str | None, out: Path) -> Iterator[None]:
    """Cluster on it; what Ray's workers read lies beside `out` meanwhile.

    Raises UsageError where Ray is not installed or not reached, or the folder cannot be written.
    """
    if name == "local":
        if address:
            raise UsageError("--ray-address goes with --engine ray")
        yield
        return
    engine = OnRay(address)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.cells-")
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}") from error
    with scratch as folder, clustering_on(engine, Path(folder)):
        yield
