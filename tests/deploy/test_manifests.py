"""What is under deploy/ fits the program and the schemas of those who read it."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml

from tablefold.cli import app
from tablefold.server.options import Options
from tests.client.test_examples import TOOLS, tool

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "container/Containerfile"
UNIT = DEPLOY / "systemd/tablefold.service"
MOST_EXPOSED = 20
"""Of systemd's 100, where 0 is none at all."""


def documents(file: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / file).read_text()))


DEPLOYMENT = documents("kubernetes/deployment.yaml")[0]
POD = DEPLOYMENT["spec"]["template"]["spec"]
RUNTIME = documents("kserve/servingruntime.yaml")[0]
ENTRYPOINT = yaml.safe_load(re.findall(r"^ENTRYPOINT (.*)$", CONTAINERFILE.read_text(), re.MULTILINE)[0])


def serve_options(words: list[str]) -> dict[str, Any]:
    """The options that the command line really understands from these words. Raises click's errors."""
    program, command, *arguments = words
    assert (Path(program).name, command) == ("tablefold", "serve")
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    serve = group.commands["serve"]  # type: ignore[attr-defined]
    return dict(serve.make_context("serve", list(arguments)).params)


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return dict(only)


COMMANDS = {
    "container": ENTRYPOINT,
    "kubernetes": [*ENTRYPOINT, *container(POD)["args"]],
    "kserve": [*container(RUNTIME["spec"])["command"], *container(RUNTIME["spec"])["args"]],
    "systemd": shlex.split(re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)[0]),
}


@pytest.mark.parametrize("where", COMMANDS)
def test_the_program_understands_every_flag(where: str) -> None:
    given = serve_options(COMMANDS[where])
    assert given["host"] == "0.0.0.0"
    assert given["port"] is given["http_port"] is None  # the ports are those that the program has by itself


def test_a_flag_that_is_none_is_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        serve_options([*ENTRYPOINT, "--drain-minutes=1"])


@pytest.mark.parametrize("pod", [POD, RUNTIME["spec"]], ids=["kubernetes", "kserve"])
def test_a_pod_has_no_privileges_and_reads_only(pod: dict[str, Any]) -> None:
    rights = container(pod)["securityContext"] | {
        name: value for name, value in pod.get("securityContext", {}).items() if name.startswith("runAs")
    }
    assert rights["runAsNonRoot"]
    assert rights["runAsUser"] == 65532
    assert rights["readOnlyRootFilesystem"]
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert re.search(r"^USER 65532:65532$", CONTAINERFILE.read_text(), re.MULTILINE)


def test_a_pod_has_time_to_drain() -> None:
    drain = serve_options(COMMANDS["kubernetes"])["drain_seconds"]
    sleep = container(POD)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep + drain < POD["terminationGracePeriodSeconds"]
    stop = int(re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)[0])
    assert serve_options(COMMANDS["systemd"])["drain_seconds"] < stop


