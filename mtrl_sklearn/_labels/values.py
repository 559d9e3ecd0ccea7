"""Values of labels, of a proper dtype: classes among them, signs of them, and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtrl_sklearn._labels.signs import row_blocks

# Up to this size all integers are floats of 64 bits.
EXACT = 2**53


def is_text(values: np.ndarray) -> bool:
    """Whether labels are strings, which never equal numbers."""
    return values.dtype.kind in "UT"


def find_two_values(values: np.ndarray) -> np.ndarray | None:
    """Sorted distinct values where there are at most two finite ones, else None.

    Parameters
    ----------
    values : ndarray of any shape
        NaN stands for "not observed".

    Returns
    -------
    ndarray of shape (n_distinct,), or None
    """
    found: list[Any] = []
    for rows in row_blocks(values):
        block = values[rows]
        is_new = np.asarray(block == block)
        for value in found:
            is_new &= block != value
        while is_new.any():
            value = block.flat[is_new.argmax()]
            if len(found) == 2 or (values.dtype.kind == "f" and np.isinf(value)):
                return None
            found.append(value)
            is_new &= block != value
    return np.sort(np.array(found, dtype=values.dtype))


def compare_values(
    values: np.ndarray, negative: object, positive: object
) -> np.ndarray | None:
    """Signs of values, or None where one is neither of the two.

    Parameters
    ----------
    values : ndarray of any shape
        NaN stands for "not observed".
    negative, positive : scalars

    Returns
    -------
    ndarray of the shape of ``values``, int8, or None
    """
    signs = np.empty(values.shape, dtype=np.int8)
    pair = np.array([negative, positive])
    for rows in row_blocks(values):
        block, (negative, positive) = comparable(values[rows], pair)
        above, below = block == positive, block == negative
        np.subtract(above.view(np.int8), below.view(np.int8), out=signs[rows])
        if np.count_nonzero(signs[rows]) < np.count_nonzero(block == block):
            return None
    return signs


def find_members(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Which class each value is, of shape (n_values, n_classes), bool."""
    if is_text(values) != is_text(classes):
        return np.zeros((len(values), len(classes)), dtype=bool)
    values, classes = comparable(values, classes)
    return values[:, None] == classes


def comparable(*arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays whose values are equal, and in order, only if those given are.

    numpy compares integers with floats, and signed with unsigned ones, as float64, in
    which large integers are the same.

    Parameters
    ----------
    *arrays : ndarrays of any shape
        All of strings, or none.

    Returns
    -------
    list of ndarrays
        As given where that is right already, else of objects.
    """
    kinds = {array.dtype.kind for array in arrays}
    alike = len(kinds) == 1 if "T" in kinds or "u" in kinds or "f" in kinds else True
    if alike or not any(map(_is_inexact, arrays)):
        return list(arrays)
    return [array.astype(object) for array in arrays]


def concatenate_values(parts: Sequence[np.ndarray], name: Any) -> np.ndarray:
    """Values of several arrays in one, in which distinct ones stay so.

    Raises
    ------
    ValueError
        If some are strings and others are not, or large integers meet floats.
    """
    if len({is_text(part) for part in parts}) > 1:
        raise ValueError(
            f"The labels of {name!r} mix strings and numbers. Use one type per task."
        )
    is_mixed = any(part.dtype.kind == "O" for part in comparable(*parts))
    if is_mixed and not is_text(parts[0]):
        dtypes = " and ".join(sorted({str(part.dtype) for part in parts}))
        raise ValueError(
            f"The labels of {name!r} are of {dtypes}, and hold integers beyond 2**53, "
            "which are no floats. Use one type throughout."
        )
    return np.concatenate(parts)


def _is_inexact(array: np.ndarray) -> bool:
    """Whether some strings or integers have no like in other types of numpy."""
    if array.dtype.kind == "T":
        return True
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8 or not array.size:
        return False
    return bool(array.max() > EXACT or array.min() < -EXACT)


def sign_members(members: np.ndarray) -> np.ndarray:
    """Signs for the tasks of one output, whose labels may be of none of its classes.

    Parameters
    ----------
    members : ndarray of shape (n_values, n_classes), bool

    Returns
    -------
    ndarray of shape (n_values, n_tasks), int8
        A task per class, or a single one for up to two classes: the last is positive.
    """
    signs = np.where(members, np.int8(1), np.int8(-1))
    if members.shape[1] > 2:
        return signs
    known = np.asarray(members.any(axis=1, keepdims=True))
    return signs[:, -1:] * known if members.shape[1] else known.astype(np.int8)


def choose_classes(scores: np.ndarray, classes: Sequence[np.ndarray]) -> np.ndarray:
    """The class that the scores of each output's tasks stand for.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_tasks)
    classes : sequence of n_outputs ndarrays
        Tasks of an output: see `sign_members`.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
        NaN for an output without classes.
    """
    classes = [c if len(c) else np.array([np.nan]) for c in classes]
    kinds = {c.dtype.kind for c in classes}
    if len(kinds) > 1 and not kinds <= set("iuf"):
        classes = [c.astype(object) for c in classes]
    sizes = np.array([len(c) for c in classes])
    n_tasks = np.where(sizes > 2, sizes, 1)
    starts = np.cumsum(n_tasks) - n_tasks
    chosen = ((scores[:, starts] > 0) & (sizes > 1)).astype(np.intp)
    for k in np.flatnonzero(sizes > 2):
        chosen[:, k] = scores[:, starts[k] : starts[k] + sizes[k]].argmax(axis=1)
    return np.concatenate(classes)[chosen + np.cumsum(sizes) - sizes]
