"""Classes of one task, of which each row has a label."""

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import DataConversionWarning

from mtrl_sklearn._labels.columns import Column, as_array, read_column
from mtrl_sklearn._labels.values import comparable, find_two_values, is_text
from mtrl_sklearn._warnings import warn_user


def read_class_labels(y: Any, name: str = "y") -> np.ndarray:
    """One class label per row, of shape (n_samples,) and a proper dtype; none missing.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, 1)
    name : str, default="y"
        What errors call it.

    Raises
    ------
    ValueError
        If labels are missing, infinite or of mixed type.
    """
    array = _read_one_per_row(y, name)
    labels = read_column(array, name).values
    if len(labels) < len(array):
        raise ValueError(
            f"{name} contains NaN or None in {len(array) - len(labels)} of "
            f"{len(array)} rows. Drop the rows without a label."
        )
    return labels


def read_class_column(y: Any) -> Column:
    """Labels of the only column of y, and their rows; others are missing.

    Parameters
    ----------
    y : array-like of shape (n_samples, 1)

    Raises
    ------
    ValueError
        If labels are infinite or of mixed type.
    """
    return read_column(_read_one_per_row(y, "y"), "y")


def _read_one_per_row(y: Any, name: str) -> np.ndarray:
    """Labels as given, of shape (n_samples,)."""
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None."
        )
    array = as_array(y)
    if array.ndim == 2 and array.shape[1] == 1:
        warn_user(
            f"A column-vector {name} was passed when a 1d array was expected. Pass "
            f"{name}.ravel().",
            DataConversionWarning,
        )
        array = array[:, 0]
    if array.ndim != 1:
        got = "a sparse matrix" if issparse(y) else f"an array of shape {array.shape}"
        raise ValueError(
            f"{name} should be a 1d array with one label for each row, got {got}."
        )
    return array


def find_distinct(values: np.ndarray, name: Any) -> np.ndarray:
    """Sorted distinct labels of one output; continuous values are refused."""
    if (two := find_two_values(values)) is not None:
        return two
    distinct = np.unique(values)
    if distinct.dtype.kind == "f" and (distinct != np.round(distinct)).any():
        raise ValueError(
            f"Unknown label type: continuous. The labels of {name!r} take "
            f"{len(distinct)} values such as {distinct[0].item()} and "
            f"{distinct[1].item()}; a task needs classes. Threshold continuous "
            "outcomes first."
        )
    return distinct


def find_classes(labels: np.ndarray, name: str = "y") -> np.ndarray:
    """Sorted distinct labels; a single one, or continuous values, are refused."""
    classes = find_distinct(labels, name)
    if len(classes) < 2:
        remedy = "Add rows of another class" if name == "y" else "Name all of them"
        raise ValueError(
            f"{name} shows {len(classes)} class ({classes.tolist()}), but at least 2 "
            f"are needed. {remedy}."
        )
    return classes


def find_codes(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Position of each value in sorted known ones, -1 where it is not among them."""
    if is_text(values) != is_text(known):
        return np.full(len(values), -1)
    values, known = comparable(values, known)
    places = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[places] == values, places, -1)
