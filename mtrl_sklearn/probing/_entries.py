"""Labels of tasks entry by entry, with the input that each belongs to."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csc_array, issparse
from sklearn.utils.validation import _num_samples

from mtrl_sklearn._arrays.copies import number_inputs, number_values
from mtrl_sklearn._arrays.validation import check_weights, naming_numbers
from mtrl_sklearn._labels.columns import (
    Labels,
    check_label_per_row,
    drop_missing,
    read_labels,
    read_row_numbers,
    read_task_ids,
)
from mtrl_sklearn._labels.encoding import (
    LabelEncoding,
    find_encoding,
    warn_of_missing_codes,
)
from mtrl_sklearn._labels.given import GivenLabels
from mtrl_sklearn._labels.signs import Signs, unpack_signs
from mtrl_sklearn.probing._blocks import read_inputs


class Entries(NamedTuple):
    """Labels of rows, or those of the long form, each as often as it counts.

    Of the long form none is missing.
    """

    X: Any  # inputs, of which rows can be taken
    y: Any  # (n_entries,) or (n_entries, n_outputs), in the caller's encoding
    tasks: Any  # (n_entries,), of the long form, or None
    places: np.ndarray | None  # (n_entries,), rows of X; None where entries are these
    inputs: np.ndarray | None  # (n_entries,), which have the same one; None: none have
    has_rows: bool  # whether the row of each label was named, and X has each once
    encoding: LabelEncoding
    signs: Signs  # (n_entries, n_tasks): an array, an indicator, or a CSC array

    def of_entries(self, of_rows: np.ndarray) -> np.ndarray:
        """For each entry what there is one of for each row of X."""
        return of_rows if self.places is None else of_rows[self.places]


def read_entries(
    X: Any,
    y: Any,
    tasks: Any,
    rows: Any,
    sample_weight: Any,
    place: Callable[[LabelEncoding], LabelEncoding],
) -> Entries:
    """Validated labels of tasks, and the inputs that they belong to.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, ...)
    y, tasks, rows
        As in fit of `MultiTaskReLURepresentation`.
    sample_weight : array-like or None
        A whole number for each entry of y: how often it is to be there.
    place : callable
        Says which label is positive.

    Raises
    ------
    ValueError
        If labels, ids, rows or weights cannot be read, or lengths differ.
    """
    labels, given = read_labels(y, tasks), GivenLabels(y, tasks)
    repeated = None
    if sample_weight is not None:
        counts = read_counts(sample_weight, y)
        repeated = np.repeat(np.arange(len(counts)), counts)
        given = given.take(repeated)
        labels = read_labels(given.y, given.tasks)
    encoding = place(find_encoding(labels))
    warn_of_missing_codes(encoding)
    X, places = _read_places(X, y, tasks, rows)
    labels, observed = drop_missing(labels)
    if observed is not None:
        given = given.take(observed)
        repeated = observed if repeated is None else repeated[observed]
    if repeated is not None:
        places = repeated if places is None else places[repeated]
    return Entries(
        X,
        given.y,
        given.tasks,
        places,
        _number_entries(X, labels, places),
        rows is not None,
        encoding,
        _encode(encoding, labels),
    )


def read_counts(sample_weight: Any, y: Any) -> np.ndarray:
    """Weights as numbers of entries, of shape (n_entries,), int64.

    Raises
    ------
    ValueError
        If one is no whole number, or they cannot be read.
    """
    weights = check_weights(sample_weight, y)
    is_part = weights % 1 > 0
    if is_part.any():
        raise ValueError(
            f"sample_weight holds {weights[is_part][0]:g}, but labels are drawn here, "
            "each as often as its weight says. Pass whole numbers, such as "
            "numpy.rint(sample_weight), or leave sample_weight out."
        )
    return weights.astype(np.int64)


def has_copies(read: Entries) -> bool:
    """Whether an input has several labels of the same task."""
    if read.inputs is None:
        return False
    if read.tasks is None:
        return int(read.inputs.max()) + 1 < len(read.inputs)
    pairs = np.stack([read.inputs, number_values(read_task_ids(read.tasks))])
    return np.unique(pairs, axis=1).shape[1] < pairs.shape[1]


def _read_places(
    X: Any, y: Any, tasks: Any, rows: Any
) -> tuple[Any, np.ndarray | None]:
    """Inputs, and which of them each entry of y belongs to; None is one each."""
    n_entries = _num_samples(y)
    if rows is None and tasks is None:
        return read_inputs(X, np.empty(n_entries)), None
    with naming_numbers(X, "X") as numbers:
        n_samples = _num_samples(numbers)
    if rows is None:
        check_label_per_row(n_entries, n_samples)
        return read_inputs(X), None
    if tasks is None:
        read_labels(y, None, rows)  # refuses rows without tasks
    return read_inputs(X), read_row_numbers(rows, n_entries, n_samples)


def _number_entries(
    X: Any, labels: Labels, places: np.ndarray | None
) -> np.ndarray | None:
    """Which input each entry has, by the order they first come in; None if no two do.

    Rows of the wide form are inputs each, whatever they hold, and may be there often.
    """
    if labels.form == "long":
        numbers = number_inputs(X)
        return numbers if places is None else number_values(numbers[places])
    if places is None or len(np.unique(places)) == len(places):
        return None
    return number_values(places)


def _encode(encoding: LabelEncoding, labels: Labels) -> Signs:
    signs = encoding.encode_labels(labels, sparse=True)
    if labels.form != "long":
        return unpack_signs(signs)
    return csc_array(signs) if issparse(signs) else signs
