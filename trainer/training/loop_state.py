"""What a training loop's remaining steps depend on, beside how far it is: taken out, and put into another.

The table's rows, and what the optimizer keeps of each, are apart: they are large, and may be shared out.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tablefold.trainer.training.optimizers import MOMENTS

TABLE = "collection.table.vectors.weight"
"""The table's name in a model's state."""
WEIGHT = "weight"


def take(model: nn.Module, optimizers: Sequence[Optimizer], schedules: Sequence[LRScheduler]) -> Any:
    """Return the state without rows: tensors of the host, numbers, dicts and lists of them."""
    state = {
        "model": {name: weight for name, weight in model.state_dict().items() if name != TABLE},
        "optimizers": [_without_moments(optimizer.state_dict()) for optimizer in optimizers],
        "schedules": [schedule.state_dict() for schedule in schedules],
        "random": torch.get_rng_state(),  # a network may drop out
    }
    return on_host(state)


def put(
    state: Mapping[str, Any],
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    schedules: Sequence[LRScheduler],
) -> None:
    """Put what `take` returned into others of the same settings; their rows stay as they are."""
    rows = take_rows(optimizers[0])
    model.load_state_dict(state["model"] | {TABLE: rows[WEIGHT]})
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(deepcopy(saved))  # it keeps the tensors that it is given
    if MOMENTS in rows:
        optimizers[0].state[_table(optimizers[0])][MOMENTS] = rows[MOMENTS]
    for schedule, saved in zip(schedules, state["schedules"], strict=True):
        schedule.load_state_dict(saved)
    torch.set_rng_state(state["random"].clone())


def take_rows(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the table's weights [R, w], and what its optimizer keeps of each row [R, ...], as they are."""
    table = _table(optimizer)
    kept = optimizer.state[table]
    return {WEIGHT: table.detach(), **({MOMENTS: kept[MOMENTS]} if MOMENTS in kept else {})}


def on_host(value: Any) -> Any:
    """Return the value with all its tensors on the host."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {name: on_host(inner) for name, inner in value.items()}
    return [on_host(inner) for inner in value] if isinstance(value, list) else value


def _table(optimizer: Optimizer) -> Tensor:
    (table,) = optimizer.param_groups[0]["params"]
    assert isinstance(table, Tensor)
    return table


def _without_moments(state: dict[str, Any]) -> dict[str, Any]:
    return state | {
        "state": {
            number: {name: value for name, value in kept.items() if name != MOMENTS}
            for number, kept in state["state"].items()
        }
    }
