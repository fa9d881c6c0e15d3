"""What a release consists of: sdist, wheel, a list of what the server installs (CycloneDX), sums; tried out.

    python -m checks.release [--folder dist]

The wheel comes from the sdist. It is installed with `serve,client` in a bare environment, which serves a
stored bundle and must answer as it did when it was stored. The list names every package of that environment.
Prints the files.
"""

import argparse
import hashlib
from pathlib import Path

from checks.environments import ROOT, build_wheel, install, run_tool, serving, variables_of_uv
from checks.installs import ASK_WITH_RAW_VALUES, STORED

SBOM = "tablefold-serve.cdx.json"


def main() -> None:
    """Build, try, list."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    wheel = build_wheel(options.folder)
    bare = install("serve,client", wheel, ROOT / "build/release")
    with serving(bare, STORED / "repository") as address:
        bare.run("python", "-c", ASK_WITH_RAW_VALUES, address, STORED / "dense.json")
    list_packages = ("tool", "run", "--quiet", "--from", "cyclonedx-bom", "cyclonedx-py", "environment")
    listed = ("--output-file", options.folder / SBOM, bare.bin / "python")
    run_tool("uv", *list_packages, *listed, more=variables_of_uv())
    files = sorted(file for file in options.folder.iterdir() if file.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (options.folder / "SHA256SUMS").write_text("".join(sums))
    print("".join(sums), end="")


if __name__ == "__main__":
    main()
