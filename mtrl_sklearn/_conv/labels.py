"""Labels of rows one by one, of the row's own source or of a column of y."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_consistent_length

from mtrl_sklearn._labels.classes import read_class_labels
from mtrl_sklearn._labels.columns import Labels, as_array, read_labels, read_task_ids
from mtrl_sklearn._labels.encoding import brief
from mtrl_sklearn._labels.values import concatenate_values

PER_TASK = "per_task"  # the kind of head of which each task has its own


class RowLabels(NamedTuple):
    """Labels that were observed, ordered by rows and then by columns."""

    values: np.ndarray  # (n_labels,)
    rows: np.ndarray  # (n_labels,), of X
    # (n_labels,): ids of sources, or positions of columns; None is a single source.
    tasks: np.ndarray | None
    columns: np.ndarray | None = None  # (n_columns,), names or numbers of columns

    def select(self, chosen: np.ndarray) -> "RowLabels":
        """Some of the labels, by a mask of shape (n_labels,)."""
        tasks = None if self.tasks is None else self.tasks[chosen]
        kept = self.values[chosen], self.rows[chosen]
        return RowLabels(*kept, tasks, self.columns)


def read_row_labels(X: Any, y: Any, tasks: Any, head: str) -> RowLabels:
    """Labels of rows, each of which has one, or of columns with missing labels.

    Parameters
    ----------
    X : array-like of length n_samples
    y : array-like of shape (n_samples,) or (n_samples, n_columns)
        Columns are read where each has a head of its own.
    tasks : array-like of shape (n_samples,) or None
    head : {"shared", "fixed", "per_task"}

    Raises
    ------
    ValueError
        If there are columns beside ``tasks``, or with heads for all tasks, if ids or
        labels of rows are missing, or if labels cannot be read.
    """
    shape = _shape_of(y)
    n_columns = shape[1] if len(shape) == 2 else 0
    is_column = n_columns == 1 and (tasks is not None or head != PER_TASK)
    if len(shape) != 2 or is_column:
        values = read_class_labels(y)
        ids = None if tasks is None else read_task_ids(tasks)
        check_consistent_length(X, values, ids)
        return RowLabels(values, np.arange(len(values)), ids)
    if head != PER_TASK:
        raise ValueError(
            "y should be a 1d array with one label for each row, got an array of shape "
            f"{shape}, and head={head!r} is one head for all. Set head='per_task', "
            "which trains a head for each column, or pass y of shape (n_samples,)."
        )
    if tasks is not None:
        raise ValueError(
            "With tasks=, y should be a 1d array with one label for each row, got an "
            f"array of shape {shape}, whose columns are tasks themselves. Drop tasks=, "
            "or pass y of shape (n_samples,)."
        )
    labels = read_labels(y, None)
    check_consistent_length(X, np.empty(labels.n_samples))
    return _read_columns(labels)


def _shape_of(y: Any) -> tuple[int, ...]:
    if y is None:
        return ()
    return tuple(y.shape if hasattr(y, "shape") else as_array(y).shape)


def _read_columns(labels: Labels) -> RowLabels:
    names = labels.names
    if names is None:
        names = np.arange(labels.n_outputs)
    if len(set(names.tolist())) < labels.n_outputs or len(names) > labels.n_outputs:
        raise ValueError(
            f"The columns of y need distinct names, got {brief(names.tolist())}. "
            "Rename them or pass y as an array."
        )
    parts = list(labels.columns)
    shown = [part.values for part in parts if len(part.values)]
    if not shown:
        raise ValueError(
            "y holds no observed label: every entry is missing (NaN, None or NA)."
        )
    values = concatenate_values(shown, "y")
    rows = np.concatenate([part.rows for part in parts])
    columns = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])
    order = np.argsort(rows, kind="stable")
    ordered = values[order], rows[order], columns[order]
    return RowLabels(*ordered, names)


def match_columns(columns: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Position among those of fit of each column of y; without names in their order.

    Parameters
    ----------
    columns, known : ndarray of shape (n_columns,)
        Names; or numbers from 0 on, where there were none.

    Raises
    ------
    ValueError
        If columns differ from those of fit.
    """
    numbers = list(range(len(known)))
    got, expected = columns.tolist(), known.tolist()
    if len(got) == len(expected) and numbers in (got, expected):
        return np.arange(len(got))
    if sorted(map(str, got)) != sorted(map(str, expected)):
        raise ValueError(
            f"The columns of y differ from those of fit: got {brief(got)}, fitted on "
            f"{brief(expected)}. Pass the same columns, or fit again; a new task "
            "learns from few labels with mtrl_sklearn.probing.LinearProbe."
        )
    position = {str(name): k for k, name in enumerate(expected)}
    return np.array([position[str(name)] for name in got], dtype=np.intp)
