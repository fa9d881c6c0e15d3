"""The public client against real servers: raw values in, probabilities out, a class for each refusal."""

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import polars as pl
import pytest

from tablefold.client import AsyncClient, Client, EncodedIds
from tablefold.client.protocols import PROTOCOLS
from tablefold.client.scoring.served_model import open_model
from tablefold.client.transport.address import Address
from tablefold.client.transport.connection import connect
from tablefold.encoding import encode
from tablefold.errors import (
    BadReply,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    UsageError,
)
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import MISSING, Encoding, FeatureSchema
from tests.client.conftest import TLS, Server
from tests.server.conftest import SCHEMA, draw_rows, probability_of, write_bundle

FEATURES = {
    "age": [31, None, 7.5],
    "price": np.array([1.0, np.nan, -2.0]),
    "user": [5, "6", None],
    "item": ["0a", b"ffffffff", ""],
    "tags": [["red", "blue"], ["red"], None],
}


def expected(version: int = 1) -> np.ndarray:
    dense = np.array([[31, 1], [np.nan, np.nan], [7.5, -2]], np.float32)
    red, blue = encode(["red", "blue"], Encoding.STRING)
    ids = np.array([[5, 10, red, blue], [6, 0xFFFFFFFF, red, MISSING], [MISSING, MISSING, MISSING, MISSING]])
    return probability_of(dense, ids, version)


def test_raw_values_are_scored_as_the_schema_has_them(toy: Server) -> None:
    with Client(toy.address) as client:
        probability = client.predict("toy", FEATURES)
        assert probability.dtype == np.float32
        np.testing.assert_allclose(probability, expected(), rtol=1e-5)
        once = {name: iter(values) for name, values in FEATURES.items()}
        np.testing.assert_array_equal(client.predict("toy", once), probability)
        frame = pl.DataFrame({"age": [31, None], "price": [1, None], "user": [5, 6]}).with_columns(
            item=pl.Series(["0a", "ffffffff"]), tags=pl.Series([["red", "blue"], ["red"]])
        )
        np.testing.assert_allclose(client.predict("toy", frame), expected()[:2], rtol=1e-5)
        details = client.predict_details("toy", FEATURES)
        np.testing.assert_array_equal(details.probability, probability)
        assert details.version == "1"
        assert details.queue_seconds is not None
        assert details.queue_seconds >= 0
        assert details.compute_seconds is not None
        assert details.compute_seconds > 0


async def test_asyncio_asks_the_same(toy: Server) -> None:
    async with AsyncClient(toy.address) as client:
        replies = await asyncio.gather(*(client.predict("toy", FEATURES) for _ in range(20)))
        for probability in replies:
            np.testing.assert_allclose(probability, expected(), rtol=1e-5)
        assert (await client.predict_details("toy", FEATURES)).version == "1"
        assert (await client.model_info("toy")).schema == SCHEMA
        assert {model.name for model in await client.models()} == {"toy", "strict"}
        assert (await client.footprint()).total > 10e6
        assert await client.ready()
        assert not await client.ready("other")
    with pytest.raises(UsageError, match="closed"):
        await client.predict("toy", FEATURES)


def test_the_context_is_the_same_for_all_rows(toy: Server) -> None:
    with Client(toy.address) as client:
        candidates = {"item": ["1", "2", "3"], "age": [1, 2, 3]}
        spread = client.predict(
            "toy", candidates | {"user": [7] * 3, "tags": [["a", "b"]] * 3, "price": [2.0] * 3}
        )
        for user, tags, price in [
            (7, ["a", "b"], 2.0),
            ([7], [["a", "b"]], [2.0]),
            (np.int8(7), ("a", "b"), np.array([2.0])),
        ]:
            context = {"user": user, "tags": tags, "price": price}
            np.testing.assert_array_equal(client.predict("toy", candidates, context=context), spread)


def test_arrays_and_encoded_ids_are_scored_as_they_are(toy: Server) -> None:
    dense, ids = draw_rows(500, SCHEMA, seed=3)
    features = {
        "age": dense[:, 0], "price": dense[:, 1:], "user": EncodedIds(ids[:, 0]),
        "item": EncodedIds(ids[:, 1:2]), "tags": EncodedIds(ids[:, 2:]),
    }  # fmt: skip
    with Client(toy.address) as client:
        np.testing.assert_allclose(client.predict("toy", features), probability_of(dense, ids), rtol=1e-4)


