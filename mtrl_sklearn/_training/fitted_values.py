"""Kinds of values that fitted arrays hold, and the check that an array has its own."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mtrl_sklearn._files.arrays import Refusal


class Kind(NamedTuple):
    """What entries of an array have to be."""

    dtypes: tuple[str, ...]  # with their size, or all sizes of a kind
    is_right: Callable[[np.ndarray], np.ndarray]  # of an array: which entries are
    what: str  # in words


def _is_positive(array: np.ndarray) -> np.ndarray:
    return np.isfinite(array) & (array > 0)


def _is_non_negative(array: np.ndarray) -> np.ndarray:
    return np.isfinite(array) & (array >= 0)


def _is_whole(array: np.ndarray) -> np.ndarray:
    return _is_non_negative(array) & (array == np.floor(array))


def _is_score(array: np.ndarray) -> np.ndarray:
    return np.isnan(array) | (array <= 1)


def _falls(array: np.ndarray) -> np.ndarray:
    before = np.concatenate([array[:1], array[:-1]])
    return _is_non_negative(array) & (array <= before)


def _rises(array: np.ndarray) -> np.ndarray:
    rises = np.ones(len(array), dtype=bool)
    rises[1:] = array[1:] > array[:-1]
    return rises & np.isfinite(array) if array.dtype.kind == "f" else rises


def _is_new(array: np.ndarray) -> np.ndarray:
    values = array.tolist()
    first = {value: place for place, value in reversed([*enumerate(values)])}
    return np.array([first[v] == k for k, v in enumerate(values)], dtype=bool)


def _is_new_text(array: np.ndarray) -> np.ndarray:
    is_text = np.array([isinstance(value, str) for value in array], dtype=bool)
    return _is_new(array) if is_text.all() else is_text


def _is_anything(array: np.ndarray) -> np.ndarray:
    return np.ones(array.shape, dtype=bool)


FLOATS = ("f4", "f8")
NUMBERS_OR_TEXT = ("b", "i", "u", "f", "U", "T")

KINDS = {
    "weight": Kind(FLOATS, np.isfinite, "finite floats"),  # all of one dtype
    "float": Kind(FLOATS, np.isfinite, "finite floats"),
    "moment": Kind(FLOATS, _is_non_negative, "floats of at least 0"),
    "scale": Kind(FLOATS, _is_positive, "positive floats"),
    "steps": Kind(FLOATS, _is_whole, "whole numbers of at least 0"),
    "score": Kind(FLOATS, _is_score, "scores of at most 1, or NaN"),
    "spectrum": Kind(FLOATS, _falls, "descending floats of at least 0"),
    "count": Kind(("i4", "i8"), _is_whole, "integers of at least 0"),
    "total": Kind(("i4", "i8", "f8"), _is_non_negative, "numbers of at least 0"),
    "byte": Kind(("u1",), _is_anything, "bytes"),
    "name": Kind(("O",), _is_new_text, "distinct names"),
    "label": Kind((*NUMBERS_OR_TEXT, "O"), _is_new, "distinct labels"),
    "class": Kind(NUMBERS_OR_TEXT, _rises, "distinct labels in ascending order"),
}


def check_kind(name: str, found: Any, kind: str, n_axes: int) -> None:
    """Check that a value is an array of a kind, with so many axes.

    Raises
    ------
    Refusal
        If it is not. It names the attribute, and tells the first wrong entry.
    """
    dtypes, is_right, what = KINDS[kind]
    if not isinstance(found, np.ndarray):
        raise improper(name, f"an array of {what}", found)
    if found.ndim != n_axes or not {found.dtype.kind, found.dtype.str[1:]} & {*dtypes}:
        of_another = f"{found.dtype} of shape {found.shape}"
        raise improper(name, f"{what} along {n_axes} axes", of_another)
    right = is_right(found)
    if not right.all():
        wrong = found.reshape(-1).tolist()[right.argmin()]
        raise improper(name, what, repr(wrong))


def improper(name: str, expected: str, found: Any) -> Refusal:
    """What is wrong with a fitted attribute."""
    shown = found if isinstance(found, str) else repr(found)
    return Refusal(f"holds no proper {name}: expected {expected}, found {shown:.80}")
