"""Signs of a sparse multilabel indicator: few are positive, and none is missing."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeGuard

import numpy as np
from scipy.sparse import csr_array, vstack


class Indicator:
    """Signs that store the positive labels; all others are negative.

    Rows are taken as of an array, and come as another indicator. Rows and columns that
    are taken together come as an array.

    Parameters
    ----------
    positive : csr_array of shape (n_samples, n_tasks), int8
        1 where a label is positive, nothing elsewhere.
    others : ndarray of shape (n_tasks,), int8, default=None
        -1 for a task, or 0 where its labels do not count. None is -1 for all.
    """

    dtype = np.dtype(np.int8)

    def __init__(self, positive: csr_array, others: np.ndarray | None = None):
        self.positive = positive
        if others is None:
            others = np.full(positive.shape[1], -1, dtype=np.int8)
        self.others = others

    @property
    def shape(self) -> tuple[int, int]:
        return self.positive.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, tuple):
            return Indicator(self.positive[index], self.others)
        rows, columns = index
        return Indicator(
            self.positive[rows][:, columns], self.others[columns]
        ).toarray()

    def toarray(self) -> np.ndarray:
        """Signs of shape (n_samples, n_tasks), int8."""
        return np.where(self.positive.toarray(), np.int8(1), self.others)

    def keep(self, usable: np.ndarray) -> "Indicator":
        """The same with signs of 0 for other tasks.

        Parameters
        ----------
        usable : ndarray of shape (n_tasks,), bool
        """
        positive = self.positive
        kept = usable[positive.indices]
        starts = np.concatenate([[0], np.cumsum(kept)])[positive.indptr]
        parts = positive.data[kept], positive.indices[kept], starts
        return Indicator(csr_array(parts, shape=self.shape), self.others * usable)

    def columns(self) -> Iterator[np.ndarray]:
        """Signs of each task in turn, of shape (n_samples,), int8."""
        by_task = self.positive.tocsc()
        bounds = pairwise(by_task.indptr.tolist())
        for (start, stop), other in zip(bounds, self.others):
            signs = np.full(len(self), other)
            signs[by_task.indices[start:stop]] = 1
            yield signs

    def count(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of positive and of negative labels per task, int64."""
        n_positive = np.bincount(self.positive.indices, minlength=self.shape[1])
        return n_positive, np.where(self.others < 0, len(self) - n_positive, 0)


def is_indicator(signs: Any) -> TypeGuard[Indicator]:
    """Whether signs are those of a sparse indicator."""
    return isinstance(signs, Indicator)


def stack_indicators(parts: Sequence[Indicator]) -> Indicator:
    """Rows of several ranks, one after the other."""
    whole = vstack([part.positive for part in parts], format="csr")
    return Indicator(whole, parts[0].others)


def stored_values(matrix: csr_array) -> np.ndarray:
    """Distinct values other than 0 that a matrix stores, of shape (n_values,)."""
    data = _without_duplicates(matrix).data
    return np.unique(data[data != 0])


def find_positive(matrix: csr_array) -> csr_array:
    """1 where a matrix stores anything but 0, int8; sorted within rows, none twice."""
    matrix = _without_duplicates(matrix)
    stored = matrix.data != 0
    starts = np.concatenate([[0], np.cumsum(stored)])[matrix.indptr]
    ones = np.ones(starts[-1], dtype=np.int8)
    return csr_array((ones, matrix.indices[stored], starts), shape=matrix.shape)


def _without_duplicates(matrix: csr_array) -> csr_array:
    if matrix.has_canonical_format:
        return matrix
    matrix = matrix.copy()  # it may be the caller's
    matrix.sum_duplicates()
    return matrix
