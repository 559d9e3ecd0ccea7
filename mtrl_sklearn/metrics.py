"""Scores of many tasks with missing labels, and distances of subspaces.

scikit-learn's metrics reject NaN in ``y_true``; those of this module score each task
over its observed labels. With missing labels pass ``cv=KFold(...)`` to scikit-learn's
model selection: for classifiers, an integer ``cv`` stratifies, which rejects NaN too.
"""

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import subspace_angles
from scipy.stats import rankdata
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import make_scorer
from sklearn.utils import check_array
from sklearn.utils._param_validation import StrOptions, validate_params

from mtrl_sklearn._tasks import as_array, is_missing, learn_encoding

Average = Literal["macro"] | None

_check_average = validate_params(
    {"average": [StrOptions({"macro"}), None]}, prefer_skip_nested_validation=True
)


def _check_directions(A: ArrayLike, name: str) -> np.ndarray:
    rows: np.ndarray = check_array(A, dtype=np.float64, input_name=name)
    nonzero = rows.any(axis=1)
    if not nonzero.all():
        raise ValueError(
            f"{name} has {int((~nonzero).sum())} zero rows of {len(rows)}, which have "
            f"no direction. Drop them: {name}[{name}.any(axis=1)]."
        )
    return rows


def principal_angles(A: ArrayLike, B: ArrayLike) -> np.ndarray:
    """Principal angles between the row spaces of two arrays.

    Parameters
    ----------
    A : array-like of shape (n_directions_a, n_features)
        Directions as rows, like ``components_`` of scikit-learn. They need not be
        orthonormal, nor linearly independent.
    B : array-like of shape (n_directions_b, n_features)
        Directions as rows.

    Returns
    -------
    ndarray of shape (min(rank(A), rank(B)),)
        Angles in radians, ascending, in [0, pi / 2].

    Raises
    ------
    ValueError
        If an array is not finite or has a row of zeros, or numbers of features
        differ.

    Examples
    --------
    >>> import numpy as np
    >>> from mtrl_sklearn.metrics import principal_angles
    >>> angles = principal_angles([[1, 0, 0], [0, 1, 0]], [[2, 0, 0], [0, 1, 1]])
    >>> np.rad2deg(angles).round(6)
    array([ 0., 45.])
    """
    A, B = _check_directions(A, "A"), _check_directions(B, "B")
    if A.shape[1] != B.shape[1]:
        raise ValueError(
            f"A has {A.shape[1]} features and B has {B.shape[1]}. Pass directions of "
            "the same space, as rows."
        )
    return subspace_angles(A.T, B.T)[::-1]


def subspace_distance(A: ArrayLike, B: ArrayLike) -> float:
    """Sine of the largest principal angle between two row spaces.

    Parameters
    ----------
    A : array-like of shape (n_directions_a, n_features)
        Directions as rows; they need not be orthonormal.
    B : array-like of shape (n_directions_b, n_features)
        Directions as rows.

    Returns
    -------
    float
        From 0 to 1. It is 0 if one space contains the other, so compare spaces of
        the same dimension; 1 if one holds a direction orthogonal to all of the other.

    Raises
    ------
    ValueError
        As for :func:`principal_angles`.

    Examples
    --------
    >>> from mtrl_sklearn.metrics import subspace_distance
    >>> round(subspace_distance([[1, 0, 0], [0, 1, 0]], [[2, 0, 0], [0, 3, 4]]), 6)
    0.8
    """
    return float(np.sin(principal_angles(A, B)[-1]))


