"""Bytes and imports: our wheel and server's environment beside MLServer's with ONNX Runtime.

    python -m bench.serving.sizes [--folder build/sizes]

Both environments are made anew, without pip and without compiled files. Imports are the best of five, in a
process of their own, once everything has been read from the disk.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.serving.mlserver import PACKAGES
from checks.environments import ROOT, Environment, build_wheel, install, run_tool, variables_of_uv
from checks.house import cost_of

OURS = ("tablefold", "tablefold.client", "tablefold.client.client", "tablefold.server.app")
THEIRS = ("mlserver", "mlserver.server")


def with_mlserver(folder: Path) -> Environment:
    """MLServer and ONNX Runtime, and nothing else."""
    made = Environment(extra="-", folder=folder / "env", scratch=folder)
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", made.folder], check=True)
    run_tool("uv", "pip", "install", "--python", made.bin / "python", *PACKAGES, more=variables_of_uv())
    return made


def main() -> None:
    """Make both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "build/sizes")
    folder = parser.parse_args().folder
    wheel = build_wheel(folder / "wheel")
    ours, theirs = install("serve", wheel, folder / "serve"), with_mlserver(folder / "mlserver")
    table = Table("", r"tablefold\[serve]", "MLServer + ONNX Runtime", "MLServer / ours")
    table.add_row("wheel, MB", f"{wheel.stat().st_size / 1e6:.2f}", "", "")
    bytes_of_ours, bytes_of_theirs = ours.megabytes(), theirs.megabytes()
    ratio = bytes_of_theirs / bytes_of_ours
    table.add_row("environment, MB", f"{bytes_of_ours:.0f}", f"{bytes_of_theirs:.0f}", f"{ratio:.2f}")
    packages = [len([*made.site_packages().glob("*.dist-info")]) for made in (ours, theirs)]
    table.add_row("packages", *map(str, packages), f"{packages[1] / packages[0]:.2f}")
    for names, made, place in ((OURS, ours, 0), (THEIRS, theirs, 1)):
        for name in names:
            cells = ["", ""]
            cells[place] = cost_of(name, str(made.bin / "python"))
            table.add_row(f"import {name}", *cells, "")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
