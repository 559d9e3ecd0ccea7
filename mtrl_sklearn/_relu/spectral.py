"""The subspace a first layer looks at: singular vectors, rank, truncation."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import svd
from sklearn.utils.extmath import svd_flip

from mtrl_sklearn._arrays.threads import blas_threads

# What makes an edge: the drop at it, as a ratio; that drop, in logarithm, as a multiple
# of the drop over the window of singular values below it; the size of that window.
MIN_RATIO = 1.25
MIN_CONTRAST = 1.5
MIN_CONTRAST_RANK_ONE = 4.0
MIN_WINDOW = 5


class Subspace(NamedTuple):
    """Row space of a matrix, cut at a chosen rank."""

    weights: np.ndarray  # (n_hidden, n_features), the best approximation of that rank
    components: np.ndarray  # (rank, n_features), orthonormal rows
    singular_values: np.ndarray  # (min(n_hidden, n_features),), all of them, descending


def truncate(weights: np.ndarray, rank: int | None) -> Subspace:
    """Best approximation of ``weights`` of a rank, or all of them for None.

    Features that no unit looks at stay without weight, whatever rounding leaves.

    Parameters
    ----------
    weights : ndarray of shape (n_hidden, n_features)
    rank : int or None
    """
    n_hidden, n_features = weights.shape
    with blas_threads(n_hidden * n_features * min(n_hidden, n_features)):
        left, values, right = svd(weights, full_matrices=False)
    left, right = svd_flip(left, right, u_based_decision=False)
    if rank is None or rank == len(values):
        return Subspace(weights, right, values)
    components = right[:rank] * weights.any(axis=0)
    return Subspace((left[:, :rank] * values[:rank]) @ components, components, values)


def candidate_ranks(singular_values: np.ndarray) -> list[int]:
    """Numbers of singular values above an edge in the spectrum, ascending.

    Recovered directions stand above a bulk of noise whose singular values lie close
    together. Rank r is a candidate only where the drop from value r to r + 1 is large
    (a ratio of 1.25 at least) *and* the spectrum is flat right below it: the drop in
    logarithm must be 1.5 times that over the next ``max(r, 5)`` values together. Most
    real data has one dominant direction, then a spectrum that keeps falling, so rank 1
    takes a factor of 4.

    An edge says where a cut could be made, not that it does no harm: see
    `_relu.rank_choice`.

    Parameters
    ----------
    singular_values : ndarray of shape (n,)
        In descending order.

    Returns
    -------
    list of int
        Empty for a spectrum without an edge.
    """
    rounding = 10 * len(singular_values) * np.finfo(singular_values.dtype).eps
    values = singular_values[singular_values > rounding * singular_values[0]]
    logs = np.log(values)
    ranks = []
    for rank in range(1, len(logs) - MIN_WINDOW):
        last = min(rank + max(rank, MIN_WINDOW), len(logs) - 1)
        drop, below = logs[rank - 1] - logs[rank], logs[rank] - logs[last]
        contrast = MIN_CONTRAST_RANK_ONE if rank == 1 else MIN_CONTRAST
        if drop >= max(np.log(MIN_RATIO), contrast * below):
            ranks.append(rank)
    return ranks
