"""Labels and predictions as tables, for scores of many tasks."""

from typing import Any

import numpy as np
from scipy.sparse import issparse

from mtrl_sklearn._labels.encoding import as_array, is_missing, learn_encoding
from mtrl_sklearn._labels.positive import put_positive_last


def label_table(y: Any, name: str) -> np.ndarray:
    """Labels as an array of shape (n_samples, n_tasks), nothing converted."""
    if issparse(y):
        raise TypeError(
            f"{name} is a sparse matrix, in which a missing label cannot be told from "
            f"class 0. Pass {name}.toarray(), with NaN where nothing was observed."
        )
    values = as_array(y)
    if values.ndim not in (1, 2):
        raise ValueError(
            f"{name} should be a dense array of shape (n_samples,) or (n_samples, "
            f"n_tasks), got {type(y).__name__} of shape {values.shape}."
        )
    return values[:, None] if values.ndim == 1 else values


def check_aligned(y_true: Any, true: np.ndarray, other: Any, table: np.ndarray) -> None:
    """Refuse labels and predictions that do not belong together.

    Parameters
    ----------
    y_true, other : array-likes
        As the caller passed them.
    true, table : ndarrays of shape (n_samples, n_tasks)
        What was read from them.
    """
    if true.shape[1] == 1 < table.shape[1] and len(true) == len(table):
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