def test_no_rows_have_no_probabilities(toy: Server) -> None:
    with Client(toy.address) as client:
        none: dict[str, list[object]] = {name: [] for name in FEATURES}
        assert client.predict("toy", none).shape == (0,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"usr": [1, 2, 3], "user": None}, "no feature 'usr'; did you mean 'user'"),
        ({"user": None, "tags": None}, "'strict' also reads 'user', 'tags': give every feature"),
        ({"user": [1, 2]}, "'user' has 2 rows and 'age' has 3"),
        ({"user": [1, 2.5, 3]}, r"'user' \(int\), row 1: 2.5 is a float"),
        ({"item": ["1", "xyz", "3"]}, r"'item' \(hex32\), row 1: 'xyz' is not 1 to 8 hex"),
        ({"tags": [["a"], ["b", "\ud800"], []]}, r"'tags' \(string\), row 1, value 1: .* UTF-8"),
        ({"age": [1, 2, float("inf")]}, "'age', row 2: inf is no finite number"),
        ({"age": ["1", 2, 3]}, "'age', row 0: '1' is str, not a number"),
        ({"user": "abc"}, "'user' is str: give a list or array"),
    ],
)
def test_what_cannot_be_encoded_is_refused_before_it_is_sent(
    toy: Server, change: dict[str, object], says: str
) -> None:
    features = {name: values for name, values in (FEATURES | change).items() if values is not None}
    with Client(toy.address) as client, pytest.raises(InvalidRequest, match=says):
        client.predict("strict", features)


def test_a_context_is_one_row(toy: Server) -> None:
    rest = {name: values for name, values in FEATURES.items() if name != "user"}
    with Client(toy.address) as client:
        with pytest.raises(InvalidRequest, match="'user' has 2 rows: the context is the same"):
            client.predict("toy", rest, context={"user": [1, 2]})
        with pytest.raises(InvalidRequest, match="in `features` and in `context`"):
            client.predict("toy", FEATURES, context={"user": 1})
        with pytest.raises(InvalidRequest, match="at least one of their own"):
            client.predict("toy", {}, context={"age": 1, "price": 2, "user": 3, "item": "4", "tags": "5"})


def test_what_a_server_tells_of_its_models(toy: Server) -> None:
    with Client(toy.address) as client:
        info = client.model_info("toy")
        assert (info.name, info.version, info.schema) == ("toy", 1, SCHEMA)
        [status] = [model for model in client.models() if model.name == "toy"]
        assert (status.name, status.version, status.state) == ("toy", "1", "READY")
        footprint = client.footprint()
        assert (
            next(m for m in footprint.models if m.name == "toy").parts.total
            == info.manifest.footprint.parts.total
        )
        assert client.ready()
        assert client.ready("toy")
        assert not client.ready("other")


def test_each_refusal_has_its_class(toy: Server, nobody: str, start_fake: Callable[..., Server]) -> None:
    with Client(toy.address) as client:
        with pytest.raises(ModelNotFound, match="nope"):
            client.predict("nope", {"a": [1]})
        with pytest.raises(ModelNotFound):
            client.predict("toy", FEATURES, version=9)
        with pytest.raises(ModelNotFound, match="canary"):
            client.predict("toy", FEATURES, label="canary")
        with pytest.raises(InvalidRequest, match="give one"):
            client.predict("toy", FEATURES, label="canary", version=1)
        with pytest.raises(UsageError, match="timeout"):
            client.predict("toy", FEATURES, timeout=-1)
    with Client(nobody, timeout=2) as client:
        with pytest.raises(Unavailable, match="no server answers at 127"):
            client.predict("toy", FEATURES)
        assert not client.ready()
    slow = start_fake(delay=[1.0, 1.0])
    row = {f"I{i}": [0.5] for i in range(1, 14)} | {f"C{i}": ["1"] for i in range(1, 27)}
    with Client(slow.address) as client:
        client.model_info("ctr")
        with pytest.raises(DeadlineExceeded, match="time"):
            client.predict("ctr", row, timeout=0.5)
    for habits, error in [
        ({"shed_every": 1}, Overloaded),
        ({"spoil": "nan"}, BadReply),
        ({"spoil": "short"}, BadReply),
        ({"speaks": ["oip"]}, Unimplemented),
    ]:
        with Client(start_fake(**habits).address) as client, pytest.raises(error):
            client.predict("ctr", row)


