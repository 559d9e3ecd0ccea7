"""Closed-form gradients of the losses of the two-layer ReLU network.

With hidden features ``H = relu(Z W' + b)``, scores ``F = H
A' + c`` and ``G = dL/dF``, of shape (n, T)::

    dL/dA = G' H        dL/dc = G' 1
    D = (G A) * 1[H > 0]
    dL/dW = D' Z        dL/db = D' 1

Heads and representation are two functions, because the paper's order updates the heads
first and takes the gradient of the representation at the updated heads. G comes from
`MultiTaskLoss.gradient`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mtrl_sklearn._arrays.products import (
    Factor,
    as_dtype,
    entries,
    is_dense,
    multiply,
    multiply_at,
    multiply_transposed,
    with_values,
)
from mtrl_sklearn._group import BatchPart


class RepresentationGradients(NamedTuple):
    """Gradient of the loss in the first layer."""

    hidden_weights: Tensor  # (n_hidden, n_features)
    hidden_biases: Tensor  # (n_hidden,)


def hidden_layer(inputs: Factor, weights: Tensor, biases: Tensor) -> Tensor:
    """``relu(Z W' + b)`` of dense or sparse inputs, of shape (n_samples, n_hidden)."""
    if is_dense(inputs):
        return torch.addmm(biases, inputs, weights.T).relu_()
    return multiply(inputs, weights.T).add_(biases).relu_()


def task_scores(
    hidden: Tensor, task_coef: Tensor, task_intercept: Tensor, signs: Tensor
) -> Tensor:
    """Scores of tasks on hidden features (n_samples, n_hidden).

    Of shape (n_samples, n_tasks) for dense signs; for CSR ones those of the observed
    labels, in their order.
    """
    if is_dense(signs):
        return torch.addmm(task_intercept, hidden, task_coef.T)
    scores = multiply_at(
        signs, as_dtype(hidden, signs.dtype), as_dtype(task_coef, signs.dtype)
    )
    return scores.add_(task_intercept[signs.col_indices()])


def representation_gradients(
    inputs: Factor,
    hidden: Tensor,
    scores_gradient: Tensor,
    task_coef: Tensor,
    keep_probability: float = 1.0,
) -> RepresentationGradients:
    """Gradient of the loss in the first layer, given its gradient in the scores.

    Parameters
    ----------
    inputs : Tensor or ShiftedRows of shape (n_samples, n_features)
    hidden : Tensor of shape (n_samples, n_hidden)
        After dropout, if any: a unit that was dropped is 0 and passes no gradient.
    scores_gradient : Tensor of shape (n_samples, n_tasks)
        Dense or CSR.
    task_coef : Tensor of shape (n_tasks, n_hidden)
    keep_probability : float
        ``1 - dropout``; kept units were scaled by its inverse.
    """
    if keep_probability < 1:
        kept = entries(scores_gradient) / keep_probability
        scores_gradient = with_values(scores_gradient, kept)
    gated = gate(multiply(scores_gradient, task_coef), hidden)
    return RepresentationGradients(pull_back(gated, inputs), gated.sum(0))


def gate(outer: Tensor, hidden: Tensor) -> Tensor:
    """Set entries to 0, in place, where a hidden unit is not active."""
    return torch.ops.aten.threshold_backward.grad_input(
        outer, hidden, 0, grad_input=outer
    )


def pull_back(gated: Tensor, inputs: Factor) -> Tensor:
    """``D' Z`` (n_hidden, n_features), in the memory layout of `TwoLayerReLU`."""
    return multiply_transposed(inputs, gated).T


def dropout_(
    hidden: Tensor,
    rate: float,
    generator: torch.Generator,
    part: BatchPart | None = None,
) -> Tensor:
    """Set entries to 0 with probability ``rate``, in place, and scale the others.

    Draws are made for the rows of all ranks, of which ``part`` says which are here:
    results do not depend on how rows are spread.

    Eight draws come out of each random integer, which makes this several times faster
    on a CPU than torch's bernoulli; four where 8 bits do not give the rate, which is
    then met to 1/65536 (in bfloat16 to 1/512).
    """
    if rate == 0:
        return hidden
    dtype = torch.int8 if (256 * rate).is_integer() else torch.int16
    bits = torch.iinfo(dtype).bits
    part = part or BatchPart(len(hidden))
    n_draws = part.n_rows * hidden.shape[1]
    n_words = -(-n_draws * bits // 64)
    words = torch.empty(n_words, dtype=torch.int64, device=hidden.device)
    words.random_(-(2**63), None, generator=generator)
    draws = words.view(dtype)[:n_draws].view(part.n_rows, -1)[part.places]
    draws = draws.to(hidden.dtype)
    threshold = round(rate * 2**bits) - 2 ** (bits - 1) - 0.5
    hidden.mul_(1 / (1 - rate))
    return torch.ops.aten.threshold_backward.grad_input(
        hidden, draws, threshold, grad_input=hidden
    )