def test_ports_and_names_fit_together() -> None:
    ports = Options.model_fields
    served = {"grpc": ports["port"].default, "http": ports["http_port"].default}
    assert {port["name"]: port["containerPort"] for port in container(POD)["ports"]} == served
    assert container(POD)["readinessProbe"]["grpc"]["port"] == served["grpc"]
    calls, status = documents("kubernetes/services.yaml")
    assert calls["spec"]["clusterIP"] == "None"
    for service in (calls, status):
        assert (
            service["spec"]["selector"].items()
            <= DEPLOYMENT["spec"]["template"]["metadata"]["labels"].items()
        )
        for port in service["spec"]["ports"]:
            assert served[port["targetPort"]] == port["port"]
    scaler, budget = documents("kubernetes/availability.yaml")
    assert scaler["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    assert budget["spec"]["selector"] == DEPLOYMENT["spec"]["selector"]


def test_the_memory_limit_leaves_room_in_the_container() -> None:
    limit = serve_options(COMMANDS["kubernetes"])["memory_limit"]
    mib = int(re.fullmatch(r"(\d+)MiB", str(limit))[1])  # type: ignore[index]
    assert container(POD)["resources"]["limits"]["memory"] == "1Gi"
    assert mib <= 0.75 * 1024


def test_the_autoscaler_reads_a_metric_that_exists() -> None:
    (rule,) = documents("kubernetes/prometheus-adapter.yaml")[0]["rules"]["custom"]
    (metric,) = documents("kubernetes/availability.yaml")[0]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    asked = set(re.findall(r"(tablefold_\w+)_(?:sum|count)\b", rule["seriesQuery"] + rule["metricsQuery"]))
    assert asked == {"tablefold_queue_seconds"}
    assert "| `tablefold_queue_seconds` | histogram |" in (ROOT / "docs/reference/metrics.md").read_text()


def test_the_image_is_built_from_every_folder_of_the_package() -> None:
    folders = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(folders.values()) <= allowed


def test_kubernetes_schemas_take_the_manifests(tmp_path: Path) -> None:
    """As kustomize puts them together, where kubectl is here."""
    validate = tool("kubernetes-validate")
    together = tmp_path / "all.yaml"
    if shutil.which("kubectl"):
        done = subprocess.run(
            ["kubectl", "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True, check=True
        )
        together.write_text(done.stdout)
    else:
        kustomization = documents("kubernetes/kustomization.yaml")[0]
        together.write_text(
            "\n---\n".join((DEPLOY / "kubernetes" / file).read_text() for file in kustomization["resources"])
        )
    done = subprocess.run(
        [validate, "--strict", "--no-warn", together], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    together.write_text(together.read_text().replace("readinessProbe:", "readynessProbe:"))
    assert subprocess.run([validate, "--strict", together], capture_output=True, check=False).returncode


CHECK_RUNTIME = """
import re, sys, yaml
from kserve import models
from kubernetes.client import models as kubernetes

def check(value, kind, where):
    inner = re.fullmatch(r"(?:list\\[|dict\\(str, )(.*)[\\])]", kind)
    if inner:
        for entry in value if isinstance(value, list) else value.values():
            check(entry, inner[1], where)
        return
    model = getattr(models, kind, None) or getattr(kubernetes, kind, None)
    if model is None:
        return
    names = {name: field for field, name in model.attribute_map.items()}
    for name, entry in value.items():
        if name not in names:
            sys.exit(f"{where} has no {name}")
        check(entry, model.openapi_types[names[name]], f"{where}.{name}")

document = yaml.safe_load(open(sys.argv[1]))
check(document, "V1alpha1" + document["kind"], document["kind"])
"""


def test_kserves_own_models_take_the_runtime(tmp_path: Path) -> None:
    if not any(TOOLS.glob("lib/*/site-packages/kserve")):
        pytest.skip("kserve is not here: make tools")
    text, file = (DEPLOY / "kserve/servingruntime.yaml").read_text(), tmp_path / "runtime.yaml"
    for content, code in ((text, 0), (text.replace("protocolVersions", "protocolVersion"), 1)):
        file.write_text(content)
        done = subprocess.run(
            [TOOLS / "bin/python", "-I", "-c", CHECK_RUNTIME, file],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr


def test_systemd_takes_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub("ExecStart=[^ ]+", f"ExecStart={shutil.which('true')}", UNIT.read_text()))
    for check in (["verify"], ["security", "--offline=true", f"--threshold={MOST_EXPOSED}"]):
        done = subprocess.run([analyze, *check, unit], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not done.stderr


def test_the_guide_says_what_to_do_for_each_alert() -> None:
    groups = documents("prometheus/alerts.yml")[0]["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    guide = (ROOT / "docs/how-to/operate.md").read_text()
    assert set(re.findall(r"^\| `(Tablefold\w+)` \|", guide, re.MULTILINE)) == alerts
