"""`import tablefold`: what it offers, what it costs, and that every name says what it does."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tablefold

HEAVY = ("torch", "onnx", "onnx_ir", "onnxruntime", "grpc", "polars", "pydantic", "numpy", "rich", "typer")
LIGHT = ("CategoricalFeature", "FeatureSchema", "Footprint", "Manifest", "TrainConfig", "ExportOptions")


def python(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_is_quick_and_imports_nothing_heavy() -> None:
    modules = python("import sys, tablefold; print(*sys.modules)").split()
    assert not set(modules) & set(HEAVY)
    assert len([name for name in modules if name.startswith("tablefold")]) == 1
    # Time on the processor, which other processes do not lengthen.
    clock = "import time; began = time.process_time(); {}; print(time.process_time() - began)"
    assert min(float(python(clock.format("import tablefold"))) for _ in range(5)) < 0.05


def test_light_names_need_no_heavy_library() -> None:
    blocked = [name for name in HEAVY if name not in ("pydantic", "numpy", "rich", "typer")]
    script = f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
    script += "import tablefold\n"
    script += f"for name in {LIGHT} + tuple(n for n in tablefold.__all__ if n.endswith('Error')):\n"
    script += "    getattr(tablefold, name)\n"
    script += "schema = tablefold.FeatureSchema(name='s', categorical=[dict(name='c', encoding='int')])\n"
    script += "print(tablefold.TrainConfig(method='mlet').method, schema.id_columns)"
    assert python(script) == "mlet 1\n"


def test_the_names_the_types_and_the_modules_agree() -> None:
    assert dir(tablefold) == tablefold.__all__ == sorted(tablefold.__all__)
    tree = ast.parse(Path(str(tablefold.__file__)).read_text())
    typed = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tablefold.")
        for alias in node.names
    }
    homes = {name: (f"tablefold.{module}", found) for name, (module, found) in tablefold._HOMES.items()}
    assert typed == homes
    assert set(homes) | {"__version__"} == set(tablefold.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Trainer'"):
        _ = tablefold.Trainer  # type: ignore[attr-defined]
    assert tablefold.client.Client.__name__ == "Client"


@pytest.mark.parametrize("name", [name for name in tablefold.__all__ if name != "__version__"])
def test_every_name_is_documented(name: str) -> None:
    offered = getattr(tablefold, name)
    assert offered is not None
    text = inspect.getdoc(offered)
    assert text, name
    if inspect.isfunction(offered):
        assert "Raises" in text or "Raise" in text, f"{name} does not say what it raises"
        for parameter in inspect.signature(offered).parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, (name, parameter)


STORY = """
import numpy as np, polars as pl, tablefold

schema = tablefold.FeatureSchema(
    name="shop",
    label="click",
    dense=[tablefold.DenseFeature(name="price")],
    categorical=[
        tablefold.CategoricalFeature(name="user", encoding="int"),
        tablefold.CategoricalFeature(name="item", encoding="string"),
    ],
)
random = np.random.default_rng(0)
frame = pl.DataFrame({
    "price": random.random(400),
    "user": random.integers(0, 20, 400),
    "item": [f"item {n}" for n in random.integers(0, 20, 400)],
    "click": random.integers(0, 2, 400),
})
splits = tablefold.split_log(tablefold.read_frame(frame, schema), rule="random")
config = tablefold.TrainConfig(method="mlet", dim=4, epochs=1, bottom=[8], top=[8])
checkpoint = tablefold.train(schema, splits, config, "checkpoint")
small = tablefold.compress(tablefold.load_checkpoint("checkpoint"), rank=2, max_logloss_increase=1).checkpoint
tablefold.save_checkpoint(small, "small")
options = tablefold.ExportOptions(row_type="int8", row_type_of={"user": "fp16"}, max_logloss_increase=1)
folder = tablefold.export(checkpoint, "repository", "shop", options=options)
manifest = tablefold.read_manifest(folder)
size = tablefold.footprint(schema, {"user": 20, "item": 20}, config, options)
print(manifest.row_type, manifest.row_type_of["user"], size.baseline_fp32 == manifest.footprint.baseline_fp32)
"""


def test_the_whole_path_in_python(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:tablefold", "-c", STORY],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "int8 fp16 True\n", done.stderr
    assert (tmp_path / "small" / "checkpoint.json").is_file()
