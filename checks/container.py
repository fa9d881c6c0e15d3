"""Build the container file, run the image as Kubernetes would, ask it, and drain it.

    python -m checks.container [--base IMAGE] [--folder build/container]

Builds with buildah, which needs no daemon. Without `--base` the base image is made of Debian's packages by
mmdebstrap, where no registry of images can be reached. The image runs as its own user with a read-only root,
no capabilities and no new privileges, then must answer as the stored bundle says, and end with 0 on SIGTERM.
Linux, as root. Prints bytes and seconds.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from checks.environments import ROOT, places_of_pip
from tablefold.client import Client

STORED = ROOT / "tests/formats/1"
PACKAGES = "python3,python3-venv,ca-certificates"
PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip", "/etc/ssl/certs")
"""What tells pip where packages are; the build sees those that are here."""

IN_ITS_OWN_MOUNTS = """
set -eu
root=$1; models=$2; uid=$3; shift 3
mount --bind "$root" "$root"
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$models" "$root/models"
mount -o remount,bind,ro "$root/models"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs \
    --inh-caps=-all --bounding-set=-all env -i "$@"
"""


class Buildah:
    """Buildah with a store of its own."""

    def __init__(self, store: Path) -> None:
        self._command = ["buildah", "--storage-driver", "vfs", "--root", store / "images"]
        self._command += ["--runroot", store / "run"]

    def run(self, *arguments: object) -> str:
        """What it prints. Raises SystemExit."""
        done = subprocess.run(
            [*map(str, self._command), *map(str, arguments)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"buildah {arguments[0]}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout.strip()


def make_base(buildah: Buildah, folder: Path) -> str:
    """An image of Debian with Python. Returns its name."""
    root = folder / "base.tar"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root], check=True
    )
    container = buildah.run("from", "scratch")
    buildah.run("add", container, root, "/")
    buildah.run("commit", "--rm", container, "tablefold-base")
    root.unlink()
    return "localhost/tablefold-base"


def pip_folders() -> list[str]:
    """The folders of this machine that pip takes packages from; an index with what lies beside it."""
    folders = []
    for option, places in places_of_pip().items():
        for place in places.split():
            folder = Path(place.removeprefix("file://"))
            if folder.is_absolute():
                folders.append(str(folder if option == "find-links" else folder.parent))
    return folders


def serve_and_ask(root: Path, config: dict[str, Any], seconds: float = 60) -> None:
    """The image's entry point under the restrictions of the manifests. Raises SystemExit."""
    (root / "models").mkdir(exist_ok=True)
    user = config["User"].partition(":")[0]
    repository = STORED / "repository"
    command = [*config["Env"], *config["Entrypoint"], "--port", "0", "--http-port", "0"]
    server = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", IN_ITS_OWN_MOUNTS, "sh", root, repository, user, *command],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        ready = server.stdout.readline()
        if "ready on" not in ready:
            raise SystemExit(f"the container did not come up: {ready}")
        status = Path(f"/proc/{server.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        found = (
            fields["Uid"].split()[0],
            fields["NoNewPrivs"],
            int(fields["CapEff"], 16),
            int(fields["CapBnd"], 16),
        )
        if found != (user, "1", 0, 0) or user == "0":
            raise SystemExit(f"uid, no new privileges, capabilities: {found}")
        port = ready.split(" on ")[1].split()[0].rpartition(":")[2]
        stored = json.loads((STORED / "dense.json").read_text())
        features = {name: [row[name] for row in stored["candidates"]] for name in stored["candidates"][0]}
        with Client(f"127.0.0.1:{port}") as client:
            answer = client.predict("dense", features, version=1)
        if abs(answer - stored["probability"]["versions"]["1"]).max() > 1e-5:
            raise SystemExit("the container answers other than the stored bundle")
        server.terminate()
        if server.wait(timeout=seconds):
            raise SystemExit(f"the container ended with {server.returncode}")
    finally:
        server.kill()
        server.wait()


def main() -> None:
    """Build, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--base", help="an image with Python 3.11 or newer; made of Debian's packages by default"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build/container")
    options = parser.parse_args()
    missing = [
        tool for tool in ("buildah", *(() if options.base else ("mmdebstrap",))) if not shutil.which(tool)
    ]
    if missing:
        sys.exit(f"{' and '.join(missing)} must be installed: apt-get install {' '.join(missing)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    buildah, started = Buildah(options.folder), time.monotonic()
    base = options.base or make_base(buildah, options.folder)
    mounts = [
        option
        for path in (*PIP_FILES, *pip_folders())
        if Path(path).exists()
        for option in ("-v", f"{path}:{path}:ro")
    ]
    buildah.run(
        "build", "--isolation", "chroot", "--network", "host", *mounts, "--build-arg", f"BASE={base}",
        "-f", ROOT / "deploy/container/Containerfile", "-t", "tablefold", ROOT,
    )  # fmt: skip
    built = time.monotonic() - started
    config = json.loads(buildah.run("inspect", "--type", "image", "tablefold"))["OCIv1"]["config"]
    container = buildah.run("from", "tablefold")
    root = Path(buildah.run("mount", container))
    try:
        serve_and_ask(root, config)
        ours = sum(f.lstat().st_size for f in (root / "opt/tablefold").rglob("*") if f.is_file()) / 1e6
        torch = [*root.glob("opt/tablefold/lib/*/site-packages/torch")]
        if torch:
            raise SystemExit("torch is in the image")
    finally:
        buildah.run("rm", container)
    print(f"built in {built:.0f} s; {ours:.0f} MB above the base image; read-only, uid 65532, drained")


if __name__ == "__main__":
    main()
