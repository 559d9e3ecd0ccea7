"""Labels as a call got them: with tasks, rows and weights, of which some may be 0."""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from mtrl_sklearn._arrays.conversion import as_numpy, read_sparse
from mtrl_sklearn._arrays.validation import check_weights
from mtrl_sklearn._labels.columns import (
    Labels,
    check_label_per_row,
    drop_missing,
    read_labels,
)
from mtrl_sklearn._warnings import warn_user

# Weights whose mean is less are told: they may have been meant as shares.
LEAST_MEAN = 0.1

# Of the largest weight: beyond, sums of squares are out of the range of floats.
SMALLEST, LARGEST = 1e-15, 1e15


class GivenLabels(NamedTuple):
    """What a caller says of labels, each of any kind that can be read."""

    y: Any  # (n_samples,), (n_samples, n_outputs) or (n_labels,)
    tasks: Any = None  # (n_samples,) or (n_labels,)
    rows: Any = None  # (n_labels,), of the inputs
    sample_weight: Any = None  # one for each entry of y

    def take(self, places: np.ndarray) -> "GivenLabels":
        """Some of the entries."""
        y = as_numpy(self.y, "y")
        y = read_sparse(y) if issparse(y) else y
        y, tasks, rows, weights = (
            None if part is None else _safe_indexing(part, places)
            for part in (y, *self[1:])
        )
        return GivenLabels(y, tasks, rows, weights)


def read_given(
    given: GivenLabels, n_samples: int, may_be_none: bool = False
) -> tuple[Labels, np.ndarray | None]:
    """Take labels apart, but for those of weight 0, which are left out.

    So are, with their rows, entries of the long form whose label is missing.

    Parameters
    ----------
    given : GivenLabels
    n_samples : int
        Rows of the inputs.
    may_be_none : bool, default=False
        Whether all may be of weight 0.

    Returns
    -------
    labels : Labels
    kept : ndarray of shape (n_kept,) or None
        Positions of the rows of inputs that these labels belong to; None is all.

    Raises
    ------
    ValueError
        If labels, ids or rows cannot be read, weights are negative, not finite or of
        no count's size, or all are 0 though they may not be, or lengths differ.
    """
    if given.sample_weight is None or given.y is None:
        return drop_missing(
            read_labels(given.y, given.tasks, given.rows, None, n_samples)
        )
    weights = check_weights(given.sample_weight, given.y, may_be_none)
    check_counts(weights)
    if weights.all():
        of_labels = _unless_one(weights)
        return drop_missing(
            read_labels(given.y, given.tasks, given.rows, of_labels, n_samples)
        )
    for name, values in zip(given._fields[1:3], given[1:3]):
        if values is not None and _num_samples(values) != len(weights):
            raise ValueError(
                f"{name} has {_num_samples(values)} entries, but y has {len(weights)}. "
                "Pass one for each label."
            )
    if given.rows is None and given.tasks is not None:
        check_label_per_row(len(weights), n_samples)
    if given.rows is None and len(weights) != n_samples:
        raise ValueError(
            f"y has {len(weights)} entries, but X has {n_samples} rows. Pass as many."
        )
    kept = np.flatnonzero(weights)
    y, tasks, rows, weights = given._replace(sample_weight=weights).take(kept)
    if rows is not None:
        return read_labels(y, tasks, rows, _unless_one(weights), n_samples), None
    labels, observed = drop_missing(read_labels(y, tasks, None, _unless_one(weights)))
    return labels, kept if observed is None else kept[observed]


def check_counts(weights: np.ndarray) -> None:
    """Refuse weights that are no counts, and tell of those that may be shares.

    Raises
    ------
    ValueError
        If the largest one is of another order of magnitude than any count, but 0.
    """
    if not weights.any():
        return
    largest = float(weights.max())
    if not SMALLEST <= largest <= LARGEST:
        raise ValueError(
            f"The largest sample_weight is {largest:.3g}, but weights are counts, of "
            f"{SMALLEST:g} to {LARGEST:g} at most. Divide them by their mean."
        )
    total, n_labels = float(weights.sum()), np.count_nonzero(weights)
    if total < LEAST_MEAN * n_labels:
        warn_user(
            f"The sum of sample_weight is {total:.3g} for {n_labels} entries of y: "
            "weights are counts, and so few labels say little of how frequent a class "
            "is. Multiply them by a number, such as 1 / sample_weight.mean()."
        )


def _unless_one(weights: np.ndarray) -> np.ndarray | None:
    """Weights, or None where all are 1, which changes nothing."""
    return None if (weights == 1).all() else weights