def test_a_server_that_goes_away_and_comes_back_is_found_again(
    tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    write_bundle(tmp_path)
    server = start_server(tmp_path)
    with Client(server.address) as client:
        client.predict("toy", FEATURES)
        server.kill()
        with pytest.raises(Unavailable):
            client.predict("toy", FEATURES)
        start_server(tmp_path, port=server.port)
        for attempt in range(50):
            try:
                probability = client.predict("toy", FEATURES)
                break
            except Unavailable:
                assert attempt < 49
                threading.Event().wait(0.2)
        np.testing.assert_allclose(probability, expected(), rtol=1e-5)


def test_tls_a_client_certificate_and_a_token(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    write_bundle(tmp_path / "models")
    (tmp_path / "token").write_text("sesame\n")
    server = start_server(
        tmp_path / "models", "--tls-cert", f"{TLS}/server.pem", "--tls-key", f"{TLS}/server.key",
        "--tls-client-ca", f"{TLS}/ca.pem", "--token-file", f"{tmp_path}/token",
    )  # fmt: skip
    address = f"localhost:{server.port}"
    files = {"ca": TLS / "ca.pem", "cert": str(TLS / "client.pem"), "key": (TLS / "client.key").read_bytes()}
    with Client(address, **files, token="sesame") as client:
        np.testing.assert_allclose(client.predict("toy", FEATURES), expected(), rtol=1e-5)
    options = ("--tls-ca", files["ca"], "--tls-cert", files["cert"], "--tls-key", TLS / "client.key")
    command = [sys.executable, "-m", "tablefold", "footprint", "--server", address, "--json", *options]
    done = subprocess.run(
        [*map(str, command), "--token-file", f"{tmp_path}/token"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["models"][0]["name"] == "toy"
    with Client(address, **files, token="open") as client, pytest.raises(Unauthenticated, match="token"):
        client.predict("toy", FEATURES)
    for refused in ({"ca": TLS / "ca.pem"}, {}):
        with Client(address, **refused, token="sesame", timeout=5) as client, pytest.raises(Unavailable):
            client.predict("toy", FEATURES)
    with pytest.raises(UsageError, match="holds no certificates"):
        Client(address, ca=b"nonsense")
    with pytest.raises(UsageError, match="belong together"):
        Client(address, cert=TLS / "client.pem")
    with pytest.raises(UsageError, match="printable ASCII"):
        Client(address, token="open\nsesame")


def test_threads_share_a_client(toy: Server) -> None:
    dense, ids = draw_rows(64, SCHEMA, seed=5)
    truth = probability_of(dense, ids)

    def ask(row: int) -> float:
        features = {
            "age": dense[row : row + 1, 0], "price": dense[row : row + 1, 1],
            "user": EncodedIds(ids[row : row + 1, 0]), "item": EncodedIds(ids[row : row + 1, 1]),
            "tags": EncodedIds(ids[row : row + 1, 2:]),
        }  # fmt: skip
        return float(client.predict("toy", features)[0])

    with Client(toy.address) as client, ThreadPoolExecutor(8) as pool:
        np.testing.assert_allclose(list(pool.map(ask, range(64))), truth, rtol=1e-4)
    with pytest.raises(UsageError, match="closed"):
        client.predict("toy", FEATURES)


def test_a_version_with_other_encodings_never_gets_ids_of_the_old_one(
    tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    write_bundle(tmp_path)
    server = start_server(tmp_path, "--poll-seconds", "0.2")
    old = {"age": [1], "price": [2], "user": [5], "item": ["6"], "tags": [["a"]]}
    with Client(server.address) as client:
        assert client.predict_details("toy", old).version == "1"
        write_bundle(tmp_path, version=2, schema=with_texts_for_users())
        for _ in range(200):
            details = client.predict_details("toy", old)
            if details.version == "2":
                break
            threading.Event().wait(0.1)
        np.testing.assert_allclose(details.probability, of_texts(version=2), rtol=1e-5)


def test_files_replaced_under_their_number_while_the_server_was_away_are_read_by_their_own_schema(
    tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    """A running server refuses such files; one that starts with them cannot know what clients know."""
    folder = write_bundle(tmp_path)
    server = start_server(tmp_path)
    old = {"age": [1], "price": [2], "user": [5], "item": ["6"], "tags": [["a"]]}
    with Client(server.address) as client:
        client.predict("toy", old)
        server.kill()
        with pytest.raises(Unavailable):
            client.predict("toy", old)
        shutil.rmtree(folder)
        write_bundle(tmp_path, schema=with_texts_for_users())
        start_server(tmp_path, port=server.port)
        for attempt in range(50):
            try:
                probability = client.predict("toy", old)
                break
            except Unavailable:
                assert attempt < 49
                threading.Event().wait(0.2)
        np.testing.assert_allclose(probability, of_texts(version=1), rtol=1e-5)


async def test_a_server_started_again_with_other_features_scores_nothing_encoded_for_the_old_ones(
    tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    """No client sees it end or start: only the server can say that what they know is wrong."""
    folder = write_bundle(tmp_path)
    server = start_server(tmp_path)
    old = {"age": [1], "price": [2], "user": [5], "item": ["6"], "tags": [["a"]]}
    address = Address.parse(server.address)
    async with AsyncClient(server.address) as client, connect(address) as connection:
        await client.predict("toy", old)
        codecs = [(await open_model(connection, address, name, "toy")).codec for name in PROTOCOLS]
        server.kill()
        shutil.rmtree(folder)
        write_bundle(tmp_path, schema=with_texts_for_users())
        start_server(tmp_path, port=server.port)
        async with asyncio.timeout(30):
            while not await client.ready("toy"):  # noqa: ASYNC110 (another process sets no event)
                await asyncio.sleep(0.1)
        np.testing.assert_allclose(await client.predict("toy", old), of_texts(version=1), rtol=1e-5)
        for codec in codecs:
            with pytest.raises(grpc.aio.AioRpcError, match="encoded for other features than version 1"):
                await connection.call(codec.method)(codec.encode(*draw_rows(2)), 10.0)


def with_texts_for_users() -> FeatureSchema:
    """The schema with another encoding of users."""
    user, *others = SCHEMA.categorical
    return SCHEMA.model_copy(
        update={"categorical": (user.model_copy(update={"encoding": Encoding.STRING}), *others)}
    )


def of_texts(version: int) -> np.ndarray:
    """What a version of that schema gives for one row: age 1, price 2, user "5", item 6, tag "a"."""
    ids = np.array([[*encode(["5"], Encoding.STRING), 6, *encode(["a"], Encoding.STRING), MISSING]])
    return probability_of(np.array([[1, 2]], np.float32), ids, version, with_texts_for_users())


def test_a_value_of_megabytes_is_refused_with_a_part_of_it(toy: Server) -> None:
    """A status travels in a header, which gRPC bounds."""
    long = "x" * 2_000_000
    with Client(toy.address) as client:
        with pytest.raises(InvalidRequest, match=r"'x{49} \.\.\. x{49}' is not a whole number") as error:
            client.predict("toy", FEATURES | {"user": [5, long, None]})
        assert len(str(error.value)) < 300
        channel = grpc.insecure_channel(toy.address)
        predict = channel.unary_unary("/tablefold.v1.Tablefold/Predict")
        request = pb.PredictRequest(model="toy")
        request.candidates.add(name="user").texts.values.append(long)
        for text in (request.SerializeToString(), pb.PredictRequest(model=long).SerializeToString()):
            with pytest.raises(grpc.RpcError) as refused:
                predict(text, timeout=10)
            assert refused.value.code().name in ("INVALID_ARGUMENT", "NOT_FOUND")
            assert len(refused.value.details()) < 2100
        channel.close()
