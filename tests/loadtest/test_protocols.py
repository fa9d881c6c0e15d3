"""The two protocols say the same to a server; any server of the open one can be spoken to."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tablefold.bundle import GoldenRows, Manifest, Method
from tablefold.client.protocols.oip import OipCodec
from tablefold.client.protocols.tablefold_v1 import TablefoldCodec
from tablefold.client.replies import ModelInfo
from tablefold.client.scoring.served_model import open_model
from tablefold.client.transport.address import Address
from tablefold.client.transport.connection import connect
from tablefold.errors import BadReply, UsageError
from tablefold.loadtest.generator.request_pool import build_request_pool, load_rows, random_rows
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.row_counts import RowCounts
from tablefold.loadtest.target import run
from tablefold.logs.formats.criteo import SCHEMA as CRITEO
from tablefold.model_size import Footprint, Parts
from tablefold.protos import inference_pb2 as oip
from tablefold.protos import tablefold_pb2 as own
from tablefold.schema import CategoricalFeature, DenseFeature, FeatureSchema


def manifest_of(schema, golden):
    return Manifest(
        name="ctr", version=1, feature_schema=schema, row_type="fp32", files={}, golden=golden,
        method=Method(name="full", dim=4, rows=1, distinct_ids=1, known_ids=1),
        footprint=Footprint(parts=Parts(), baseline_fp32=1),
    )  # fmt: skip


TENSOR = oip.ModelMetadataResponse.TensorMetadata
SCHEMA = FeatureSchema(
    name="shop",
    dense=(DenseFeature(name="price"), DenseFeature(name="age")),
    categorical=(
        CategoricalFeature(name="user", encoding="int"),
        CategoricalFeature(name="tags", encoding="string", slots=3),
    ),
)
INFO = ModelInfo(
    name="m", version=1, manifest=manifest_of(SCHEMA, GoldenRows(dense=[], ids=[], probability=[]))
)


def metadata(*inputs, outputs=(("probability", "FP32", [-1]),)):
    return oip.ModelMetadataResponse(
        inputs=[TENSOR(name=n, datatype=t, shape=s) for n, t, s in inputs],
        outputs=[TENSOR(name=n, datatype=t, shape=s) for n, t, s in outputs],
    )


TWO = metadata(("dense", "FP32", [-1, 2]), ("ids", "INT64", [-1, 4]))


@given(st.data(), st.integers(1, 7))
def test_both_protocols_carry_the_rows_unchanged(data, rows):
    ids = data.draw(arrays.arrays(np.int64, (rows, 4)))
    dense = data.draw(arrays.arrays(np.float32, (rows, 2), elements=st.floats(width=32)))
    two = oip.ModelInferRequest.FromString(OipCodec("m", TWO).encode(dense, ids))
    assert [list(tensor.shape) for tensor in two.inputs] == [[rows, 2], [rows, 4]]
    assert two.raw_input_contents[0] == dense.tobytes()
    assert two.raw_input_contents[1] == ids.tobytes()
    named = own.PredictRequest.FromString(TablefoldCodec(INFO).encode(dense, ids))
    price, age, user, tags = named.candidates
    assert [feature.name for feature in named.candidates] == ["price", "age", "user", "tags"]
    assert np.array_equal(price.numbers.values, dense[:, 0], equal_nan=True)
    assert np.array_equal(age.numbers.values, dense[:, 1], equal_nan=True)
    assert user.ids.values == ids[:, 0].tolist()
    assert tags.ids.values == ids[:, 1:].ravel().tolist()


def test_a_tensor_for_each_column_is_filled_in_the_models_order():
    columns = metadata(("b", "INT32", [-1]), ("x", "FP64", [-1, 1]), ("a", "INT64", [-1, 2]))
    codec = OipCodec("m", columns)
    assert (codec.dense_columns, codec.id_columns) == (1, 3)
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    request = oip.ModelInferRequest.FromString(codec.encode(np.array([[0.5], [1.5]], "f4"), ids))
    assert [list(tensor.shape) for tensor in request.inputs] == [[2], [2, 1], [2, 2]]
    assert np.frombuffer(request.raw_input_contents[0], "<i4").tolist() == [1, 4]
    assert np.frombuffer(request.raw_input_contents[1], "<f8").tolist() == [0.5, 1.5]
    assert np.frombuffer(request.raw_input_contents[2], "<i8").tolist() == [2, 3, 5, 6]


async def test_a_model_without_dense_features_has_an_empty_tensor_or_none():
    for inputs in ([("dense", "FP32", [-1, 0])], []):
        codec = OipCodec("m", metadata(*inputs, ("ids", "INT64", [-1, 4])))
        assert codec.dense_columns == 0
        assert codec.encode(np.empty((3, 0), "f4"), np.ones((3, 4), "i8"))


@pytest.mark.parametrize("raw", [True, False])
def test_a_reply_may_be_raw_or_not(raw):
    reply = oip.ModelInferResponse()
    output = reply.outputs.add(name="probability", datatype="FP32", shape=[2, 1])
    if raw:
        reply.raw_output_contents.append(np.array([0.25, 0.5], "<f4").tobytes())
    else:
        output.contents.fp32_contents.extend([0.25, 0.5])
    codec = OipCodec("m", TWO)
    assert codec.decode(reply.SerializeToString(), 2).probability.tolist() == [0.25, 0.5]
    with pytest.raises(BadReply, match="3 rows"):
        codec.decode(reply.SerializeToString(), 3)


async def test_a_server_with_many_tensors_answers(start_fake):
    many = start_fake(tensors="many")
    async with connect(Address.parse(many.address)) as connection:
        codec = (await open_model(connection, Address.parse(many.address), "oip", "ctr")).codec
        rng = np.random.default_rng(0)
        rows = random_rows(codec, rng)
        reply = await connection.call(codec.method)(codec.encode(rows.dense[:9], rows.ids[:9]), 10.0)
        expected = (rows.ids[:9, 0] % 1000 / 1000).astype("f4")
        assert np.array_equal(codec.decode(reply, 9).probability, expected)
        assert codec.version == "10"


def test_random_rows_have_a_power_law_and_requests_differ():
    codec = OipCodec("m", TWO)
    rows = random_rows(codec, np.random.default_rng(3))
    assert rows.ids.min() == 1
    assert rows.ids.max() > 500_000
    # P(id) ~ 1/id: as many ids below 1,000 as above.
    assert np.mean(rows.ids < 1000) == pytest.approx(0.5, abs=0.02)
    assert rows.dense.min() > 0
    counts = RowCounts.parse("20")
    pool = build_request_pool(codec, rows, counts, np.random.default_rng(4))
    assert len(set(pool)) == len(pool) == 1024
    assert pool == build_request_pool(codec, rows, counts, np.random.default_rng(4))


def test_what_is_given_once_stands_in_the_context_and_the_rest_with_the_candidates():
    codec = TablefoldCodec(INFO)
    codec.set_context(["user", "age"])
    ids, dense = np.arange(12).reshape(3, 4), np.arange(6, dtype="f4").reshape(3, 2)
    request = own.PredictRequest.FromString(codec.encode(dense, ids))
    age, user = request.context
    assert (age.name, list(age.numbers.values)) == ("age", [1.0])
    assert (user.name, list(user.ids.values)) == ("user", [0])
    assert [feature.name for feature in request.candidates] == ["price", "tags"]
    assert list(request.candidates[1].ids.values) == ids[:, 1:].ravel().tolist()
    with pytest.raises(UsageError, match="no such feature; it reads price, age, user, tags"):
        codec.set_context(["colour"])
    with pytest.raises(UsageError, match="leave at least one"):
        codec.set_context(["price", "age", "user", "tags"])


def test_mlperf_rows_are_100_to_700_with_mean_270():
    counts, rng = RowCounts.parse("mlperf"), np.random.default_rng(0)
    assert counts.mean == pytest.approx(270, abs=0.01)
    drawn = np.array([counts.draw(rng) for _ in range(4000)])
    assert 100 <= drawn.min() < 110
    assert 640 < drawn.max() <= 700
    assert drawn.mean() == pytest.approx(270, abs=8)
    assert str(counts) == "100 to 700 rows a call (mlperf, mean 270)"


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(0, 50))
def test_ranges_of_rows_are_drawn_evenly_within_their_bounds(low, more):
    counts, rng = RowCounts.parse(f"{low}-{low + more}"), np.random.default_rng(0)
    assert counts.mean == pytest.approx(low + more / 2)
    assert str(counts).startswith(f"{low} row" if more == 0 else f"{low} to {low + more} rows a call (mean ")
    assert all(low <= counts.draw(rng) <= low + more for _ in range(50))


async def test_golden_rows_are_checked_answer_by_answer(quick, tmp_path):
    rng = np.random.default_rng(1)
    dense, ids = rng.random((6, 13)).astype("f4"), rng.integers(0, 10**6, (6, 26))
    for name, probability in (("right", ids[:, 0] % 1000 / 1000), ("wrong", np.full(6, 0.5))):
        (tmp_path / name).mkdir()
        manifest = manifest_of(CRITEO, GoldenRows.of(dense, ids, probability.astype("f4")))
        (tmp_path / name / "manifest.json").write_text(manifest.model_dump_json())
    plan = Plan(
        server=quick.address, model="ctr", rows="1-9", concurrency=2, duration=0.3, warmup=0.0, processes=1
    )
    right = await run(replace(plan, data=f"golden:{tmp_path / 'right'}"))
    assert right.errors == {}
    assert right.checked
    with pytest.raises(UsageError, match="leave out one of the two"):
        await run(replace(plan, data=f"golden:{tmp_path / 'right'}", protocol="tablefold", context=["C1"]))
    assert "Every call was answered, and rightly." in right.verdict
    assert right.data == "golden rows of ctr, version 1 (6)"
    wrong = await run(replace(plan, data=f"golden:{tmp_path / 'wrong'}"))
    assert set(wrong.errors) == {"WRONG_ANSWER"}
    assert wrong.calls.ok == 0
    assert wrong.verdict.startswith(f"None of {wrong.calls.due:,} calls succeeded: WRONG_ANSWER")
    assert "not 0.500000" in wrong.problems["WRONG_ANSWER"]


SCHEMA_OF_LOG = """
name = "mine"
label = "click"
[files]
format = "csv"
path = "log.csv"
"""


def log_of(folder, names, encodings):
    """A log of 40 rows with these categorical features in this order, after all dense ones of the fake."""
    dense = [f"I{i}" for i in range(1, 14)]
    rows = [
        [str(row % 2), *("1.5" for _ in dense), *(f"{i}{row:06x}" for i, _ in enumerate(names))]
        for row in range(40)
    ]
    text = "\n".join(",".join(cells) for cells in [["click", *dense, *names], *rows])
    (folder / "log.csv").write_text(text + "\n")
    schema = SCHEMA_OF_LOG + "".join(f'[[dense]]\nname = "{name}"\n' for name in dense)
    for name, encoding in zip(names, encodings, strict=True):
        schema += f'[[categorical]]\nname = "{name}"\nencoding = "{encoding}"\n'
    (folder / "mine.toml").write_text(schema)
    return str(folder / "mine.toml")


async def test_a_log_is_compared_with_the_model_by_name_and_encoding(quick, tmp_path):
    names = [f"C{i}" for i in range(1, 27)]
    address = Address.parse(quick.address)
    swapped = log_of(tmp_path, names[::-1], ["hex32"] * 26)
    async with connect(address) as connection:
        served = await open_model(connection, address, "oip", "ctr")
    rows = load_rows(swapped, served, np.random.default_rng(0))
    # C1 is the model's first column and the log's last, whose ids begin with the digits 25.
    assert (rows.ids[:, 0] >> 24 == 0x25).all()
    assert (rows.ids[:, 25] >> 24 == 0).all()
    plan = Plan(
        server=quick.address, model="ctr", rows="3", concurrency=1, duration=0.2, warmup=0.0, processes=1,
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"no feature 'C99'.*also reads 'C1'"):
        await run(replace(plan, data=log_of(tmp_path, ["C99", *names[1:]], ["hex32"] * 26)))
    with pytest.raises(UsageError, match="'C1' is string in the log and hex32 in the model"):
        await run(replace(plan, data=log_of(tmp_path, names, ["string", *["hex32"] * 25])))
