"""The curvature of the logloss: how much it feels a change of a feature's vector, direction by direction.

A small change e of the vector raises the logloss of an example by about e^T C e / 2, C = p (1 - p) g g^T
with g the gradient of the logit: Gauss-Newton, which is the Fisher information of a click. Its mean over
examples says which vectors may be exchanged for which. No labels are needed.
"""

import numpy as np
import torch
from torch import Tensor

from tablefold.trainer.checkpoint.checkpoint import Checkpoint

EXAMPLES = 1 << 15
"""So many tell the curvature well enough."""
EXAMPLES_AT_ONCE = 4096
LEAST = 1e-3
"""Of the mean over directions: what a direction counts that these examples do not feel."""


def curvatures(checkpoint: Checkpoint) -> Tensor:
    """Return float64 [F, d, d]: the mean over validation examples, of each feature."""
    model, log = checkpoint.model, checkpoint.validation
    was_training = model.training
    model.eval()
    examples = min(len(log), EXAMPLES)
    features, width = len(checkpoint.row_maps), checkpoint.description.config.dim
    total = torch.zeros(features, width, width, dtype=torch.float64)
    for start in range(0, examples, EXAMPLES_AT_ONCE):
        some = log.take(slice(start, min(start + EXAMPLES_AT_ONCE, examples)))
        rows = torch.from_numpy(model.collection.rows(some.ids).astype(np.int64))
        with torch.no_grad():
            vectors = model.collection(rows)
        vectors.requires_grad_()
        logit = model.network(torch.from_numpy(some.dense), vectors)
        (gradient,) = torch.autograd.grad(logit.sum(), vectors)
        probability = torch.sigmoid(logit.detach())
        felt = gradient * (probability * (1 - probability)).sqrt()[:, None, None]
        total += torch.einsum("bfd,bfe->fde", felt, felt).double()
    model.train(was_training)
    return total / max(1, examples)


def metric(curvature: Tensor) -> Tensor:
    """Return float32 [d, d]: vectors times this are as far apart as the logloss feels them to be.

    It is the square root of a curvature [d, d], and the identity where nothing is felt.
    """
    values, directions = torch.linalg.eigh(curvature)
    mean = float(values.clamp(min=0).mean())
    if mean == 0:
        return torch.eye(len(curvature))
    felt = values.clamp(min=LEAST * mean)
    root: Tensor = (directions * felt.sqrt()) @ directions.T
    return root.float()
