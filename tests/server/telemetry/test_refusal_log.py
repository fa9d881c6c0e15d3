"""Calls that got an error are a line of JSON each, without anything that a client sent."""

import json
import logging

import numpy as np

from tablefold.protos import tablefold_pb2 as pb
from tablefold.server.telemetry.refusal_log import LINES_A_SECOND, RefusalLog, log
from tests.server.wire.test_security import TOKEN, token_file

__all__ = ["token_file"]

SECRET = "0badcafe"
"""A value, a feature, a model and a token that no line may repeat."""


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


async def test_refused_calls_are_lines_of_json_without_values_names_or_tokens(repository, toy, token_file):
    good = (("authorization", f"Bearer {TOKEN}"),)
    wrong = (("authorization", f"Bearer {SECRET}"),)
    async with toy.there(repository, f"--token-file={token_file}", "--max-queue-rows=100") as client:
        dense, ids = toy.rows(3)
        dense[1, 0] = np.inf
        secret = pb.Feature(name=SECRET, texts=pb.Texts(values=[SECRET]))
        odd = pb.PredictRequest(model="toy", candidates=[secret])
        for call in (
            client.infer(*toy.rows(1), metadata=wrong),
            client.infer(dense, ids, metadata=good),
            client.oip.ModelInfer(toy.request(*toy.rows(1), model_name=SECRET, id=SECRET), metadata=good),
            client.tablefold.Predict(odd, metadata=good),
            client.infer(*toy.rows(200), metadata=good),
            client.channel.unary_unary(f"/a.b/{SECRET}")(b"", metadata=good),
        ):
            assert (await toy.status(call))[0] != "OK"
        assert len(await client.infer(*toy.rows(2), metadata=good)) == 2
        client.server.terminate()
        _, text = await client.server.end()
    lines = lines_of(text)
    assert sorted(line["reason"] for line in lines) == [
        "invalid", "invalid", "not_found", "not_offered", "queue_full", "unauthenticated",
    ]  # fmt: skip
    assert {line["method"].rpartition("/")[2] for line in lines} == {"ModelInfer", "Predict", "unknown"}
    [refused] = [line for line in lines if line["reason"] == "queue_full"]
    assert (refused["model"], refused["version"], refused["rows"]) == ("toy", 1, 200)
    assert refused["time"].endswith("Z")
    assert SECRET not in text
    assert TOKEN not in text


def test_a_flood_of_refusals_is_ten_lines_a_second_and_a_number(caplog):
    now = [5.0]
    refusals = RefusalLog(lambda: now[0])
    with caplog.at_level(logging.INFO, log.name):
        for _ in range(1000):
            refusals.add(reason="queue_full")
        assert len(caplog.messages) == LINES_A_SECOND
        now[0] = 6.0
        refusals.add(reason="queue_full")
        refusals.add(reason="queue_full")
    assert json.loads(caplog.messages[-2])["left_out"] == 1000 - LINES_A_SECOND
    assert "left_out" not in json.loads(caplog.messages[-1])
