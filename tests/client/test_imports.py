"""`tablefold.client` is light: its names load when they are used, and it needs no engine or log reader."""

import subprocess
import sys

import tablefold.client

HEAVY = ("torch", "onnx", "onnxruntime", "polars", "sklearn", "faiss", "rich", "typer")


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_public_name_is_there_and_documented() -> None:
    assert dir(tablefold.client) == tablefold.client.__all__ == sorted(tablefold.client.__all__)
    for name in tablefold.client.__all__:
        assert getattr(tablefold.client, name).__doc__, name


def test_the_package_alone_imports_nothing() -> None:
    program = "import sys, tablefold; before = set(sys.modules)\nimport tablefold.client\n"
    program += "print({name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    assert run(program).strip() == "{'tablefold'}"


def test_a_client_needs_nothing_heavy() -> None:
    program = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
    program += "from tablefold.client import AsyncClient, Client\n"
    program += "from tablefold.errors import Unavailable\n"
    program += "try:\n    Client('127.0.0.1:9', timeout=1).predict('m', {'f': [1]})\n"
    program += "except Unavailable:\n    print('refused')"
    assert run(program).strip() == "refused"
