"""Real Criteo rows through the whole path, read and sent by code that shares nothing with ours.

A script of its own process parses the log with the standard library and sends raw ids with tritonclient;
what comes back must be torch's probability of the same rows.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tablefold.bundle import TOLERANCE
from tablefold.exporter.export import export
from tablefold.exporter.proof.probes import probe_rows
from tablefold.logs import Log, read_rows
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.embedding.collection import fuse
from tests.path.conftest import serving

METHODS = ("full", "hash", "mlet", "lhf")

SEND_WITH_TRITONCLIENT = """
import gzip, sys
import numpy as np
import tritonclient.grpc as triton

server, out, probes, *files = sys.argv[1:]
dense, ids = [], []
for file in files:
    for line in gzip.open(file, "rt"):
        fields = line.rstrip("\\n").split("\\t")
        dense.append([float(v) if v else float("nan") for v in fields[1:14]])
        ids.append([int(v, 16) if v else -(2**63) for v in fields[14:]])
held_out = (np.array(dense, np.float32), np.array(ids, np.int64))
given = np.load(probes)

client = triton.InferenceServerClient(server)
assert client.is_server_live() and client.is_server_ready()
answers = {}
for model in ("full", "hash", "mlet", "lhf"):
    assert client.is_model_ready(model)
    for name, (d, i) in {"held out": held_out, "probes": (given["dense"], given["ids"])}.items():
        inputs = [triton.InferInput("dense", d.shape, "FP32"), triton.InferInput("ids", i.shape, "INT64")]
        inputs[0].set_data_from_numpy(d)
        inputs[1].set_data_from_numpy(i)
        answers[f"{model} {name}"] = client.infer(model, inputs).as_numpy("probability")
np.savez(out, **answers)
"""


@pytest.fixture(scope="module")
def checkpoints(
    real_data: Callable[[str], Path], trained: Callable[..., tuple[Checkpoint, Path]]
) -> dict[str, Checkpoint]:
    folder = real_data("criteo-kaggle-8k")
    return {method: trained(method, f"criteo:{folder}")[0] for method in METHODS}


@pytest.fixture(scope="module")
def server(checkpoints: dict[str, Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    repository = tmp_path_factory.mktemp("repository")
    for method, checkpoint in checkpoints.items():
        export(checkpoint, repository, method)
    with serving(repository) as address:
        yield address


@pytest.fixture(scope="module")
def probes(checkpoints: dict[str, Checkpoint]) -> Log:
    """Rows with known, unknown, negative, huge and missing ids."""
    full = checkpoints["full"]
    schema = full.description.feature_schema
    return probe_rows(full.validation, fuse(schema, full.row_maps), full.model.collection.columns, 500)


@pytest.fixture(scope="module")
def answers(
    server: str,
    probes: Log,
    real_data: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, np.ndarray]:
    folder, scratch = real_data("criteo-kaggle-8k"), tmp_path_factory.mktemp("answers")
    np.savez(scratch / "probes.npz", dense=probes.dense, ids=probes.ids)
    arguments = [server, scratch / "answers.npz", scratch / "probes.npz"]
    files = [folder / "dev.csv.gz", folder / "test.csv.gz"]
    subprocess.run([sys.executable, "-c", SEND_WITH_TRITONCLIENT, *arguments, *files], check=True)
    with np.load(scratch / "answers.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("method", METHODS)
def test_tritonclient_gets_torchs_probabilities_for_all_held_out_rows(
    method: str,
    checkpoints: dict[str, Checkpoint],
    answers: dict[str, np.ndarray],
    real_data: Callable[[str], Path],
) -> None:
    folder = real_data("criteo-kaggle-8k")
    expected = np.concatenate(
        [
            checkpoints[method].model.predict(read_rows(f"criteo:{folder / file}")[1])
            for file in ("dev.csv.gz", "test.csv.gz")
        ]
    )
    assert expected.shape == (800,)
    np.testing.assert_allclose(answers[f"{method} held out"], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("method", METHODS)
def test_unknown_and_missing_ids_follow_the_same_rule_everywhere(
    method: str, checkpoints: dict[str, Checkpoint], answers: dict[str, np.ndarray], probes: Log
) -> None:
    expected = checkpoints[method].model.predict(probes)
    np.testing.assert_allclose(answers[f"{method} probes"], expected, rtol=0, atol=TOLERANCE)
