"""Prometheus' own programs: those of the machine, else those of Debian's package, unpacked."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server.conftest import toy

__all__ = ["toy"]

DOWNLOAD_SECONDS = 60


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `prometheus` and `promtool`."""
    if (found := shutil.which("promtool")) and shutil.which("prometheus"):
        return Path(found).parent
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip("there is no Prometheus, and no Debian to get it from")
    folder = tmp_path_factory.mktemp("prometheus")
    try:
        subprocess.run(
            ["apt-get", "download", "prometheus"],
            cwd=folder, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS,
        )  # fmt: skip
        [package] = folder.glob("*.deb")
        subprocess.run(["dpkg", "-x", package, folder], check=True, capture_output=True)
    except (subprocess.SubprocessError, ValueError) as error:
        pytest.skip(f"Debian's package of Prometheus cannot be had: {error}")
    return folder / "usr/bin"