def masked_roc_auc(signs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each task, over its observed labels.

    It is the probability that a positive scores higher than a negative, ties counted
    half, computed from the sum of the ranks of the positives.

    Parameters
    ----------
    signs : ndarray of shape (n_samples, n_tasks), int8
        +1 positive, -1 negative, 0 not observed.
    scores : ndarray of shape (n_samples, n_tasks)
        Larger means more likely positive. Where nothing was observed they are
        ignored.

    Returns
    -------
    ndarray of shape (n_tasks,), float64
        NaN for a task with observed labels of one class only, or none.

    Raises
    ------
    ValueError
        If shapes differ, or a score is NaN where a label was observed.

    Examples
    --------
    >>> import numpy as np
    >>> from mtrl_sklearn.metrics import masked_roc_auc
    >>> signs = np.array([[1, 1], [-1, 0], [0, 1], [-1, 1]], dtype=np.int8)
    >>> scores = np.array([[0.7, 0.1], [0.2, 0.2], [0.9, 0.3], [0.7, 0.4]])
    >>> masked_roc_auc(signs, scores)
    array([0.75,  nan])
    """
    if signs.shape != scores.shape:
        raise ValueError(
            f"signs and scores should have one shape, got {signs.shape} and "
            f"{scores.shape}."
        )
    observed, positive = signs != 0, signs > 0
    if (n_nan := int((np.isnan(scores) & observed).sum())) > 0:
        raise ValueError(
            f"{n_nan} scores of observed labels are NaN, which has no rank. Check the "
            "estimator: it may have diverged."
        )
    ranks = rankdata(np.where(observed, scores, np.nan), axis=0, nan_policy="omit")
    n_positive = positive.sum(axis=0)
    n_pairs = n_positive * (observed.sum(axis=0) - n_positive)
    won = ranks.sum(axis=0, where=positive) - n_positive * (n_positive + 1) / 2
    return np.divide(won, n_pairs, out=np.full(len(won), np.nan), where=n_pairs > 0)


def _label_table(y: Any, name: str) -> np.ndarray:
    """Labels as an array of shape (n_samples, n_tasks), nothing converted."""
    values = as_array(y)
    if values.ndim not in (1, 2):
        raise ValueError(
            f"{name} should be a dense array of shape (n_samples,) or (n_samples, "
            f"n_tasks), got {type(y).__name__} of shape {values.shape}."
        )
    return values[:, None] if values.ndim == 1 else values


def _check_aligned(
    y_true: Any, true: np.ndarray, other: Any, table: np.ndarray
) -> None:
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


def _nothing_observed(labels: np.ndarray) -> bool:
    return all(map(is_missing, labels.flat))


def _macro(per_task: np.ndarray, needs: str) -> float:
    """Mean over the tasks where the score is defined."""
    defined = ~np.isnan(per_task)
    if not defined.any():
        warnings.warn(
            f"The score is undefined for all {len(per_task)} tasks and set to nan: "
            f"none has observed labels of {needs}.",
            UndefinedMetricWarning,
            stacklevel=4,  # past the decorator, to the caller
        )
        return float("nan")
    return float(per_task[defined].mean())


@_check_average
def multitask_roc_auc_score(
    y_true: ArrayLike, y_score: ArrayLike, *, average: Average = "macro"
) -> float | np.ndarray:
    """Area under the ROC curve of binary tasks with missing labels.

    Each task is scored over its observed labels; on these it equals
    :func:`sklearn.metrics.roc_auc_score`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels, two classes per task, numbers or strings. The class that sorts last is
        the positive one. NaN, None and pandas.NA stand for "not observed".
    y_score : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Scores, larger means more likely positive. Also a list of n_tasks arrays of
        shape (n_samples, 2), as ``predict_proba`` of scikit-learn's multi-output
        classifiers returns it.
    average : {"macro"} or None, default="macro"
        Mean over the tasks that show both classes, or the score of each task.

    Returns
    -------
    float, or ndarray of shape (n_tasks,) if ``average`` is None
        A task that does not show both classes has the score NaN. If all are such,
        the mean is NaN, with an :class:`~sklearn.exceptions.UndefinedMetricWarning`.

    Raises
    ------
    ValueError
        If shapes differ, scores are not finite, or a task has more than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from mtrl_sklearn.metrics import multitask_roc_auc_score
    >>> y_true = [[1, 0], [0, np.nan], [np.nan, 1], [0, 1]]
    >>> y_score = [[0.7, 0.1], [0.2, 0.2], [0.9, 0.3], [0.7, 0.4]]
    >>> multitask_roc_auc_score(y_true, y_score)
    0.875
    >>> multitask_roc_auc_score(y_true, y_score, average=None)
    array([0.75, 1.  ])
    """
    if isinstance(y_score, list) and y_score and np.ndim(y_score[0]) == 2:
        y_score = np.column_stack([np.asarray(p)[:, -1] for p in y_score])
    scores = check_array(
        y_score, dtype=[np.float64, np.float32], ensure_2d=False, input_name="y_score"
    )
    scores = scores[:, None] if scores.ndim == 1 else scores
    labels = _label_table(y_true, "y_true")
    _check_aligned(y_true, labels, y_score, scores)
    per_task = masked_roc_auc(_binary_signs(y_true, labels), scores)
    return per_task if average is None else _macro(per_task, "both classes")


def _binary_signs(y_true: Any, labels: np.ndarray) -> np.ndarray:
    if _nothing_observed(labels):
        return np.zeros(labels.shape, dtype=np.int8)
    encoding = learn_encoding(y_true)
    for name, classes in zip(encoding.outputs, encoding.classes):
        if len(classes) > 2:
            raise ValueError(
                f"ROC-AUC needs two classes per task, but {name} in y_true has "
                f"{len(classes)}: {classes.tolist()}. Pass one column per class, or "
                "use multitask_accuracy_score."
            )
    return encoding.encode(y_true)


@_check_average
def multitask_accuracy_score(
    y_true: ArrayLike, y_pred: ArrayLike, *, average: Average = "macro"
) -> float | np.ndarray:
    """Share of observed labels that were predicted, for tasks with missing labels.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels, numbers or strings, of any number of classes. NaN, None and pandas.NA
        stand for "not observed".
    y_pred : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Predicted labels. A missing prediction counts as wrong.
    average : {"macro"} or None, default="macro"
        Mean over the tasks with an observed label, or the score of each task.

    Returns
    -------
    float, or ndarray of shape (n_tasks,) if ``average`` is None
        A task without observed labels has the score NaN. If all are such, the mean is
        NaN, with an :class:`~sklearn.exceptions.UndefinedMetricWarning`.

    Raises
    ------
    ValueError
        If shapes differ, labels are strings in one array and numbers in the other, or
        predictions are continuous.

    Examples
    --------
    >>> from mtrl_sklearn.metrics import multitask_accuracy_score
    >>> y_true = [["yes", "no"], ["no", None], [None, None], ["no", "no"]]
    >>> y_pred = [["yes", "no"], ["no", "no"], ["no", "no"], ["yes", "yes"]]
    >>> multitask_accuracy_score(y_true, y_pred, average=None).round(3)
    array([0.667, 0.5  ])
    """
    true, pred = _label_table(y_true, "y_true"), _label_table(y_pred, "y_pred")
    _check_aligned(y_true, true, y_pred, pred)
    per_task = _accuracy(true, pred)
    return per_task if average is None else _macro(per_task, "any class")


def _accuracy(true: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Accuracy of each task over its observed labels, of shape (n_tasks,)."""
    if _nothing_observed(true):
        return np.full(true.shape[1], np.nan)
    if not {true.dtype.kind, pred.dtype.kind} <= set("biuf"):
        true, pred = true.astype(object), pred.astype(object)
    both = np.concatenate([true, pred])
    encoding = learn_encoding(both)
    signs, predicted = np.split(encoding.encode(both), 2)
    starts = np.cumsum(encoding.tasks_per_output) - encoding.tasks_per_output
    right = np.logical_and.reduceat(signs == predicted, starts, axis=1)
    observed = signs[:, starts] != 0
    n_observed, n_right = observed.sum(axis=0), (right & observed).sum(axis=0)
    out = np.full(len(starts), np.nan)
    return np.divide(n_right, n_observed, out=out, where=n_observed > 0)


multitask_roc_auc_scorer = make_scorer(
    multitask_roc_auc_score, response_method=("decision_function", "predict_proba")
)
multitask_accuracy_scorer = make_scorer(multitask_accuracy_score)
