"""Labels and predictions as tables, for scores of many tasks."""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

from mtrl_sklearn._arrays.conversion import as_numpy, dense_remedy
from mtrl_sklearn._labels.columns import as_array, is_missing, read_indicator
from mtrl_sklearn._labels.encoding import learn_encoding
from mtrl_sklearn._labels.positive import put_positive_last
from mtrl_sklearn._labels.signs import BLOCK_BYTES


def label_table(y: Any, name: str) -> np.ndarray:
    """Labels as an array of shape (n_samples, n_tasks), nothing converted.

    Of a sparse indicator all labels are written out.
    """
    values = as_numpy(y, name)
    values = values.toarray() if issparse(values) else as_array(values)
    if values.ndim not in (1, 2):
        raise ValueError(
            f"{name} should be a dense array of shape (n_samples,) or (n_samples, "
            f"n_tasks), got {type(y).__name__} of shape {values.shape}."
        )
    return values[:, None] if values.ndim == 1 else values


class SparseLabels(NamedTuple):
    """Labels of a sparse indicator, of which none is written out."""

    positive: csr_array  # (n_samples, n_tasks), 1 where positive
    classes: np.ndarray  # (2,), the negative and the positive one

    @property
    def shape(self) -> tuple[int, int]:
        return self.positive.shape

    def take(self, rows: slice) -> np.ndarray:
        """Labels of some rows as an array."""
        negative, positive = self.classes
        return np.where(self.positive[rows].toarray(), positive, negative)


def sparse_labels(y: Any, name: str) -> SparseLabels | None:
    """Labels of a sparse indicator; None for all else.

    Raises
    ------
    ValueError
        If a sparse matrix is no indicator.
    """
    labels = read_indicator(y, name) if dense_remedy(y, name) else None
    if labels is None or labels.classes is None:
        return None
    return SparseLabels(labels.positive, labels.classes)


def count_right(
    labels: SparseLabels,
    pred: np.ndarray | SparseLabels,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Number of predicted labels that are right, of shape (n_tasks,).

    Parameters
    ----------
    labels : SparseLabels
    pred : ndarray of shape (n_samples, n_tasks) or SparseLabels
        Predicted labels, which need not be among the true ones.
    weights : ndarray of shape (n_samples,), default=None
        How often each row counts.

    Raises
    ------
    ValueError
        If predictions are strings, or continuous.
    """
    if isinstance(pred, np.ndarray) and pred.dtype.kind not in "biufO":
        raise ValueError(
            f"y_true holds numbers and y_pred {pred.dtype}. Pass labels of one type."
        )
    n_samples, n_tasks = labels.shape
    right = np.zeros(n_tasks)
    n_rows = max(1, BLOCK_BYTES // n_tasks)
    for start in range(0, n_samples, n_rows):
        rows = slice(start, start + n_rows)
        block = pred[rows] if isinstance(pred, np.ndarray) else pred.take(rows)
        if block.dtype.kind == "f" and (block % 1 > 0).any():
            raise ValueError(
                "Unknown label type: continuous. y_pred holds "
                f"{block[block % 1 > 0][0]}; pass labels, as predict gives them."
            )
        is_right = labels.take(rows) == block
        right += count_rows(is_right, None if weights is None else weights[rows])
    return right


def count_rows(of_rows: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Number of rows that are true, of each column, each as often as it counts.

    Parameters
    ----------
    of_rows : ndarray of shape (n_samples, n_tasks), bool
    weights : ndarray of shape (n_samples,) or None
    """
    return of_rows.sum(axis=0) if weights is None else weights @ of_rows


def check_aligned(y_true: Any, true: Any, other: Any, table: Any) -> None:
    """Refuse labels and predictions that do not belong together.

    Parameters
    ----------
    y_true, other : array-likes
        As the caller passed them.
    true, table : ndarrays or csr_arrays of shape (n_samples, n_tasks)
        What was read from them.
    """
    if true.shape[1] == 1 < table.shape[1] and true.shape[0] == table.shape[0]:
        raise ValueError(
            "y_true has one label for each row, but the predictions have "
            f"{table.shape[1]} columns. For labels of the long form use score(X, y, "
            "tasks=tasks) of the estimator, which is scoring=None in a search (with "
            "set_score_request(tasks=True)), or pass for each row the prediction for "
            "its task. For a single task pass the scores of its positive class."
        )
    if true.shape != table.shape:
        raise ValueError(
            f"y_true and the predictions differ in shape: {true.shape} and "
            f"{table.shape}, as (n_samples, n_tasks). Pass one prediction per label."
        )
    names = [list(t.columns) for t in (y_true, other) if hasattr(t, "columns")]
    if len(names) == 2 and names[0] != names[1]:
        raise ValueError(
            "y_true and the predictions are tables with different columns. Pass them "
            "with the same columns in the same order."
        )


def nothing_observed(labels: np.ndarray) -> bool:
    """Whether all labels are missing."""
    return all(map(is_missing, labels.flat))


def binary_signs(y_true: Any, labels: np.ndarray, pos_label: Any = None) -> np.ndarray:
    """Signs of labels of two classes per task.

    Parameters
    ----------
    y_true : array-like
        As the caller passed it.
    labels : ndarray of shape (n_samples, n_tasks)
        What was read from it.
    pos_label : str, number, bool, dict or None, default=None
        As for `put_positive_last`.

    Returns
    -------
    ndarray of shape (n_samples, n_tasks), int8
    """
    if nothing_observed(labels):
        return np.zeros(labels.shape, dtype=np.int8)
    encoding = learn_encoding(y_true)
    for name, classes in zip(encoding.outputs, encoding.classes):
        if len(classes) > 2:
            raise ValueError(
                f"ROC-AUC needs two classes per task, but {name} in y_true has "
                f"{len(classes)}: {classes.tolist()}. Pass one column per class, or "
                "use multitask_accuracy_score."
            )
    return put_positive_last(encoding, pos_label).encode(y_true)
