"""Responses of the filters of a trained network: pooled, or at all positions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from mtrl_sklearn._arrays.rows import (
    Rows,
    map_rows,
    to_tensor,
    torch_dtype,
    working_dtype,
)
from mtrl_sklearn._conv.gradients import pool_responses
from mtrl_sklearn._conv.network import ConvNetwork
from mtrl_sklearn._conv.patches import PatchGrid


@torch.no_grad()
def pool_rows(
    rows: np.ndarray,
    network: ConvNetwork,
    grid: PatchGrid,
    power: float,
    device: str,
    finish: Callable[[np.ndarray, slice], np.ndarray] | None = None,
) -> np.ndarray:
    """Pooled features of rows, of shape (n_samples, n_cells * n_filters).

    Parameters
    ----------
    rows : ndarray of shape (n_samples, prod(input_shape))
    network : ConvNetwork
    grid : PatchGrid
    power : float
    device : str
    finish : callable, default=None
        Called with features of some rows at a time, and which these are; the result is
        what it makes of them, a row for each.
    """
    inputs = Rows(rows, torch_dtype(working_dtype(rows.dtype)), device)
    arrays = (network.filters, network.biases, grid.pooling_matrix())
    filters, biases, pool = (to_tensor(a, device).to(inputs.dtype) for a in arrays)
    places = to_tensor(grid.places(), device)
    is_unused = (filters == 0).all(0)

    def pool_block(block: slice) -> np.ndarray:
        patches = grid.extract(inputs.take(block) / network.scale, places)
        if is_unused.any():  # however large they are
            patches = patches.masked_fill(is_unused, 0)
        pooled = pool_responses(patches, filters, biases, pool, power).pooled
        features: np.ndarray = pooled.cpu().numpy()
        return features if finish is None else finish(features, block)

    return map_rows(pool_block, len(inputs), grid.block_rows(len(filters)))


@torch.no_grad()
def map_positions(
    rows: np.ndarray,
    network: ConvNetwork,
    grid: PatchGrid,
    power: float,
    device: str,
    finish: Callable[[np.ndarray, slice], np.ndarray],
) -> np.ndarray:
    """What ``finish`` makes of responses at all positions, see `pool_rows`.

    It gets those of some rows, of shape (n_rows, n_positions, n_filters), with the
    power taken, and which rows these are.
    """
    each = replace(grid, pooling=grid.positions)  # a cell for each position

    def unpool(features: np.ndarray, block: slice) -> np.ndarray:
        return finish(
            features.reshape(len(features), grid.n_positions, len(network.filters)),
            block,
        )

    return pool_rows(rows, network, each, power, device, unpool)
