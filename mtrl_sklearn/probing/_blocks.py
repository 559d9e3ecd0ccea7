"""Blocks of features that a probe of a new task can see."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_array, check_is_fitted

BLOCKS = ("hidden", "scores", "inputs")


class Blocks(NamedTuple):
    """Features of rows by where they come from; None where there are none.

    ``inputs`` are those of the representation, after the steps before it in a pipeline.
    """

    hidden: np.ndarray | None  # (n_samples, n_hidden): what `transform` returns
    scores: np.ndarray | None  # (n_samples, n_source): source-task probabilities
    inputs: np.ndarray | None  # (n_samples, n_features)

    @property
    def present(self) -> dict[str, np.ndarray]:
        """The blocks there are, by name."""
        return {name: b for name, b in self._asdict().items() if b is not None}

    def take(self, rows: np.ndarray) -> "Blocks":
        """The same features of some rows."""
        return Blocks(*(None if block is None else block[rows] for block in self))


def open_representation(representation: Any, X: Any) -> tuple[Any, Any]:
    """The estimator that pipelines and `FrozenEstimator` hold, and what it is given.

    Parameters
    ----------
    representation : fitted transformer
    X : array-like
        What the representation accepts.

    Returns
    -------
    estimator : fitted transformer
        The last one of a pipeline.
    X : array-like
        Output of the steps before it.
    """
    while isinstance(representation, (FrozenEstimator, Pipeline)):
        if isinstance(representation, FrozenEstimator):
            representation = representation.estimator
        else:
            X = representation[:-1].transform(X) if len(representation) > 1 else X
            representation = representation[-1]
    check_is_fitted(representation)
    return representation, X


def compute_blocks(estimator: Any, X: Any, names: Sequence[str] = BLOCKS) -> Blocks:
    """Features that a fitted transformer gives rows.

    Parameters
    ----------
    estimator : fitted transformer
        Only those of this package have scores of source tasks.
    X : array-like
        What it accepts; rows along the first axis.
    names : sequence of str
        Blocks to compute, of "hidden", "scores" and "inputs".

    Returns
    -------
    Blocks
        Two-dimensional arrays of floats.
    """
    scores = None
    if "scores" in names and hasattr(estimator, "_source_probabilities"):
        scores = estimator._source_probabilities(X)
    return Blocks(
        as_rows(estimator.transform(X)) if "hidden" in names else None,
        scores,
        as_rows(X) if "inputs" in names else None,
    )


def as_rows(X: Any) -> np.ndarray:
    """Inputs of any shape as finite floats of shape (n_samples, n_features)."""
    X = check_array(X, dtype=[np.float64, np.float32], allow_nd=True)
    return X.reshape(len(X), -1)
