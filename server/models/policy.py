"""Which versions of a model to serve, and what its labels mean: the file `serving.toml` beside them.

    versions = "latest"       # or "all", or a list such as [3, 5]
    [labels]
    stable = 3                # a labelled version is served too
    canary = 4

Without the file: the latest, no labels.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tablefold.errors import BundleError
from tablefold.files.regular_file import read_regular_file
from tablefold.validation import first_fault

POLICY = "serving.toml"
MAX_POLICY_BYTES = 64 << 10
MAX_ENTRIES = 1000
"""Of versions and of labels: the index has a line for each."""

STABLE = "stable"
"""The label that answers a request which names no version."""

Number = Annotated[int, Field(ge=1, lt=1 << 63, strict=True)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=64)]
"""Never a number: those are versions."""


class Policy(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    versions: Literal["latest", "all"] | Annotated[list[Number], Field(max_length=MAX_ENTRIES)] = "latest"
    labels: Annotated[dict[Label, Number], Field(max_length=MAX_ENTRIES)] = {}

    def requested(self, on_disk: Iterable[int]) -> list[int]:
        """Return the versions to serve, without those of labels, newest first, as they are tried."""
        return sorted(set(on_disk if isinstance(self.versions, str) else self.versions), reverse=True)


def read_policy(folder: Path) -> Policy:
    """Return the policy of a model's folder. Raises BundleError saying what is wrong with the file."""
    path = folder / POLICY
    try:
        return Policy.model_validate(tomllib.loads(read_regular_file(path, MAX_POLICY_BYTES).decode()))
    except FileNotFoundError:
        if path.is_symlink():
            raise BundleError(f"{path} is a link that leads nowhere") from None
        return Policy()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BundleError(
            f'{path}: {first_fault(error)}; it takes versions = "latest", "all" or a list of at most '
            f"{MAX_ENTRIES:,} numbers, and [labels] with one number for each label"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not TOML: {error}") from error
