"""Features of a network that was never trained, as a baseline."""

import numpy as np
from scipy.sparse import csr_array, issparse

from mtrl_sklearn._arrays.rows import rows_at_once


def random_features(
    rows: np.ndarray | csr_array, n_hidden: int, seed: int
) -> np.ndarray:
    """Features of a ReLU layer with Gaussian weights, on centred rows.

    Parameters
    ----------
    rows : ndarray or CSR array of shape (n_samples, n_features)
    n_hidden : int
    seed : int

    Returns
    -------
    ndarray of shape (n_samples, n_hidden)
        Of the dtype of the rows.
    """
    rng = np.random.default_rng(seed)
    n_samples, n_features = rows.shape
    hidden = np.empty((n_samples, n_hidden), rows.dtype)
    mean = rows.mean(axis=0)
    is_sparse = issparse(rows)
    rows = rows if is_sparse else rows - mean
    size = rows_at_once(n_features)
    for start in range(0, n_hidden, size):
        units = slice(start, min(start + size, n_hidden))
        W = rng.standard_normal((units.stop - start, n_features)).astype(rows.dtype)
        hidden[:, units] = rows @ W.T
        if is_sparse:
            hidden[:, units] -= W @ mean
    return np.maximum(hidden, 0, out=hidden)
