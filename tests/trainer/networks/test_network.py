"""A network of the user's own: named by whoever runs it, never by a file."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tablefold.errors import CheckpointError, UsageError
from tablefold.exporter.export import export
from tablefold.logs import Splits
from tablefold.logs.formats import synthetic
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.networks.dcn_v2 import DCNv2
from tablefold.trainer.networks.deepfm import DeepFM
from tablefold.trainer.networks.registry import OURS, build_network, import_factory
from tablefold.trainer.training.run import train

CONFIG = TrainConfig(dim=4, batch_size=256, epochs=1, row_ratio=4, method="lhf", network="shop_network:Net")
CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_dense, num_features, dim):
        super().__init__()
        width = num_dense + num_features * dim
        self.norm = nn.BatchNorm1d(width)  # keeps counters
        self.once = nn.Linear(width, width)
        self.twice = nn.Linear(width, width)
        self.twice.weight = self.once.weight  # tied
        self.logit = nn.Linear(width, 1)

    def forward(self, dense, vectors):
        x = self.norm(torch.cat([dense, vectors.flatten(1)], 1))
        return self.logit(torch.relu(self.twice(torch.relu(self.once(x))))).squeeze(1)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module, worked in."""
    (tmp_path / "shop_network.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "shop_network", raising=False)
    return tmp_path


def test_it_trains_is_read_back_and_exported_like_ours(shop: Path) -> None:
    log = synthetic.generate(1500)
    parts = Splits(
        train=log.take(slice(0, 1200)),
        validation=log.take(slice(1200, 1350)),
        test=log.take(slice(1350, None)),
    )
    checkpoint = train(synthetic.SCHEMA, parts, CONFIG, shop / "m")
    net = import_factory("shop_network:Net")
    assert net is not None
    again = checkpoints.load(shop / "m", net)
    assert np.array_equal(again.model.predict(log), checkpoint.model.predict(log))
    export(again, shop, "m")

    class Another(net):  # type: ignore[misc, valid-type]
        """The same weights, but not the same function."""

        def forward(self, dense: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
            logit: torch.Tensor = -super().forward(dense, vectors)
            return logit

    with pytest.raises(CheckpointError, match="no longer gives the probabilities it was saved with"):
        checkpoints.load(shop / "m", Another)
    with pytest.raises(CheckpointError, match="does not fit its description"):
        checkpoints.load(shop / "m", lambda *_: Bias())


class Bias(nn.Module):
    """No network of a shop."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, dense: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return self.bias.expand(len(vectors))


def test_no_code_is_imported_for_what_a_checkpoint_says(shop: Path) -> None:
    log = synthetic.generate(500)
    parts = Splits(
        train=log.take(slice(0, 400)), validation=log.take(slice(400, 450)), test=log.take(slice(450, None))
    )
    ours = CONFIG.model_copy(update={"network": "dlrm", "method": "hash", "bottom": (8,), "top": (8,)})
    train(synthetic.SCHEMA, parts, ours, shop / "m")
    path = shop / "m" / checkpoints.DESCRIPTION
    content = json.loads(path.read_text())
    content["config"]["network"] = "hostile:Net"
    path.write_text(json.dumps(content))
    (shop / "hostile.py").write_text("raise SystemExit('imported')")
    with pytest.raises(CheckpointError, match=r"the checkpoint's network is hostile:Net, .* never chooses"):
        checkpoints.load(shop / "m")
    assert "hostile" not in sys.modules


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dcn", "--network 'dcn' is not known: give dlrm, dcnv2, deepfm or package.module:Factory"),
        (":Net", "is not known"),
        ("shop_network:", "is not known"),
        ("no_such_network:Net", "No module named 'no_such_network'"),
        ("shop_network:Nett", "has no attribute 'Nett'"),
        ("os:system", "--network os:system is called with three numbers, .* does not take them"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(shop: Path, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        import_factory(name)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the network is dict, and must be a torch\.nn\.Module"):
        build_network(CONFIG, 1, 1, lambda *_: {})  # type: ignore[arg-type, return-value]
    with pytest.raises(UsageError, match=r"gives torch\.float32 \[2, 3\] for 2 rows"):
        build_network(CONFIG, 3, 1, lambda *_: FirstOf())


class FirstOf(nn.Module):
    """Gives the dense values."""

    def forward(self, dense: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return dense


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("num_dense", [0, 3])
def test_each_of_ours_gives_a_logit_with_dense_values_and_without(name: str, num_dense: int) -> None:
    config = CONFIG.model_copy(update={"network": name})
    network = build_network(config, num_dense, 5, import_factory(name))
    vectors = torch.randn(7, 5, config.dim, requires_grad=True)
    logit = network(torch.randn(7, num_dense), vectors)
    logit.sum().backward()
    assert vectors.grad is not None
    assert (vectors.grad != 0).any(dim=2).all()


def test_deepfm_sums_the_dot_products_of_all_pairs_of_fields() -> None:
    network = DeepFM(2, 3, 4, top=(8,))
    with torch.no_grad():
        for parameter in [*network.first_order.parameters(), *network.logit.parameters()]:
            parameter.zero_()  # the other two terms
        network.dense_vectors.normal_()
    dense, vectors = torch.randn(5, 2), torch.randn(5, 3, 4)
    fields = torch.cat([vectors, dense[:, :, None] * network.dense_vectors], dim=1)
    pairs = sum((fields[:, i] * fields[:, j]).sum(1) for i in range(5) for j in range(i))
    torch.testing.assert_close(network(dense, vectors), pairs)


def test_dcn_v2_crosses_as_equation_1_says() -> None:
    network = DCNv2(1, 1, 2, top=(3,))
    dense, vectors = torch.randn(4, 1), torch.randn(4, 1, 2)
    first = torch.cat([dense, vectors[:, 0]], dim=1)
    crossed = first
    for cross in network.crosses:
        crossed = first * (crossed @ cross.weight.T + cross.bias) + crossed
    torch.testing.assert_close(network(dense, vectors), network.logit(network.top(crossed))[:, 0])
