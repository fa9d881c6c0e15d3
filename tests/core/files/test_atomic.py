"""A reader finds the old or the new, whole, wherever the writer is killed and however many write at once."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tablefold.files.atomic import create_folder, read_folder, replace_file, write_text
from tests.full_disk import files_at_most

PARTS = ["a", "b", "c"]
OLD, NEW = ["old"] * 3, ["new"] * 3


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


KILLED_AT_EACH_LINE = """
import json, os, signal, sys
from pathlib import Path
from tablefold.files import atomic

job, exchanges, root = sys.argv[1], sys.argv[2] == "exchanges", Path(sys.argv[3])
if not exchanges:
    atomic._exchange = lambda one, other: False  # what a file system without renameat2 does

def write(place, text):
    if job.startswith("file"):
        with atomic.replace_file(place) as file:
            for _ in range(3):
                file.write(text.encode())
                file.flush()
    else:
        with atomic.create_folder(place, replace=True) as draft:
            for part in "abc":
                (draft / part).write_text(text)

def read(place):
    try:
        if job.startswith("file"):
            text = place.read_text()
            return [text[:3], text[3:6], text[6:]]
        return atomic.read_folder(place, lambda folder: [(folder / part).read_text() for part in "abc"])
    except FileNotFoundError:
        return None

def killed_at(line):
    def trace(frame, event, argument):
        if frame.f_code.co_filename != atomic.__file__:
            return None
        if event == "line":
            trace.lines += 1
            if trace.lines == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    trace.lines = 0
    return trace

found, line = [], 0
while True:
    line += 1
    place = root / str(line) / "place"
    place.parent.mkdir()
    if job.endswith("replaced"):
        write(place, "old")
    child = os.fork()
    if child == 0:
        sys.settrace(killed_at(line))
        write(place, "new")
        os._exit(0)
    done = os.waitpid(child, 0)[1]
    seen = read(place)
    write(place, "end")  # whatever the killed one left is in nobody's way, and is removed
    found.append([seen, read(place), [path.name for path in place.parent.iterdir()]])
    if done == 0:
        break
print(json.dumps(found))
"""


@pytest.mark.parametrize("exchanges", ["exchanges", "cannot"])
@pytest.mark.parametrize("job", ["file", "file-replaced", "folder", "folder-replaced"])
def test_a_kill_at_any_line_leaves_the_old_or_the_new(tmp_path: Path, job: str, exchanges: str) -> None:
    arguments = [job, exchanges, str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_LINE, *arguments], capture_output=True, text=True, check=True
    )
    rounds = json.loads(done.stdout)
    assert len(rounds) > 30
    before = OLD if job.endswith("replaced") else None
    assert [seen for seen, _, _ in rounds if seen not in (before, NEW)] == []
    assert rounds[0][0] == before
    assert rounds[-1][0] == NEW
    assert all(after == ["end"] * 3 and left == ["place"] for _, after, left in rounds)


WRITES = """
import sys
from pathlib import Path
from tablefold.files.atomic import create_folder, write_text
root, name = Path(sys.argv[1]), sys.argv[2]
for _ in range(40):
    write_text(root / "file", name * 50_000)
    with create_folder(root / "folder", replace=True) as draft:
        for part in "abc":
            (draft / part).write_text(name)
"""


def test_writers_at_once_never_mix(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path), name]) for name in "xyz"]
    seen = []

    def parts(folder: Path) -> list[str]:
        return [(folder / part).read_text() for part in PARTS]

    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "folder").exists():  # it never goes away again
            seen.append((tmp_path / "file").read_text())
            seen.append("".join(read_folder(tmp_path / "folder", parts)))
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert all(len(set(text)) == 1 for text in seen)
    assert len(seen) > 10
    assert names(tmp_path) == ["file", "folder"]


def test_a_living_writer_keeps_its_draft(tmp_path: Path) -> None:
    with replace_file(tmp_path / "slow") as file:
        file.write(b"half")
        write_text(tmp_path / "quick", "done")
        file.write(b" and half")
    assert (tmp_path / "slow").read_text() == "half and half"


def test_what_is_raised_leaves_what_stood_there(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with create_folder(tmp_path / "folder") as draft:
        write_text(draft / "a", "old")
    with pytest.raises(ZeroDivisionError), replace_file(tmp_path / "file") as file:
        file.write(b"new" * (1 // 0))
    with pytest.raises(ZeroDivisionError), create_folder(tmp_path / "folder", replace=True) as draft:
        write_text(draft / "a", "new" * (1 // 0))
    with files_at_most(1000), pytest.raises(OSError, match="File too large"):
        write_text(tmp_path / "file", "new" * 1000)
    with pytest.raises(OSError, match="not empty") as raised, create_folder(tmp_path / "folder"):
        pass
    assert raised.value.errno == errno.ENOTEMPTY
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "a").read_text() == "old"
    assert names(tmp_path) == ["file", "folder"]


def test_a_link_keeps_pointing_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_text(tmp_path / "pipe", "through")
    reader.join()
    assert heard == ["through"]


def test_a_new_folder_with_the_number_of_the_old_one_is_noticed(tmp_path: Path) -> None:
    place, seen = tmp_path / "folder", []

    def replace(text: str) -> int:
        with create_folder(place, replace=True) as draft:
            for part in PARTS:
                (draft / part).write_text(text)
        return place.stat().st_ino

    def read(folder: Path) -> list[str]:
        seen.append((folder / "a").read_text())
        if len(seen) == 1:  # in the middle of reading, as often as it takes to get the number again
            any(replace("new") == number for _ in range(20))
        return [seen[-1], *((folder / part).read_text() for part in PARTS[1:])]

    number = replace("old")
    assert read_folder(place, read) == NEW
