"""What tests of adoption share."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch.distributed.checkpoint as dcp
from torch import Tensor

from tests.trainer.adoption.shop import Save


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(tensors: Mapping[str, Tensor]) -> Path:
        dcp.save(dict(tensors), checkpoint_id=tmp_path / "sharded", no_dist=True)
        return tmp_path / "sharded"

    return write
