"""What may be served: sound bundles only, the newest version of each, and a clear reason for the rest."""

import json

import numpy as np
import onnx
import pytest

from tablefold.bundle import GRAPH, MANIFEST, WEIGHTS, digest
from tablefold.errors import BundleError, UsageError
from tablefold.server.app import Server
from tablefold.server.options import Options


def rewrite(folder, **fields) -> None:
    """Change the manifest, with digests that fit the files as they are."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] = {name: digest(folder / name).model_dump() for name in (GRAPH, WEIGHTS)}
    (folder / MANIFEST).write_text(json.dumps(manifest | fields))


def flip_a_byte(folder) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[40] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def truncate(folder) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])


def other_weights(folder) -> None:
    (folder / WEIGHTS).write_bytes(bytes(97 * 4))
    rewrite(folder)


def climb_out(folder) -> None:
    model = onnx.load_model(folder / GRAPH, load_external_data=False)
    [table] = [tensor for tensor in model.graph.initializer if tensor.external_data]
    next(entry for entry in table.external_data if entry.key == "location").value = "../../../secret"
    onnx.save_model(model, folder / GRAPH)
    rewrite(folder)


def other_columns(folder) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    schema = manifest["feature_schema"]
    schema["categorical"][2]["slots"] = 3
    golden = manifest["golden"] | {"ids": [[*row, 0] for row in manifest["golden"]["ids"]]}
    rewrite(folder, feature_schema=schema, golden=golden)


DAMAGE = {
    "one flipped byte": (flip_a_byte, [WEIGHTS, "damaged", "SHA-256"]),
    "truncated weights": (truncate, [WEIGHTS, "damaged"]),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), [WEIGHTS, "missing"]),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), [MANIFEST]),
    "broken manifest": (lambda folder: (folder / MANIFEST).write_text("{"), [MANIFEST, "damaged"]),
    "another model's weights": (other_weights, ["golden rows", "differ"]),
    "weights outside the bundle": (climb_out, [GRAPH, "'../../../secret'"]),
    "graph and schema differ": (other_columns, [GRAPH, "ids", "[batch, 5]"]),
    "no golden rows": (
        lambda folder: rewrite(folder, golden={"dense": [], "ids": [], "probability": []}),
        ["no golden rows"],
    ),
    "no graph": (
        lambda folder: ((folder / GRAPH).write_bytes(b"\xff" * 100), rewrite(folder)),
        [GRAPH, "not an ONNX model"],
    ),
    "an empty graph": (
        lambda folder: ((folder / GRAPH).write_bytes(b""), rewrite(folder)),
        [GRAPH, "cannot be loaded"],
    ),
    "another model's folder": (lambda folder: rewrite(folder, version=2), ["version 2", "folders"]),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
async def test_a_damaged_bundle_is_refused_saying_which_file_and_why(tmp_path, toy, damage, words):
    damage(toy.write(tmp_path))
    with pytest.raises(BundleError) as refusal:
        async with toy.here(tmp_path):
            pass
    for word in words:
        assert word in str(refusal.value)


async def test_a_damaged_model_does_not_take_the_sound_ones_down(tmp_path, toy, caplog):
    toy.write(tmp_path)
    flip_a_byte(toy.write(tmp_path, name="bad"))
    async with toy.here(tmp_path) as client:
        assert "model bad version 1 is not served" in caplog.text
        dense, ids = toy.rows(2)
        assert len(await client.infer(dense, ids)) == 2
        status, text = await toy.status(client.oip.ModelInfer(toy.request(dense, ids, model_name="bad")))
        assert status == "NOT_FOUND"
        assert "damaged" in text


async def test_the_newest_version_is_served_and_an_older_one_where_that_is_damaged(tmp_path, toy):
    for version in (1, 2, 10):
        folder = toy.write(tmp_path, version=version)
    dense, ids = toy.rows(5)
    async with toy.here(tmp_path) as client:
        np.testing.assert_allclose(await client.infer(dense, ids), toy.probability(dense, ids, 10), atol=1e-6)
        request = toy.request(dense, ids, model_version="2")
        status, text = await toy.status(client.oip.ModelInfer(request))
        assert status == "NOT_FOUND"
        assert "10" in text
    flip_a_byte(folder)
    async with toy.here(tmp_path) as client:
        np.testing.assert_allclose(await client.infer(dense, ids), toy.probability(dense, ids, 2), atol=1e-6)
        request = toy.request(dense, ids, model_version="10")
        assert "damaged" in (await toy.status(client.oip.ModelInfer(request)))[1]


async def test_several_models_are_served_side_by_side(tmp_path, toy):
    toy.write(tmp_path, name="a", version=1)
    toy.write(tmp_path, name="b", version=2)
    dense, ids = toy.rows(3)
    async with toy.here(tmp_path) as client:
        for name, version in (("a", 1), ("b", 2)):
            response = await client.oip.ModelInfer(toy.request(dense, ids, model_name=name))
            np.testing.assert_allclose(
                toy.probability_in(response), toy.probability(dense, ids, version), atol=1e-6
            )


async def test_half_written_bundles_and_other_folders_are_not_seen(tmp_path, toy):
    folder = toy.write(tmp_path)
    folder.rename(folder.parent / ".2.tmp")
    (tmp_path / ".model.tmp" / "1").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(BundleError, match="holds no model"):
        async with toy.here(tmp_path):
            pass


async def test_a_repository_that_is_not_there_is_said_so(tmp_path, toy):
    with pytest.raises(BundleError, match="not a folder"):
        async with toy.here(tmp_path / "nowhere"):
            pass


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:-1", "cpu:0", ""])
async def test_an_unknown_device_is_refused(tmp_path, device):
    with pytest.raises(UsageError, match="cuda:0"):
        Server(Options(repository=tmp_path, device=device))


async def test_a_gpu_that_is_asked_for_and_absent_is_never_replaced_by_the_cpu(repository, toy):
    with pytest.raises(UsageError, match=r"onnxruntime-gpu|nvidia-smi"):
        async with toy.here(repository, device="cuda:97"):
            pass
