"""The examples run as a user runs them; a typed user's code passes a strict type check."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tablefold.client import Client
from tablefold.schema import CategoricalFeature, DenseFeature, Encoding, FeatureSchema
from tests.client.conftest import Server
from tests.server.conftest import NO_DENSE, write_bundle

ROOT = Path(__file__).parents[2]

TYPED_USE = """
import asyncio

import numpy as np
from tablefold.client import AsyncClient, Client, ModelInfo, Prediction
from tablefold.errors import InvalidRequest


def rank(server: str, user: int, items: list[str]) -> list[str]:
    with Client(server, token="sesame", timeout=1.0) as client:
        try:
            probability: np.ndarray = client.predict("ads", {"item": items}, context={"user": user})
        except InvalidRequest:
            return []
        info: ModelInfo = client.model_info("ads", label="stable")
        seconds: float | None = client.predict_details("ads", {"item": items}).compute_seconds
    return [items[place] for place in np.argsort(probability)] if info.version and seconds else []


async def score(server: str) -> Prediction:
    async with AsyncClient(server, ca="ca.pem") as client:
        return await client.predict_details("ads", {"item": np.arange(3)}, version=3)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, start_server: Callable[..., Server]) -> Server:
    """Of a model with dense values and one without."""
    repository = tmp_path_factory.mktemp("examples")
    write_bundle(repository)
    write_bundle(repository, name="sparse", schema=NO_DENSE)
    return start_server(repository)


def run(example: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("model", ["toy", "sparse"])
def test_rank_items_prints_the_best_first(server: Server, model: str) -> None:
    printed = run("rank_items.py", server.address, model)
    odds = [float(value) for value in re.findall(r"item \d: (0\.\d+)", printed)]
    assert len(odds) == 5
    assert odds == sorted(odds, reverse=True)
    assert "version 1, " in printed


@pytest.mark.parametrize("model", ["toy", "sparse"])
def test_tritons_client_scores_three_rows(server: Server, model: str) -> None:
    assert len(re.findall(r"0\.\d+", run("triton_client.py", server.address, model))) == 3


CLICKS = FeatureSchema(
    name="clicks",
    dense=(DenseFeature(name="price", optional=True),),
    categorical=(
        CategoricalFeature(name="user", encoding=Encoding.STRING, optional=True),
        CategoricalFeature(name="item", encoding=Encoding.INT, optional=True),
        CategoricalFeature(name="tags", encoding=Encoding.STRING, slots=3, optional=True),
    ),
)
"""The tutorial's."""
ASKED = {
    "item": [11, 7, 301],
    "price": [9.9, 25.0, 3.5],
    "tags": [["sale", "red"], [], ["new"]],
}
TOOLS = Path(os.environ.get("TABLEFOLD_TOOLS", ROOT / "build/tools"))
"""As `make tools` leaves it."""


def tool(name: str) -> str:
    """Where a program is; skips the test where it is not to be had."""
    found = shutil.which(name, path=f"{TOOLS}/bin:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not here: make tools")
    return found


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory, start_server: Callable[..., Server]) -> Server:
    repository = tmp_path_factory.mktemp("clicks")
    write_bundle(repository, name="clicks", schema=CLICKS)
    return start_server(repository)


def odds_of(clicks: Server) -> list[str]:
    """What our own client says of the same items."""
    with Client(clicks.address) as client:
        return [f"{value:.4f}" for value in client.predict("clicks", ASKED, context={"user": "u4021"})]


def test_grpcurl_finds_the_services_and_scores(clicks: Server) -> None:
    path = f"{Path(tool('grpcurl')).parent}:{os.environ['PATH']}"
    printed = subprocess.run(
        ["sh", ROOT / "examples/grpcurl.sh", clicks.address],
        capture_output=True, text=True, check=True, env={**os.environ, "PATH": path},
    ).stdout  # fmt: skip
    for service in ("tablefold.v1.Tablefold", "inference.GRPCInferenceService", "grpc.health.v1.Health"):
        assert f"\n{service}\n" in printed
    assert '"status": "SERVING"' in printed
    reply = json.loads(printed.partition("three items:\n")[2])
    assert [f"{value:.4f}" for value in reply["probability"]] == odds_of(clicks)


def test_node_scores_by_the_committed_proto(clicks: Server) -> None:
    node = tool("node")
    if not (TOOLS / "node_modules/@grpc/grpc-js").is_dir():
        pytest.skip("@grpc/grpc-js is not here: make tools")
    printed = subprocess.run(
        [node, ROOT / "examples/node_client.js", clicks.address],
        capture_output=True, text=True, check=True, env={**os.environ, "NODE_PATH": f"{TOOLS}/node_modules"},
    ).stdout  # fmt: skip
    assert re.findall(r"item \d: (\S+)", printed) == odds_of(clicks)
    assert printed.endswith("version 1\n")


def test_kserves_client_scores_three_rows(clicks: Server) -> None:
    python = TOOLS / "bin/python"
    if not any(TOOLS.glob("lib/*/site-packages/kserve")):
        pytest.skip("kserve is not here: make tools")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    printed = subprocess.run(
        [python, ROOT / "examples/kserve_client.py", clicks.address, "clicks"],
        capture_output=True, text=True, check=True, env=variables,
    ).stdout  # fmt: skip
    assert len(re.findall(r"0\.\d+", printed)) == 3


def test_a_users_typed_code_passes_mypy_and_a_wrong_type_does_not(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(TYPED_USE)
    (tmp_path / "wrong.py").write_text(TYPED_USE.replace("timeout=1.0", "timeout='1'"))
    # Strict, by the configuration; with the same options as `make check`, so that its cache serves here.
    mypy = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*mypy, str(tmp_path / "right.py"), str(tmp_path / "wrong.py")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    error, end = done.stdout.splitlines()
    assert "wrong.py" in error
    assert 'Argument "timeout" to "Client" has incompatible type "str"' in error
    assert end == "Found 1 error in 1 file (checked 2 source files)"
