"""Closed-form gradients of the masked multi-task loss of a two-layer ReLU network.

With hidden features ``H = relu(Z W' + b)``, scores ``F = H A' + c`` and
``G = dL/dF``, of shape (n, T)::

    dL/dA = G' H        dL/dc = G' 1
    D = (G A) * 1[H > 0]
    dL/dW = D' Z        dL/db = D' 1

Heads and representation are two functions, because the paper's order updates the heads
first and takes the gradient of the representation at the updated heads. G comes from
`_losses.MultiTaskLoss.with_gradient`.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class HeadGradients(NamedTuple):
    """Gradient of the loss in the heads."""

    task_coef: Tensor  # (n_tasks, n_hidden)
    task_intercept: Tensor  # (n_tasks,)


class RepresentationGradients(NamedTuple):
    """Gradient of the loss in the first layer."""

    hidden_weights: Tensor  # (n_hidden, n_features)
    hidden_biases: Tensor  # (n_hidden,)


def head_gradients(hidden: Tensor, scores_gradient: Tensor) -> HeadGradients:
    """Gradient in the heads, given that in the scores (n_samples, n_tasks)."""
    return HeadGradients(scores_gradient.T @ hidden, scores_gradient.sum(0))


def representation_gradients(
    inputs: Tensor,
    hidden: Tensor,
    scores_gradient: Tensor,
    task_coef: Tensor,
    keep_probability: float = 1.0,
) -> RepresentationGradients:
    """Gradient of the loss in the first layer, given its gradient in the scores.

    Parameters
    ----------
    inputs : Tensor of shape (n_samples, n_features)
    hidden : Tensor of shape (n_samples, n_hidden)
        After dropout, if any: a unit that was dropped is 0 and passes no gradient.
    scores_gradient : Tensor of shape (n_samples, n_tasks)
    task_coef : Tensor of shape (n_tasks, n_hidden)
    keep_probability : float
        ``1 - dropout``; kept units were scaled by its inverse.
    """
    outer = torch.addmm(
        scores_gradient.new_zeros(()),
        scores_gradient,
        task_coef,
        beta=0,
        alpha=1 / keep_probability,
    )
    gated = torch.ops.aten.threshold_backward(outer, hidden, 0)
    return RepresentationGradients(gated.T @ inputs, gated.sum(0))


def dropout(hidden: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Set entries to 0 with probability ``rate`` and scale the others to keep the mean.

    Four 16-bit draws come out of each random integer, which makes this several times
    faster on a CPU than torch's bernoulli; the rate is met to 1/65536.
    """
    if rate == 0:
        return hidden
    n_words = -(-hidden.numel() // 4)
    words = torch.randint(
        -(2**63), 2**63 - 1, (n_words,), generator=generator, device=hidden.device
    )
    draws = words.view(torch.int16)[: hidden.numel()].view_as(hidden)
    threshold = round(rate * 2**16) - 2**15 - 0.5
    scaled = hidden / (1 - rate)
    return torch.ops.aten.threshold_backward(scaled, draws.to(hidden.dtype), threshold)
