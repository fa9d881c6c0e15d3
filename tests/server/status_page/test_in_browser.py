"""The status page in a real headless browser, under load: quiet, right, and no wider than a phone."""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.server.status_page.webdriver import DRIVER, browse

PICTURES = os.environ.get("TABLEFOLD_PICTURES")
"""A folder for pictures of the page."""

pytestmark = pytest.mark.skipif(shutil.which(DRIVER) is None, reason=f"{DRIVER} is not installed")

LOOK = """
const text = (selector) => [...document.querySelectorAll(selector)].map((node) => node.textContent);
return {
  state: text("#state")[0],
  tiles: Object.fromEntries([...document.querySelectorAll("#tiles > div")].map(
    (tile) => [tile.querySelector("dt").textContent, tile.querySelector("dd").textContent])),
  models: text(".model h3"),
  reasons: text(".model > p"),
  refusals: text("#refusals td"),
  points: document.querySelector("#calls-chart polyline")?.getAttribute("points") || "",
  wide: [...document.querySelectorAll("body *")].filter(
    (node) => !node.closest("svg") && node.getBoundingClientRect().right > innerWidth + 1
  ).map((node) => node.outerHTML),
  scroll: document.documentElement.scrollWidth,
  width: innerWidth,
  paper: getComputedStyle(document.body).backgroundColor,
};
"""


@pytest.mark.parametrize(
    ("width", "dark", "phone"), [(1200, False, False), (1200, True, False), (390, False, True)]
)
async def test_the_page_under_load(repository, toy, tmp_path, width, dark, phone):
    repository = shutil.copytree(repository, tmp_path / "models")
    broken = repository / "shop" / "3"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("<script>document.title = 'taken'</script>")

    async with toy.here(repository, poll_seconds=0.2) as client:
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                await client.infer(*toy.rows(20))
                await toy.status(client.infer(*toy.rows(0)))
                await asyncio.sleep(0.01)

        loading = asyncio.create_task(load())

        def visit() -> tuple[dict, list[str], str]:
            with browse(width, dark=dark, phone=phone) as browser:
                browser.open(client.http + "/")
                for _ in range(100):
                    found = browser.run(
                        f"return new Promise((done) => setTimeout(() => done((() => {{ {LOOK} }})()), 300))"
                    )
                    if found["points"].count(",") >= 2:
                        break
                if PICTURES:
                    name = f"status-{width}-{'dark' if dark else 'light'}.png"
                    browser.picture(Path(PICTURES) / name)
                return found, browser.console(), browser.run("return document.title")

        found, console, title = await asyncio.to_thread(visit)
        done.set()
        await loading
    assert console == []
    assert title == "Tablefold"
    assert found["state"] == "ready"
    assert found["models"] == ["shop 3unavailable", "toy 1readydefault"]
    assert any("manifest.json" in reason for reason in found["reasons"])
    rows, calls = (float(found["tiles"][f"{what} a second"].replace(",", "")) for what in ("Rows", "Calls"))
    assert calls > 2
    assert rows == pytest.approx(10 * calls, rel=0.25)  # every second call has 20 rows
    assert re.fullmatch(r"[\d.]+ ms", found["tiles"]["Latency p99"])
    assert found["refusals"][0] == "invalid"
    assert found["wide"] == []
    assert found["scroll"] <= found["width"] == width
    light = int(re.search(r"\d+", found["paper"])[0]) > 128
    assert light is not dark
