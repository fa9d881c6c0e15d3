"""Networks of `.pt2` files: the same logits, or refused by name; nothing of such a file is executed."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tablefold.errors import UsageError
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.networks.dcn_v2 import DCNv2
from tablefold.trainer.networks.deepfm import DeepFM
from tablefold.trainer.networks.dlrm import DLRM
from tablefold.trainer.networks.registry import build_network, import_factory

BATCH = torch.export.Dim("batch")


class Much(nn.Module):
    """Sizes as values, lists of tensors, constants, text, dropout, a tied weight, an integer buffer."""

    def __init__(self, num_dense: int, num_features: int, dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(num_dense + num_features * dim, 6)
        self.again = nn.Linear(num_dense + num_features * dim, 6)
        self.again.weight = self.first.weight
        self.drop = nn.Dropout(0.5)
        self.norm = nn.LayerNorm(6)
        self.register_buffer("counts", torch.tensor([1, 2]))
        self.dim = dim

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        wide = torch.cat([dense, vectors.reshape(vectors.shape[0], -1)], 1)
        hidden = self.drop(self.norm(nn.functional.gelu(self.first(wide), approximate="tanh")))
        left, right = (hidden + self.again(wide)).chunk(2, dim=1)
        pairs = torch.einsum("bi,bi->b", left, right)
        return pairs + self.counts.float().sum() + torch.tensor([0.25])[0] * vectors.mean((1, 2))


Saved = Callable[..., Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """A network in a file; dynamic rows unless said otherwise."""

    def save(network: nn.Module, *sizes: int, rows: Any = BATCH) -> Path:
        num_dense, num_features, dim = sizes
        given = (torch.zeros(3, num_dense), torch.zeros(3, num_features, dim))
        shapes = ({0: rows}, {0: rows}) if rows else None
        torch.export.save(
            torch.export.export(network.eval(), given, dynamic_shapes=shapes), tmp_path / "net.pt2"
        )
        return tmp_path / "net.pt2"

    return save


@pytest.mark.parametrize("kind", [Much, DLRM, DCNv2, DeepFM])
def test_a_network_from_its_file_gives_the_same_logits(saved: Saved, kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = kind(2, 3, 4)
    factory = import_factory(str(saved(network, 2, 3, 4)))
    assert factory is not None
    again = build_network(TrainConfig(dim=4, network="net.pt2"), 2, 3, factory)
    for rows in (1, 2, 7):
        dense, vectors = torch.randn(rows, 2), torch.randn(rows, 3, 4)
        torch.testing.assert_close(again.eval()(dense, vectors), network(dense, vectors), rtol=0, atol=1e-6)
    assert {tensor.numel() for tensor in again.parameters()} == {
        tensor.numel() for tensor in network.parameters()
    }
    again(dense, vectors).sum().backward()
    assert all(parameter.grad is not None for parameter in again.parameters())


def test_a_network_of_other_sizes_is_refused(saved: Saved) -> None:
    factory = import_factory(str(saved(Much(2, 3, 4), 2, 3, 4)))
    assert factory is not None
    says = r"takes \[batch, 2\] and \[batch, 3, 4\], and the model has .* \[batch, 2\] and \[batch, 5, 4\]"
    with pytest.raises(UsageError, match=says):
        factory(2, 5, 4)
    fixed = import_factory(str(saved(Much(2, 3, 4), 2, 3, 4, rows=None)))
    assert fixed is not None
    with pytest.raises(UsageError, match=r"takes \[3, 2\] and \[3, 3, 4\], .* any number of rows"):
        fixed(2, 3, 4)


class Two(nn.Module):
    """Gives more than a logit."""

    def forward(self, dense: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        return dense.sum(1), vectors.sum((1, 2))


def changed(path: Path, change: Callable[[dict[str, Any]], None], name: str = "models/model.json") -> Path:
    """The same archive with another JSON."""
    with zipfile.ZipFile(path) as archive:
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
    [place] = [place for place in contents if place.endswith(name)]
    program = json.loads(contents[place])
    change(program)
    contents[place] = json.dumps(program).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for filename, content in contents.items():
            archive.writestr(filename, content)
    return path


def refused(path: Path, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        import_factory(str(path))


def test_files_that_are_none_are_refused(saved: Saved, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.pt2", "cannot be read: No such file")
    refused(saved(Two(), 2, 3, 4), "more than a logit")
    path = saved(Much(2, 3, 4), 2, 3, 4)
    whole = path.read_bytes()
    for part in (b"", whole[:500], b"no archive"):
        path.write_bytes(part)
        refused(path, "no program of torch.export.save, or is damaged")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/models/other.json", "{}")
    refused(path, "no program of torch.export.save")


Change = Callable[[dict[str, Any]], None]


def target(text: str) -> Change:
    return lambda program: program["graph_module"]["graph"]["nodes"][0].update(target=text)


def version(program: dict[str, Any]) -> None:
    program["schema_version"]["major"] = 99


def an_input_more(program: dict[str, Any]) -> None:
    specs = program["graph_module"]["signature"]["input_specs"]
    specs.append(specs[-1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (version, "format 99, and this Tablefold reads 8"),
        (target("torch.os.system"), "calls torch.os.system, and only operators"),
        (target("torch.ops.aten.from_file.default"), "takes a text .filename"),
        (target("torch.ops.aten.nothing.default"), "which this torch has not"),
        (target("torch.ops.aten.add.__call__"), "which this torch has not"),
        (target("math.sin"), "only operators"),
        (an_input_more, "takes 3 tensors, and must take two"),
        (lambda program: program.pop("graph_module"), "is damaged: its graph has no valid"),
    ],
)
def test_programs_that_do_what_no_network_needs_are_refused(saved: Saved, change: Change, says: str) -> None:
    refused(changed(saved(Much(2, 3, 4), 2, 3, 4), change), says)


class Ran:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, (str(self._folder),)


def test_pickles_and_code_in_a_file_are_not_run(saved: Saved, tmp_path: Path) -> None:
    path = saved(Much(2, 3, 4), 2, 3, 4)
    ran = tmp_path / "ran"

    def guards(program: dict[str, Any]) -> None:
        program["guards_code"] = [f"__import__('os').mkdir({str(ran)!r})"]
        sizes = next(iter(program["graph_module"]["graph"]["tensor_values"].values()))["sizes"]
        sizes[0] = {"as_expr": {"expr_str": f"__import__('os').mkdir({str(ran)!r})", "hint": None}}

    changed(path, guards)
    with zipfile.ZipFile(path) as archive:
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, pickle.dumps(Ran(ran)) if name.endswith("model.pt") else content)
    factory = import_factory(str(path))
    assert factory is not None
    factory(2, 3, 4)(torch.zeros(2, 2), torch.zeros(2, 3, 4))
    changed(
        path,
        lambda config: next(iter(config["config"].values())).update(use_pickle=True),
        "model_weights_config.json",
    )
    refused(path, "is a pickle, not a plain tensor")
    assert not ran.exists()
