"""The workflow of a release calls what there is here."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_its_steps_are_targets_and_files_of_this_repository() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    made = [word for command in commands if command.startswith("make ") for word in command.split()[1:]]
    assert made == ["check-installs", "release"]
    assert set(made) <= set(targets)
    files = [file for command in commands for file in re.findall(r"^bash (\S+)", command)]
    assert files == [".ci/run"]
    assert (ROOT / files[0]).is_file()
    assert workflow["permissions"] == {"contents": "read"}
