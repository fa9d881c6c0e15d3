"""Alert rules and dashboard: what they ask for exists, and every alert fires in a staged failure."""

import asyncio
import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.server.telemetry.test_metrics import DESCRIBED

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES, DASHBOARD = DEPLOY / "prometheus/alerts.yml", DEPLOY / "grafana/tablefold.json"
ALERTS = re.findall(r"alert: (\w+)", RULES.read_text())
INFER = "/inference.GRPCInferenceService/ModelInfer"

STAGED = {
    "TablefoldDown": {'up{job="tablefold"}': "1x20 0x80"},
    "TablefoldNotReady": {"tablefold_ready": "1x20 0x80"},
    "TablefoldEngineFails": {'tablefold_refusals_total{reason="internal"}': "0x20 0+2x80"},
    "TablefoldWorkersEnd": {"tablefold_workers_ended_total": "0x20 1x80"},
    "TablefoldRefusesLoad": {
        'tablefold_refusals_total{reason="queue_full"}': "0x20 0+3x80",
        'tablefold_calls_total{status="OK"}': "0+100x100",
    },
    "TablefoldSlow": {
        f'tablefold_call_seconds_bucket{{method="{INFER}",le="0.1"}}': "0+100x20 2000+50x80",
        f'tablefold_call_seconds_bucket{{method="{INFER}",le="0.25"}}': "0+100x100",
        f'tablefold_call_seconds_bucket{{method="{INFER}",le="+Inf"}}': "0+100x100",
    },
    "TablefoldBytesInFlight": {
        "tablefold_inflight_bytes": "70x20 90x80",
        "tablefold_inflight_max_bytes": "100x100",
    },
    "TablefoldMemoryNearLimit": {
        "tablefold_process_proportional_bytes": "80x20 95x80",
        "tablefold_memory_limit_bytes": "100x100",
    },
    "TablefoldGpuMemoryNearLimit": {
        "tablefold_process_gpu_bytes": "80x20 95x80",
        "tablefold_gpu_memory_limit_bytes": "100x100",
        "tablefold_gpu_free_bytes": "100x100",
        "tablefold_gpu_total_bytes": "200x100",
    },
    "TablefoldVersionRefused": {'tablefold_versions{state="UNAVAILABLE"}': "0x20 1x80"},
    "TablefoldDrift": {'tablefold_drift_psi{of="unknown_ids",feature="C1"}': "0.01x20 0.08x100"},
    "TablefoldTokensRefused": {'tablefold_refusals_total{reason="unauthenticated"}': "0x20 0+60x80"},
}  # fmt: skip
"""For each alert the series of a failure, a value every 15 s: well for 5 minutes, then not."""


def metrics_of(text: str) -> set[str]:
    """The metrics that queries read, as the page of metrics calls them."""
    names = set(re.findall(r"\b(?:tablefold|nv_inference)_\w+", text))
    return {re.sub(r"_(bucket|sum|count)$", "", name) if name not in DESCRIBED else name for name in names}


@pytest.mark.parametrize("file", [RULES, DASHBOARD], ids=lambda file: file.name)
def test_every_metric_of_a_query_exists(file):
    """The page of metrics is held to a real server elsewhere."""
    asked = metrics_of(file.read_text())
    assert len(asked) > 8
    assert asked <= set(DESCRIBED)


def test_prometheus_accepts_the_rules(prometheus):
    subprocess.run([prometheus / "promtool", "check", "rules", RULES], check=True, capture_output=True)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_silent_while_all_is_well_and_fires_in_its_failure(prometheus, tmp_path, alert):
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    staged = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": name, "values": values} for name, values in STAGED[alert].items()
                ],
                "promql_expr_test": [
                    {"expr": firing, "eval_time": time, "exp_samples": [{"labels": "{}", "value": value}]}
                    for time, value in (("5m", 0), ("22m", 1))
                ],
            }
        ],
    }
    (tmp_path / "test.json").write_text(json.dumps(staged))
    subprocess.run([prometheus / "promtool", "test", "rules", tmp_path / "test.json"], check=True)


@asynccontextmanager
async def scraping(
    folder: Path, prometheus: Path, target: str
) -> AsyncIterator[Callable[[], Awaitable[set[str]]]]:
    """A real Prometheus that looks every second; gives what asks it for the alerts that fire."""
    (folder / "alerts.yml").write_text(re.sub(r"for: \d+m", "for: 2s", RULES.read_text()))
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "alerts.yml")],
        "scrape_configs": [{"job_name": "tablefold", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.json").write_text(json.dumps(configuration))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = await asyncio.create_subprocess_exec(
        prometheus / "prometheus",
        f"--config.file={folder / 'prometheus.json'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )

    def alerts() -> set[str]:
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://{address}/api/v1/alerts", timeout=10) as answer,
        ):
            found = json.load(answer)["data"]["alerts"]
            return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}
        return set()

    try:
        yield lambda: asyncio.to_thread(alerts)
    finally:
        process.terminate()
        await process.wait()


async def test_a_real_prometheus_tells_of_a_real_server_in_trouble(prometheus, toy, tmp_path):
    """Slow, refusing, failing, attacked, with a broken version; then gone."""
    repository, token = tmp_path / "models", tmp_path / "token"
    toy.write(repository)
    (repository / "toy" / "2").mkdir()
    token.write_text("s3cret")
    good = (("authorization", "Bearer s3cret"),)

    class Engine:
        def run(self, dense, ids):
            time.sleep(0.3)
            if len(ids) == 13:
                raise RuntimeError
            return toy.probability(dense, ids)

    async with AsyncExitStack() as stack, AsyncExitStack() as serving:
        client = await serving.enter_async_context(
            toy.here(repository, Engine(), token_file=token, max_queue_rows=50)
        )
        target = client.http.removeprefix("http://")
        firing = await stack.enter_async_context(scraping(tmp_path, prometheus, target))
        expected = {
            "TablefoldSlow",
            "TablefoldRefusesLoad",
            "TablefoldEngineFails",
            "TablefoldTokensRefused",
            "TablefoldVersionRefused",
        }
        async with asyncio.timeout(60):
            while await firing() != expected:
                calls = [client.infer(*toy.rows(rows), metadata=good) for rows in (1, 13, 60, 60, 60)]
                await asyncio.gather(
                    *(toy.status(call) for call in calls),
                    *(toy.status(client.infer(*toy.rows(1))) for _ in range(60)),
                )
        await serving.aclose()
        async with asyncio.timeout(60):
            while "TablefoldDown" not in await firing():  # noqa: ASYNC110 (Prometheus sets no event)
                await asyncio.sleep(0.2)
