"""Checkpoints and bundles of every format ever in use load, verify, export and serve (see README.md)."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
import pytest

from tablefold.bundle import GRAPH, check_files, read_manifest
from tablefold.encoding import encode
from tablefold.exporter.export import export
from tablefold.logs import Log
from tablefold.protos import inference_pb2, inference_pb2_grpc, tablefold_pb2, tablefold_pb2_grpc
from tablefold.trainer.checkpoint.files import load
from tests.path.conftest import serving

FORMATS = sorted(path for path in Path(__file__).parent.iterdir() if path.name.isdecimal())
TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A model's stored files, raw candidates and the probabilities that their writer gave."""

    folder: Path
    name: str
    candidates: list[dict[str, Any]]
    ids: np.ndarray
    probability: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, name: str) -> "StoredModel":
        content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        ids = np.array(content["ids"], dtype=np.int64)
        return cls(
            folder=folder,
            name=name,
            candidates=content["candidates"],
            ids=ids,
            probability=content["probability"],
        )

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / self.name

    def bundle(self, version: str) -> Path:
        return self.folder / "repository" / self.name / version

    def dense(self, names: list[str]) -> np.ndarray:
        """float32 [rows, N]; a missing value is NaN."""
        values = [[candidate[name] for name in names] for candidate in self.candidates]
        return np.array(values, dtype=np.float32).reshape(len(self.candidates), len(names))


MODELS = [(folder, name) for folder in FORMATS for name in ("dense", "sparse")]


@pytest.fixture(params=MODELS, ids=lambda model: f"{model[0].name}-{model[1]}")
def stored(request: pytest.FixtureRequest) -> StoredModel:
    return StoredModel.read(*request.param)


def answers(folder: Path, dense: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """What ONNX Runtime alone gives for a bundle's graph."""
    session = onnxruntime.InferenceSession(folder / GRAPH, providers=["CPUExecutionProvider"])
    inputs = {"dense": dense, "ids": ids}
    given = {entry.name: inputs[entry.name] for entry in session.get_inputs()}
    (probability,) = session.run(["probability"], given)
    return np.asarray(probability)


def test_raw_values_still_become_the_same_ids(stored: StoredModel) -> None:
    schema = read_manifest(stored.bundle("1")).feature_schema
    for candidate, ids in zip(stored.candidates, stored.ids, strict=True):
        encoded: list[int] = []
        for feature in schema.categorical:
            value = candidate[feature.name]
            values = value if isinstance(value, list) else [value]
            encoded += encode([*values, *[""] * (feature.slots - len(values))], feature.encoding).tolist()
        assert encoded == ids.tolist()


def test_a_checkpoint_loads_and_exports_to_the_same_probabilities(
    stored: StoredModel, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(stored.checkpoint, folder)
    checkpoint = load(folder)
    dense = stored.dense([feature.name for feature in checkpoint.description.feature_schema.dense])
    expected = stored.probability["checkpoint"]
    torch = checkpoint.model.predict(Log(dense=dense, ids=stored.ids, label=None))
    np.testing.assert_allclose(torch, expected, atol=TOLERANCE)
    bundle = export(checkpoint, tmp_path / "repository", "again")
    np.testing.assert_allclose(answers(bundle, dense, stored.ids), expected, atol=TOLERANCE)


def test_a_checkpoint_with_fields_of_a_newer_tablefold_loads(stored: StoredModel, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(stored.checkpoint, folder)
    description = folder / "checkpoint.json"
    content = json.loads(description.read_text(encoding="utf-8"))
    for part in (content, content["config"], content["features"][0], content["feature_schema"]):
        part["of_tomorrow"] = True
    description.write_text(json.dumps(content), encoding="utf-8")
    assert load(folder).description == load(stored.checkpoint).description


def test_a_checkpoint_whose_seed_was_below_zero_loads(stored: StoredModel, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(stored.checkpoint, folder)
    description = folder / "checkpoint.json"
    content = json.loads(description.read_text(encoding="utf-8"))
    content["config"]["seed"] = -1
    description.write_text(json.dumps(content), encoding="utf-8")
    if content["format"] == 2:
        assert load(folder).description.config.seed == (1 << 63) - 1


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_bundle_verifies_and_its_graph_gives_the_same_probabilities(
    stored: StoredModel, version: str
) -> None:
    folder = stored.bundle(version)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    dense = stored.dense([feature.name for feature in manifest.feature_schema.dense])
    expected = stored.probability["versions"][version]
    np.testing.assert_allclose(answers(folder, dense, stored.ids), expected, atol=TOLERANCE)
    golden_dense, golden_ids, golden = manifest.golden.arrays(manifest.feature_schema)
    np.testing.assert_allclose(answers(folder, golden_dense, golden_ids), golden, atol=TOLERANCE)


@pytest.fixture(scope="module", params=FORMATS, ids=lambda folder: folder.name)
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Path, grpc.Channel]]:
    """A real server of a format's repository."""
    with serving(request.param / "repository") as address, grpc.insecure_channel(address) as channel:
        yield request.param, channel


@pytest.mark.parametrize("name", ["dense", "sparse"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_a_real_server_gives_the_same_probabilities(
    served: tuple[Path, grpc.Channel], name: str, version: str
) -> None:
    folder, channel = served
    stored = StoredModel.read(folder, name)
    schema = read_manifest(stored.bundle(version)).feature_schema
    dense = stored.dense([feature.name for feature in schema.dense])
    expected = stored.probability["versions"][version]

    raw = tablefold_pb2.PredictRequest(model=name, version=int(version))
    for number, column in zip(schema.dense, dense.T, strict=True):
        raw.candidates.add(name=number.name).numbers.values.extend(column)
    for feature in schema.categorical:
        texts = raw.candidates.add(name=feature.name).texts.values
        for candidate in stored.candidates:
            value = candidate[feature.name]
            values = value if isinstance(value, list) else [value]
            texts.extend([*values, *[""] * (feature.slots - len(values))])
    reply = tablefold_pb2_grpc.TablefoldStub(channel).Predict(raw)
    np.testing.assert_allclose(reply.probability, expected, atol=TOLERANCE)

    tensors = inference_pb2.ModelInferRequest(model_name=name, model_version=version)
    for tensor, datatype, array in (("dense", "FP32", dense), ("ids", "INT64", stored.ids)):
        if array.size:
            tensors.inputs.add(name=tensor, datatype=datatype, shape=array.shape)
            tensors.raw_input_contents.append(array.tobytes())
    answer = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(tensors)
    probability = np.frombuffer(answer.raw_output_contents[0], dtype=np.float32)
    np.testing.assert_allclose(probability, expected, atol=TOLERANCE)


def test_a_policy_of_that_time_still_means_the_same(served: tuple[Path, grpc.Channel]) -> None:
    _, channel = served
    service = tablefold_pb2_grpc.TablefoldStub(channel)
    for label, version in (("stable", 1), ("canary", 2), ("", 1)):
        assert service.GetModel(tablefold_pb2.GetModelRequest(model="sparse", label=label)).version == version
    assert service.GetModel(tablefold_pb2.GetModelRequest(model="dense")).version == 2


def test_the_stored_files_stay_small() -> None:
    sizes = [file.stat().st_size for folder in FORMATS for file in folder.rglob("*") if file.is_file()]
    assert sum(sizes) < 300_000 * len(FORMATS)
