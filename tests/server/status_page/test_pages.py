"""The status page as the HTTP port serves it."""

import asyncio
import json
import shutil
import threading
import urllib.request

import pytest

from tablefold.server.status_page.overview import Overview, OverviewReader
from tablefold.server.status_page.pages import status_pages


async def get(url: str) -> tuple[str, str]:
    """The body and its policy."""

    def fetch() -> tuple[str, str]:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.read().decode(), response.headers.get("Content-Security-Policy", "")

    return await asyncio.to_thread(fetch)


@pytest.mark.parametrize("path", ["/", "/status.css", "/status.js", "/status.json"])
async def test_every_file_forbids_scripts_of_others(client, path):
    text, policy = await get(client.http + path)
    assert text
    assert "default-src 'none'; script-src 'self'" in policy


async def test_the_page_asks_nobody_else(client):
    for path in ("/", "/status.css", "/status.js"):
        text, _ = await get(client.http + path)
        assert "//" not in text.replace("// ", "").replace("http://www.w3.org/2000/svg", "")


async def test_the_overview_has_every_version_its_labels_and_why_others_are_refused(
    repository, toy, tmp_path
):
    repository = shutil.copytree(repository, tmp_path / "models")
    (repository / "toy" / "serving.toml").write_text('versions = "all"\n[labels]\nstable = 1\n')
    (repository / "toy" / "7").mkdir()
    (repository / "broken <b>").mkdir()
    (repository / "broken <b>" / "1").mkdir()
    async with toy.here(repository) as client:
        seen = Overview.model_validate_json((await get(client.http + "/status.json"))[0])
        versions = {(one.model, one.version): one for one in seen.versions}
        served, refused = versions["toy", "1"], versions["toy", "7"]
        assert served.state == "READY"
        assert served.labels == ["stable"]
        assert served.default
        assert served.footprint is not None
        assert served.footprint.parts.total > 0
        assert refused.state == "UNAVAILABLE"
        assert refused.reason
        assert not refused.default
        assert ("broken <b>", "1") in versions
        assert seen.hidden == 0
        assert seen.device == "cpu"
        assert seen.front.startswith(("grpcio", "native"))


async def test_several_workers_have_one_page(repository, toy):
    async with toy.there(repository, "--workers", "2") as client:
        seen = json.loads((await get(client.http + "/status.json"))[0])
        assert [one["model"] for one in seen["versions"]] == ["toy"]
        assert "<title>Tablefold</title>" in (await get(client.http + "/"))[0]
        assert "tablefold_inflight_max_bytes" in (await get(client.http + "/metrics"))[0]


async def test_a_busy_event_loop_shows_the_last_overview(monkeypatch):
    overview = Overview(
        tablefold="1", device="cpu", front="grpcio", started=0.0, max_queue_rows=1, versions=[], hidden=0
    )
    reader = OverviewReader(lambda: overview)
    first = await asyncio.to_thread(reader.json)
    assert Overview.model_validate_json(first) == overview
    monkeypatch.setattr("tablefold.server.status_page.overview.ANSWER_SECONDS", 0.05)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(reader.json()))
    thread.start()
    thread.join()  # holds the event loop up
    assert found == [first]


async def test_an_overview_that_cannot_be_read_is_no_page_of_nothing():
    answer = status_pages(lambda: b"")["/status.json"]()
    assert answer.status.startswith("503")
