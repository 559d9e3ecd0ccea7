"""Features of a network that was never trained, as a baseline."""

import numpy as np


def random_features(rows: np.ndarray, n_hidden: int, seed: int) -> np.ndarray:
    """Features of a ReLU layer with Gaussian weights, on centred rows.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
    n_hidden : int
    seed : int

    Returns
    -------
    ndarray of shape (n_samples, n_hidden)
        Of the dtype of the rows.
    """
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((n_hidden, rows.shape[1])).astype(rows.dtype)
    hidden = (rows - rows.mean(axis=0)) @ W.T
    return np.maximum(hidden, 0, out=hidden)
