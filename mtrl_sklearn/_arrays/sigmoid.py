"""The logistic function of arrays, as torch computes it."""

import numpy as np
import torch

from mtrl_sklearn._arrays.rows import to_tensor


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-score))`` of each entry; scipy's takes ten times as long.

    Parameters
    ----------
    scores : ndarray of floats, of any shape
    """
    return torch.sigmoid(to_tensor(scores, "cpu")).numpy()
