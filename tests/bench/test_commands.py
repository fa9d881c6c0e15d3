"""Every bench says what it does and takes, so none is left behind by a change elsewhere."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (file for folder in ("bench", "checks") for file in (ROOT / folder).rglob("*.py"))
    if '\nif __name__ == "__main__":' in path.read_text()
)


@pytest.mark.parametrize("bench", BENCHES)
def test_a_bench_imports_and_helps(
    bench: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr(sys, "argv", [bench, "--help"])
    monkeypatch.delitem(sys.modules, bench, raising=False)  # where another test or bench imported it
    with pytest.raises(SystemExit) as end:
        runpy.run_module(bench, run_name="__main__")
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_benches_are_found() -> None:
    assert len(BENCHES) >= 19
