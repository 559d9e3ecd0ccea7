"""Closed-form gradients of the convolutional network.

With patches ``X`` (n, positions, patch_dim), responses
``R = relu(X W' + b)``, pooled features ``P = Q R^q`` (n, cells, m), where Q says how
much each position counts in each cell, and scores linear in P::

    D = (Q' dL/dP) * q R^(q-1)
    dL/dW = D' X        dL/db = D' 1        (sums over rows and positions)

Heads are linear in P: see `_training.gradients`.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class PooledResponses(NamedTuple):
    """What filters make of patches."""

    responses: Tensor  # (n_samples, n_positions, n_filters), before the power
    pooled: Tensor  # (n_samples, n_cells * n_filters)


class FilterGradients(NamedTuple):
    """Gradient of the loss in the filters."""

    filters: Tensor  # (n_filters, patch_dim)
    biases: Tensor  # (n_filters,)


def pool_responses(
    patches: Tensor, filters: Tensor, biases: Tensor, pool: Tensor, power: float
) -> PooledResponses:
    """Pooled ``relu(<w_r, x_h> + b_r)^q`` of all filters r over the patches h.

    Parameters
    ----------
    patches : Tensor of shape (n_samples, n_positions, patch_dim)
    filters : Tensor of shape (n_filters, patch_dim)
    biases : Tensor of shape (n_filters,)
    pool : Tensor of shape (n_cells, n_positions)
        Weight of each position in each cell.
    power : float
    """
    n_samples, n_positions, patch_dim = patches.shape
    flat = torch.addmm(biases, patches.reshape(-1, patch_dim), filters.T).relu_()
    responses = flat.view(n_samples, n_positions, len(filters))
    powered = responses if power == 1 else responses.pow(power)
    pooled = torch.matmul(pool, powered)
    return PooledResponses(responses, pooled.flatten(1))


def filter_gradients(
    patches: Tensor,
    responses: Tensor,
    pooled_gradient: Tensor,
    pool: Tensor,
    power: float,
) -> FilterGradients:
    """Gradient of the loss in the filters, given its gradient in the pooled features.

    Parameters
    ----------
    patches, pool, power
        As for `pool_responses`.
    responses : Tensor of shape (n_samples, n_positions, n_filters)
    pooled_gradient : Tensor of shape (n_samples, n_cells * n_filters)
    """
    n_filters = responses.shape[-1]
    cells = pooled_gradient.view(len(pooled_gradient), len(pool), n_filters)
    outer = torch.matmul(pool.T, cells)
    if power == 1:
        outer = torch.ops.aten.threshold_backward(outer, responses, 0)
    else:
        outer *= responses.pow(power - 1).mul_(power)
    outer = outer.view(-1, n_filters)
    flat = patches.reshape(-1, patches.shape[-1])
    return FilterGradients(outer.T @ flat, outer.sum(0))
