"""`tablefold.v1`: features by name, raw values, context once."""

import json

import numpy as np
import pytest

from tablefold.bundle import MANIFEST, Manifest
from tablefold.encoding import encode
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import MISSING


def numbers(name, *values):
    return pb.Feature(name=name, numbers=pb.Numbers(values=values))


def ids(name, *values):
    return pb.Feature(name=name, ids=pb.Ids(values=values))


def texts(name, *values):
    return pb.Feature(name=name, texts=pb.Texts(values=values))


async def test_context_is_the_same_in_every_row_and_raw_texts_are_encoded(client, toy):
    response = await client.tablefold.Predict(
        pb.PredictRequest(
            model="toy",
            context=[numbers("age", 0.5), texts("user", "-12")],
            candidates=[
                numbers("price", 1.0, np.nan, -2.0),
                texts("item", "00ff", "", "DEADBEEF"),
                texts("tags", "red", "big", "", "", "red", ""),
            ],
        )
    )
    dense = np.array([[0.5, 1.0], [0.5, np.nan], [0.5, -2.0]], dtype=np.float32)
    tags = encode(["red", "big", "", "", "red", ""], toy.schema.categorical[2].encoding).reshape(3, 2)
    rows = np.column_stack([[-12] * 3, [0xFF, MISSING, 0xDEADBEEF], tags])
    np.testing.assert_allclose(response.probability, toy.probability(dense, rows), atol=1e-6)
    assert response.version == 1
    assert response.queue_seconds >= 0
    assert response.compute_seconds > 0


async def test_encoded_ids_and_both_protocols_agree(client, toy):
    dense, rows = toy.rows(40)
    response = await client.tablefold.Predict(
        pb.PredictRequest(
            model="toy",
            version=1,
            candidates=[
                numbers("price", *dense[:, 1].tolist()),
                ids("tags", *rows[:, 2:].ravel().tolist()),
                ids("item", *rows[:, 1].tolist()),
                ids("user", *rows[:, 0].tolist()),
                numbers("age", *dense[:, 0].tolist()),
            ],
        )
    )
    np.testing.assert_allclose(response.probability, await client.infer(dense, rows), rtol=0, atol=1e-7)


async def test_a_feature_named_nowhere_is_missing_in_every_row(client, toy):
    response = await client.tablefold.Predict(pb.PredictRequest(model="toy", candidates=[ids("user", 1, 2)]))
    rows = np.array([[1, MISSING, MISSING, MISSING], [2, MISSING, MISSING, MISSING]])
    dense = np.full((2, 2), np.nan, dtype=np.float32)
    np.testing.assert_allclose(response.probability, toy.probability(dense, rows), atol=1e-6)


BAD = {
    "unknown feature": ([], [ids("usr", 1)], ["'usr'", "user"]),
    "a feature twice": ([ids("user", 1)], [ids("user", 1)], ["'user'", "twice"]),
    "no candidates": ([ids("user", 1)], [], ["no candidates"]),
    "no rows": ([], [ids("user")], ["no rows"]),
    "other lengths": ([], [ids("user", 1, 2), ids("item", 1)], ["'item'", "1 values", "2 rows"]),
    "slots": ([], [ids("tags", 1, 2, 3)], ["'tags'", "3 values"]),
    "slots in context": ([ids("tags", 1)], [ids("user", 1)], ["'tags'", "take 2"]),
    "no values": ([], [pb.Feature(name="user")], ["'user'", "no values"]),
    "numbers for an id": ([], [numbers("user", 1)], ["'user'", "ids or texts"]),
    "ids for a number": ([], [ids("age", 1)], ["'age'", "numbers"]),
    "unreadable text": ([], [texts("item", "xyz")], ["'item'", "hex32", "'xyz'"]),
    "number out of range": ([], [texts("user", str(1 << 63))], ["'user'", "64-bit"]),
    "infinite": ([numbers("age", np.inf)], [ids("user", 1)], ["row 0", "'age'", "inf"]),
}


@pytest.mark.parametrize(("context", "candidates", "words"), BAD.values(), ids=BAD)
async def test_bad_input_is_refused_naming_the_feature(client, toy, context, candidates, words):
    request = pb.PredictRequest(model="toy", context=context, candidates=candidates)
    status, text = await toy.status(client.tablefold.Predict(request))
    assert status == "INVALID_ARGUMENT"
    for word in words:
        assert word in text


