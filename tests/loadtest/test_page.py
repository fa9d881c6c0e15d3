"""The pages in a real headless browser: whole, quiet, and no wider than a phone."""

import asyncio
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from tablefold.loadtest.compare import compare
from tablefold.loadtest.interrupt import Interrupt
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.report.page import page
from tablefold.loadtest.slo import LatencySlo
from tablefold.loadtest.sweep import sweep
from tablefold.loadtest.target import open_target
from tests.loadtest.simulated import Simulated

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE = 390
HEADINGS = {
    "run": [
        "What ran", "Latency", "Over time", "Where the server spent the time", "Errors",
        "Memory of the server", "AUC per byte", "This client", "How to repeat",
    ],
    "sweep": [
        "Rate against latency", "What ran", "Latency", "Over time", "Where the server spent the time",
        "Errors", "Memory of the server", "AUC per byte", "This client", "How to repeat",
    ],
    "comparison": [
        "Side by side", "Latency", "Errors", "AUC per byte", "What ran: oip", "What ran: tablefold",
        "How to repeat",
    ],
}  # fmt: skip
# Every <section> with its heading, whether it shows, and everything that sticks out of the page.
LOOK = """
<script>
addEventListener('load', () => {
  const wide = [...document.querySelectorAll('body *')].filter(
    node => !node.closest('.scroll, svg') && node.getBoundingClientRect().right > innerWidth + 1);
  const found = {
    width: innerWidth,
    scroll: document.documentElement.scrollWidth,
    wide: wide.map(node => node.outerHTML.slice(0, 80)),
    sections: [...document.querySelectorAll('section')].map(node => node.querySelector('h2').textContent),
    hidden: [...document.querySelectorAll('section')].filter(node => node.offsetHeight < 20).length,
    pictures: [...document.querySelectorAll('figure svg')].map(node => node.getBoundingClientRect().height),
    color: getComputedStyle(document.body).color,
    paper: getComputedStyle(document.body).backgroundColor,
  };
  document.body.innerHTML = '<pre id="found"></pre>';
  document.getElementById('found').textContent = JSON.stringify(found);
});
</script>
"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)})")
    return found


@pytest.fixture(scope="module")
def pages(start_fake):
    """One page of each kind, of real runs with errors and objectives."""
    fake = start_fake(delay=[0.001, 0.003], shed_every=20)
    plan = Plan(
        server=fake.address, model="ctr", rows="5", duration=0.5, warmup=0.1, timeout=2.0, processes=1,
        slo=(LatencySlo.parse("p90=1s"),), price_per_hour=3.0,
    )  # fmt: skip
    other = replace(plan, protocol="tablefold")

    async def measure():
        with Interrupt() as interrupt:
            async with (
                open_target(plan, interrupt, lambda _: None) as one,
                open_target(other, interrupt, lambda _: None) as two,
            ):
                result = await two.run(replace(other, rate=100.0, concurrency=None))
                yield "run", result
                yield "comparison", await compare([one, two], [plan, other], 2)
                yield "sweep", await sweep(Simulated(result, 500.0), plan)

    async def collect():
        return {kind: page(report).render() async for kind, report in measure()}

    return asyncio.run(collect())


@pytest.mark.parametrize("kind", HEADINGS)
@pytest.mark.parametrize(("width", "dark"), [(PHONE, False), (1200, True)])
def test_the_page_in_a_browser(browser, pages, tmp_path, kind, width, dark):
    # In a frame, for a window itself cannot be as narrow as a phone.
    (tmp_path / "page.html").write_text(pages[kind].replace("</body>", LOOK + "</body>"))
    (tmp_path / "frame.html").write_text(
        f'<body style="margin:0"><iframe src="page.html" style="border:0;width:{width}px;height:900px">'
        "</iframe>"
        "<script>addEventListener('load', () => setTimeout(() => { document.body.textContent = "
        "frames[0].document.getElementById('found').textContent }, 0))</script>"
    )
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
            "--log-level=0", "--allow-file-access-from-files", f"--user-data-dir={tmp_path}/profile",
            "--window-size=1300,1000", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--virtual-time-budget=5000",
            "--dump-dom", f"file://{tmp_path}/frame.html",
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(re.search(r"\{.*\}", done.stdout, flags=re.DOTALL)[0])
    assert found["sections"] == HEADINGS[kind]
    assert found["hidden"] == 0
    assert found["width"] == width
    assert found["scroll"] <= width, found["wide"]
    assert found["wide"] == []
    assert found["pictures"]
    assert min(found["pictures"]) > 50
    light = int(re.search(r"\d+", found["paper"])[0]) > 128
    assert light is not dark
