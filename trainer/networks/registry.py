"""Networks by name: one of ours, or any module of the user's own."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path

import torch
from torch import nn

from tablefold.errors import CheckpointError, UsageError
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.imports import import_object
from tablefold.trainer.networks.dcn_v2 import DCNv2
from tablefold.trainer.networks.deepfm import DeepFM
from tablefold.trainer.networks.dlrm import DLRM
from tablefold.trainer.networks.exported import SUFFIX, read_exported

NetworkFactory = Callable[[int, int, int], nn.Module]
"""(N dense values, F features, d) -> a module from dense float32 [B, N] and vectors float32 [B, F, d] to a
logit float32 [B]."""
OURS: dict[str, Callable[[TrainConfig], NetworkFactory]] = {
    "dlrm": lambda config: partial(
        DLRM, bottom=config.bottom, top=config.top, vectors_without_dense=config.vectors_without_dense
    ),
    "dcnv2": lambda config: partial(DCNv2, top=config.top),
    "deepfm": lambda config: partial(DeepFM, top=config.top),
}
"""Tablefold's own networks, by name."""


def import_factory(name: str) -> NetworkFactory | None:
    """Return the factory that `package.module:Factory` names, or that of a `.pt2` file of torch.export.save,
    None for a network of ours.

    Raises UsageError for a name that leads nowhere.
    """
    if name in OURS:
        return None
    if name.endswith(SUFFIX):
        return read_exported(Path(name))
    factory = import_object("--network", name, OURS)
    if not callable(factory):
        raise UsageError(f"--network {name} is {type(factory).__name__}, and must be a class or a function")
    try:
        signature(factory).bind(13, 26, 16)
    except TypeError as error:
        raise UsageError(
            f"--network {name} is called with three numbers, those of dense values, of features and of "
            f"values of a vector, and does not take them: {error}"
        ) from None
    except ValueError:  # C code that does not say what it takes
        pass
    return factory


def build_network(
    config: TrainConfig, num_dense: int, num_features: int, factory: NetworkFactory | None
) -> nn.Module:
    """The network of the given settings, untrained; `factory` makes any that is not ours.

    Raises CheckpointError where it is needed and not given, UsageError where it makes something else.
    """
    if factory is None:
        if config.network not in OURS:
            raise CheckpointError(
                f"the checkpoint's network is {config.network}, which is not Tablefold's: name its factory "
                "again (--network package.module:Factory, or load(folder, factory)); a checkpoint never "
                "chooses what code runs"
            )
        factory = OURS[config.network](config)
    network = factory(num_dense, num_features, config.dim)
    require_logit(network, num_dense, num_features, config.dim)
    return network


@torch.no_grad()
def require_logit(network: nn.Module, num_dense: int, num_features: int, dim: int) -> None:
    """Raises UsageError for anything but a module that gives float32 [B] for float32 [B, N] and [B, F, d]."""
    if not isinstance(network, nn.Module):
        raise UsageError(f"the network is {type(network).__name__}, and must be a torch.nn.Module")
    was_training = network.training
    logit = network.eval()(torch.zeros(2, num_dense), torch.zeros(2, num_features, dim))
    network.train(was_training)
    if not isinstance(logit, torch.Tensor) or logit.shape != (2,) or logit.dtype != torch.float32:
        got = (
            f"{logit.dtype} {list(logit.shape)}" if isinstance(logit, torch.Tensor) else type(logit).__name__
        )
        raise UsageError(f"the network gives {got} for 2 rows, and must give a logit, torch.float32 [2]")
