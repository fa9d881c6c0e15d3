"""The JSON Schema of `--json`.

python -m tablefold.loadtest.report.json_schema > docs/reference/loadtest.schema.json
"""

import json
from typing import Any

from pydantic import TypeAdapter

from tablefold.loadtest.compare import Comparison
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.sweep import Sweep


def schema() -> dict[str, Any]:
    """Return the schema of a run, a sweep or a comparison; `kind` says which it is."""
    return TypeAdapter(Result | Sweep | Comparison).json_schema(mode="serialization")


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
