"""Pages that are given back leave memory, and nothing but memory."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tablefold.exporter.mapped_pages import release_pages


def resident() -> int:
    """Bytes of mapped files in this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked on Linux only")
def test_pages_of_a_mapped_file_are_given_back_and_read_again_what_was_written_stays(tmp_path: Path) -> None:
    values = torch.arange(8_000_000, dtype=torch.float32)
    save_file({"x": values}, tmp_path / "x.safetensors")
    mapped = load_file(tmp_path / "x.safetensors")["x"]
    assert torch.equal(mapped, values)
    mapped[5] = values[5] = -1
    before = resident()
    release_pages(mapped)
    assert before - resident() > 0.9 * mapped.nbytes
    assert torch.equal(mapped, values)
    release_pages(mapped[7:9])  # no whole page
    release_pages(mapped[:0])
    assert torch.equal(mapped, values)
