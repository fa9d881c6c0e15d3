"""Which versions of a model are wanted, and what its labels mean: the file `serving.toml` beside them.

    versions = "latest"       # or "all", or a list such as [3, 5]
    [labels]
    stable = 3                # a labelled version is wanted too
    canary = 4

Knows that file. Does not know what is on disk or in memory. Without the file: the latest, no labels.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tablefold.errors import BundleError

POLICY = "serving.toml"

STABLE = "stable"
"""The label that answers a request which names no version."""

Number = Annotated[int, Field(ge=1, strict=True)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=64)]
"""Never a number: those are versions."""


class Policy(BaseModel):
    """What the file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    versions: Literal["latest", "all"] | list[Number] = "latest"
    labels: dict[Label, Number] = {}


def read_policy(folder: Path) -> Policy:
    """The policy of a model's folder. Raises BundleError saying what is wrong with the file."""
    path = folder / POLICY
    try:
        return Policy.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Policy()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f'{path}: {where}: {first["msg"]}; it takes versions = "latest", "all" or a list of numbers, '
            "and [labels] with a number each"
        ) from error