async def test_an_unknown_model_or_version_is_not_found(client, toy):
    row = [ids("user", 1)]
    assert (await toy.status(client.tablefold.Predict(pb.PredictRequest(model="x", candidates=row))))[
        0
    ] == "NOT_FOUND"
    request = pb.PredictRequest(model="toy", version=9, candidates=row)
    assert (await toy.status(client.tablefold.Predict(request)))[0] == "NOT_FOUND"
    assert (await toy.status(client.tablefold.GetModel(pb.GetModelRequest(model="x"))))[0] == "NOT_FOUND"


async def test_get_model_gives_the_manifest_as_it_was_written(client, toy, repository):
    response = await client.tablefold.GetModel(pb.GetModelRequest(model="toy"))
    assert response.manifest_json == (repository / "toy" / "1" / "manifest.json").read_text()
    assert Manifest.model_validate_json(response.manifest_json).feature_schema == toy.schema


async def test_values_encoded_for_other_features_are_refused(client, toy):
    digest = (await client.tablefold.GetModel(pb.GetModelRequest(model="toy"))).inputs_digest
    assert digest == toy.schema.inputs_digest
    for rows in (1, 20_000):  # a small message, and one that is not parsed whole
        request = pb.PredictRequest(model="toy", candidates=[ids("user", *range(rows))], inputs_digest=digest)
        assert len((await client.tablefold.Predict(request)).probability) == rows
        request.inputs_digest = "0" * 16
        status, text = await toy.status(client.tablefold.Predict(request))
        assert (status, "encoded for other features than version 1" in text) == ("INVALID_ARGUMENT", True)


def required(schema):
    """The same features, none of them optional but `price`."""
    dense = [feature.model_copy(update={"optional": feature.name == "price"}) for feature in schema.dense]
    categorical = [feature.model_copy(update={"optional": False}) for feature in schema.categorical]
    return schema.model_copy(update={"dense": tuple(dense), "categorical": tuple(categorical)})


def whole_request() -> pb.PredictRequest:
    request = pb.PredictRequest(model="toy")
    request.context.add(name="user").ids.values.append(7)
    request.candidates.add(name="age").numbers.values.extend([1, 2])
    request.candidates.add(name="item").texts.values.extend(["a", "b"])
    request.candidates.add(name="tags").texts.values.extend(["x", "", "y", "z"])
    return request


async def test_a_feature_may_be_left_out_only_where_the_schema_calls_it_optional(tmp_path, toy):
    toy.write(tmp_path, schema=required(toy.schema))
    async with toy.here(tmp_path) as client:
        assert len((await client.tablefold.Predict(whole_request())).probability) == 2
        for absent in ("user", "age", "item", "tags"):
            request = whole_request()
            for sent in (request.context, request.candidates):
                kept = [feature for feature in sent if feature.name != absent]
                del sent[:]
                sent.extend(kept)
            status, text = await toy.status(client.tablefold.Predict(request))
            assert status == "INVALID_ARGUMENT"
            assert f"leaves out {absent!r}" in text
            assert "optional = true" in text


async def test_bundles_from_before_features_were_optional_serve_requests_that_leave_some_out(tmp_path, toy):
    folder = toy.write(tmp_path, schema=required(toy.schema))
    manifest = json.loads((folder / MANIFEST).read_text())
    for feature in (*manifest["feature_schema"]["dense"], *manifest["feature_schema"]["categorical"]):
        del feature["optional"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    request = pb.PredictRequest(model="toy")
    request.candidates.add(name="user").ids.values.extend([7, 8])
    async with toy.here(tmp_path) as client:
        assert len((await client.tablefold.Predict(request)).probability) == 2


async def test_a_wrong_number_of_values_says_how_many_slots_there_are_and_what_fills_them(client, toy):
    request = whole_request()
    del request.candidates[-1].texts.values[3:]
    status, text = await toy.status(client.tablefold.Predict(request))
    assert status == "INVALID_ARGUMENT"
    assert "'tags' has 3 values; it has 2 slots a row, so 2 rows take 4" in text
    assert "-9223372036854775808 or an empty text" in text
