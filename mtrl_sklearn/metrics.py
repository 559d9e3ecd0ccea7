"""Scores of many tasks with missing labels, and what a representation found.

scikit-learn's metrics reject NaN in ``y_true``; those of this module score each task
over its observed labels, and so do the two scorers, for ``scoring=``. With missing
labels pass ``cv=KFold(...)`` to scikit-learn's model selection: for classifiers, as
probes are, an integer ``cv`` stratifies, which rejects NaN too.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import subspace_angles
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import make_scorer
from sklearn.metrics._scorer import _Scorer
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from mtrl_sklearn._arrays.validation import (
    check_weights,
    naming_numbers,
    read_weights,
)
from mtrl_sklearn._labels.encoding import learn_encoding
from mtrl_sklearn._labels.indicator import Indicator
from mtrl_sklearn._labels.roc_auc import indicator_roc_auc, table_roc_auc
from mtrl_sklearn._labels.scored import (
    binary_signs,
    check_aligned,
    count_right,
    count_rows,
    label_table,
    nothing_observed,
    sparse_labels,
)
from mtrl_sklearn._labels.signs import row_blocks
from mtrl_sklearn._labels.values import comparable
from mtrl_sklearn._warnings import warn_user

__all__ = [
    "SignalToNoise",
    "feature_alignment",
    "masked_roc_auc",
    "multitask_accuracy_score",
    "multitask_accuracy_scorer",
    "multitask_roc_auc_score",
    "multitask_roc_auc_scorer",
    "principal_angles",
    "signal_to_noise",
    "subspace_distance",
]

Average = Literal["macro"] | None

# Filters below this share of the largest norm have no part in what a network does.
SILENT = 0.01

_check_average = validate_params(
    {"average": [StrOptions({"macro"}), None]}, prefer_skip_nested_validation=True
)


def _check_directions(A: ArrayLike, name: str) -> np.ndarray:
    with naming_numbers(A, name) as given:
        rows: np.ndarray = check_array(given, dtype=np.float64, input_name=name)
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


def feature_alignment(filters: ArrayLike, directions: ArrayLike) -> float | np.ndarray:
    """Largest cosine between each direction and any filter.

    It is near 1 for a direction that some filter has learned. The sign counts: a
    filter along the opposite direction has the cosine -1. Pass the negative directions
    as well where a feature comes with either sign.

    Parameters
    ----------
    filters : array-like of shape (n_filters, ...)
        First-layer weights, as rows or as images. A filter of less than a hundredth of
        the largest norm is silent: its direction, often that of its start, has no
        effect, and its cosine counts as 0.
    directions : array-like of shape (..., n_weights) or (...,) + the shape of a filter
        Directions to look for, of any length but 0, for filters of n_weights weights.

    Returns
    -------
    ndarray of the leading shape of ``directions``, or float for a single direction
        From -1 to 1.

    Raises
    ------
    ValueError
        If an array is not finite, a direction is zero, or shapes differ.

    Examples
    --------
    >>> from mtrl_sklearn.metrics import feature_alignment
    >>> feature_alignment([[3, 4, 0], [0, 0, 0], [0, 0, 2]], [[1, 0, 0], [0, 0, -1]])
    array([0.6, 0. ])
    >>> feature_alignment([[3, 4, 0], [0, 0, 2]], [0, 0, 1])
    1.0
    """
    options = {"dtype": np.float64, "allow_nd": True}
    with naming_numbers(filters, "filters") as given:
        rows: np.ndarray = check_array(given, input_name="filters", **options)
    with naming_numbers(directions, "directions") as given:
        wanted: np.ndarray = check_array(
            given, input_name="directions", ensure_2d=False, **options
        )
    filter_shape = rows.shape[1:]
    rows = rows.reshape(len(rows), -1)
    leading = None
    for shape in (filter_shape, rows.shape[1:]):
        if wanted.shape[-len(shape) :] == shape:
            leading = wanted.shape[: -len(shape)]
    if leading is None:
        raise ValueError(
            f"directions has shape {wanted.shape}, but filters has {filter_shape} "
            f"weights each. Pass directions of shape (n_directions, {rows.shape[1]})."
        )
    wanted = _check_directions(wanted.reshape(-1, rows.shape[1]), "directions")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    audible = lengths > SILENT * lengths.max()
    units = np.divide(rows, lengths, out=np.zeros_like(rows), where=audible)
    cosines = units @ wanted.T / np.linalg.norm(wanted, axis=1)
    largest = cosines.max(axis=0).clip(-1, 1)
    return largest.reshape(leading) if leading else float(largest[0])


class SignalToNoise(NamedTuple):
    """What :func:`signal_to_noise` returns."""

    shared: float
    specific: float


_positive = [Interval(Real, 0, None, closed="neither")]


@validate_params(
    {
        "n_samples_per_task": [Interval(Integral, 1, None, closed="left")],
        "n_tasks": [Interval(Integral, 1, None, closed="left")],
        "shared_fraction": [Interval(Real, 0, 1, closed="both")],
        "shared_strength": _positive,
        "noise_norm": _positive,
        "power": [Interval(Real, 1, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def signal_to_noise(
    n_samples_per_task: int,
    n_tasks: int = 1,
    *,
    shared_fraction: float = 0.5,
    shared_strength: float = 0.35,
    noise_norm: float = 1.5,
    power: float = 3,
) -> SignalToNoise:
    """Whether rows suffice for a convolutional network to learn a feature.

    A two-layer network with the activation ``relu(z) ** power`` learns a feature, or
    memorises the noise of the rows that carry it, whichever grows faster. With n rows
    in each of K tasks, shared fraction p, strength a, norm R and power q, the ratios
    of their growth, after Li et al. (2025), reconstructed, are

    - ``n * K * p * (a / R) ** q`` for the feature that tasks share,
    - ``n * (1 - p) / R ** q`` for the one of a task, whatever the number of tasks.

    Parameters
    ----------
    n_samples_per_task : int
        Number of training rows of each task.
    n_tasks : int, default=1
        Number of tasks that are trained together.
    shared_fraction : float in [0, 1], default=0.5
        Share of rows that carry the shared feature.
    shared_strength : float > 0, default=0.35
        Length of the shared feature, where the tasks' own have length 1.
    noise_norm : float > 0, default=1.5
        Root of the mean squared norm of a noise patch.
    power : float >= 1, default=3
        Exponent of the activation.

    Returns
    -------
    shared : float
        Ratio of the shared feature. Below 1.5 the network guesses on new rows that
        carry the feature, from 4 on it is right on them; between is a transition,
        whose edges are not sharp.
    specific : float
        Ratio of the features of single tasks.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    mtrl_sklearn.datasets.make_patch_tasks : Data of this kind; same parameters.

    Notes
    -----
    The two bounds are an addition of this package: measured with power 3 on data of
    kind "linear" (``benchmarks/conv_quality.py``), where one of 40 configurations
    below 1.5 was learned, and not a theorem of Li et al. (2025). The upper one held
    for powers 2 and 4 too. On kind "symmetric", where each label has a direction of
    its own, both were about twice as high. With power 1, the plain ReLU, one task
    alone learned the shared feature about as well. The bounds presume enough
    features: ``n_features - n_tasks - 1`` above
    ``6 * sqrt(n * K)``; with 4 for 6 a few configurations between 4 and 6 failed.

    Examples
    --------
    Sixteen tasks together learn what one alone cannot:

    >>> from mtrl_sklearn.metrics import signal_to_noise
    >>> [round(signal_to_noise(60, n_tasks).shared, 2) for n_tasks in (1, 4, 16)]
    [0.38, 1.52, 6.1]
    >>> round(signal_to_noise(60).specific, 2)
    8.89
    """
    n_samples = n_samples_per_task * n_tasks
    shared = n_samples * shared_fraction * (shared_strength / noise_norm) ** power
    specific = n_samples_per_task * (1 - shared_fraction) / noise_norm**power
    return SignalToNoise(float(shared), float(specific))


def masked_roc_auc(signs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each task, over its observed labels.

    It is the probability that a positive scores higher than a negative, ties counted
    half. Tasks are ranked a few at a time, in little memory.

    Parameters
    ----------
    signs : array-like of shape (n_samples, n_tasks)
        +1 positive, -1 negative, 0 not observed.
    scores : array-like of shape (n_samples, n_tasks)
        Larger means more likely positive. Where nothing was observed they are
        ignored.

    Returns
    -------
    ndarray of shape (n_tasks,), float64
        NaN for a task with observed labels of one class only, or none.

    Raises
    ------
    ValueError
        If shapes differ, a sign is none of -1, 0 and 1, or a score is NaN where a label
        was observed.

    Examples
    --------
    >>> import numpy as np
    >>> from mtrl_sklearn.metrics import masked_roc_auc
    >>> signs = np.array([[1, 1], [-1, 0], [0, 1], [-1, 1]], dtype=np.int8)
    >>> scores = np.array([[0.7, 0.1], [0.2, 0.2], [0.9, 0.3], [0.7, 0.4]])
    >>> masked_roc_auc(signs, scores)
    array([0.75,  nan])
    """
    with naming_numbers(signs, "signs") as given:
        signs = check_array(given, ensure_2d=False, input_name="signs")
    with naming_numbers(scores, "scores") as given:
        scores = check_array(
            given, ensure_2d=False, ensure_all_finite=False, input_name="scores"
        )
    if not all(np.isin(signs[rows], (-1, 0, 1)).all() for rows in row_blocks(signs)):
        raise ValueError(
            "signs should be +1 for positive, -1 for negative and 0 for not observed. "
            "For labels in any other encoding use multitask_roc_auc_score."
        )
    if signs.shape != scores.shape or signs.ndim != 2:
        raise ValueError(
            f"signs and scores should have one shape, got {signs.shape} and "
            f"{scores.shape}. Pass both as (n_samples, n_tasks)."
        )
    return table_roc_auc(signs.astype(np.int8, copy=False), scores)


def _macro(per_task: np.ndarray, needs: str) -> float:
    """Mean over the tasks where the score is defined."""
    defined = ~np.isnan(per_task)
    if not defined.any():
        warn_user(
            f"The score is undefined for all {len(per_task)} tasks and set to nan: "
            f"none has observed labels of {needs}.",
            UndefinedMetricWarning,
        )
        return float("nan")
    return float(per_task[defined].mean())


@validate_params(
    {
        "average": [StrOptions({"macro"}), None],
        "pos_label": [Real, str, "boolean", dict, None],
        "sample_weight": ["array-like", None],
    },
    prefer_skip_nested_validation=True,
)
def multitask_roc_auc_score(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    average: Average = "macro",
    pos_label: Any = None,
    sample_weight: ArrayLike | None = None,
) -> float | np.ndarray:
    """Area under the ROC curve of binary tasks with missing labels.

    Each task is scored over its observed labels; on these it equals
    :func:`sklearn.metrics.roc_auc_score`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels, two classes per task, numbers or strings. NaN, None and pandas.NA stand
        for "not observed". Sparse labels are a multilabel indicator: what is not stored
        is negative.
    y_score : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Scores, larger means more likely positive. Also a list of n_tasks arrays of
        shape (n_samples, 2), as ``predict_proba`` of scikit-learn's multi-output
        classifiers returns it.
    average : {"macro"} or None, default="macro"
        Mean over the tasks that show both classes, or the score of each task.
    pos_label : str, number, bool or dict, default=None
        The label that larger scores speak for, of all tasks or by name of the column
        of ``y_true``, as in `MultiTaskReLURepresentation`; None is the last one in
        sorted order. ``multitask_roc_auc_scorer`` takes it from the ``classes_`` of
        the estimator.
    sample_weight : array-like of shape (n_samples,), default=None
        How often each row counts.

    Returns
    -------
    float, or ndarray of shape (n_tasks,) if ``average`` is None
        A task that does not show both classes has the score NaN. If all are such,
        the mean is NaN, with an :class:`~sklearn.exceptions.UndefinedMetricWarning`.

    Raises
    ------
    ValueError
        If shapes differ, scores are not finite, a task has more than two classes,
        ``pos_label`` is no label of it, or weights are negative, not finite or all 0.

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
    with naming_numbers(y_score, "y_score") as given:
        scores = check_array(
            given,
            dtype=[np.float64, np.float32],
            ensure_2d=False,
            input_name="y_score",
        )
    scores = scores[:, None] if scores.ndim == 1 else scores
    weights = None if sample_weight is None else read_weights(sample_weight, scores)
    stored = sparse_labels(y_true, "y_true") if pos_label is None else None
    if stored is not None:
        signs = Indicator(stored.positive)
        check_aligned(y_true, signs, y_score, scores)
        per_task = indicator_roc_auc(signs, lambda part: scores[:, part], weights)
        return per_task if average is None else _macro(per_task, "both classes")
    labels = label_table(y_true, "y_true")
    check_aligned(y_true, labels, y_score, scores)
    of_tasks = binary_signs(y_true, labels, pos_label)
    per_task = table_roc_auc(of_tasks, scores, weights)
    return per_task if average is None else _macro(per_task, "both classes")


@_check_average
def multitask_accuracy_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: Average = "macro",
    sample_weight: ArrayLike | None = None,
) -> float | np.ndarray:
    """Share of observed labels that were predicted, for tasks with missing labels.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels, numbers or strings, of any number of classes. NaN, None and pandas.NA
        stand for "not observed". Sparse labels are a multilabel indicator: what is
        not stored is negative.
    y_pred : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Predicted labels, which may be sparse. A missing prediction counts as wrong.
    average : {"macro"} or None, default="macro"
        Mean over the tasks with an observed label, or the score of each task.
    sample_weight : array-like of shape (n_samples,), default=None
        How often each row counts.

    Returns
    -------
    float, or ndarray of shape (n_tasks,) if ``average`` is None
        A task without observed labels has the score NaN. If all are such, the mean is
        NaN, with an :class:`~sklearn.exceptions.UndefinedMetricWarning`.

    Raises
    ------
    ValueError
        If shapes differ, labels are strings in one array and numbers in the other,
        predictions are continuous, or weights are negative, not finite or all 0.

    Examples
    --------
    >>> from mtrl_sklearn.metrics import multitask_accuracy_score
    >>> y_true = [["yes", "no"], ["no", None], [None, None], ["no", "no"]]
    >>> y_pred = [["yes", "no"], ["no", "no"], ["no", "no"], ["yes", "yes"]]
    >>> multitask_accuracy_score(y_true, y_pred, average=None).round(3)
    array([0.667, 0.5  ])
    """
    weights = None
    if sample_weight is not None:
        weights = check_weights(sample_weight, y_true)
    if (stored := sparse_labels(y_true, "y_true")) is not None:
        table = sparse_labels(y_pred, "y_pred") or label_table(y_pred, "y_pred")
        check_aligned(y_true, stored, y_pred, table)
        n_rows = max(stored.shape[0], 1) if weights is None else weights.sum()
        per_task = count_right(stored, table, weights) / n_rows
        return per_task if average is None else _macro(per_task, "any class")
    true, pred = label_table(y_true, "y_true"), label_table(y_pred, "y_pred")
    check_aligned(y_true, true, y_pred, pred)
    per_task = _accuracy(true, pred, weights)
    return per_task if average is None else _macro(per_task, "any class")


def _accuracy(
    true: np.ndarray, pred: np.ndarray, weights: np.ndarray | None
) -> np.ndarray:
    """Accuracy of each task over its observed labels, of shape (n_tasks,)."""
    if nothing_observed(true):
        return np.full(true.shape[1], np.nan)
    if not {true.dtype.kind, pred.dtype.kind} <= set("biuf"):
        true, pred = true.astype(object), pred.astype(object)
    both = np.concatenate(comparable(true, pred))
    encoding = learn_encoding(both)
    signs, predicted = np.split(encoding.encode(both), 2)
    starts = np.cumsum(encoding.tasks_per_output) - encoding.tasks_per_output
    right = np.logical_and.reduceat(signs == predicted, starts, axis=1)
    observed = signs[:, starts] != 0
    n_observed, n_right = (
        count_rows(of_rows, weights) for of_rows in (observed, right & observed)
    )
    out = np.full(len(starts), np.nan)
    return np.divide(n_right, n_observed, out=out, where=n_observed > 0)


class _RocAucScorer(_Scorer):
    """A scorer of estimators whose scores speak for the last of a task's `classes_`.

    These need not be sorted: see ``pos_label`` of `MultiTaskReLURepresentation`.
    """

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        def call(*args, **options):
            return _for_sorted_classes(method_caller(*args, **options), estimator)

        return super()._score(call, estimator, X, y_true, **kwargs)


def _for_sorted_classes(y_score: Any, estimator: Any) -> Any:
    """Scores that speak for the larger label of each task, whatever `classes_` say."""
    classes: Any = getattr(estimator, "classes_", None)
    of_outputs = classes if isinstance(classes, list) else [classes]
    is_turned = [np.size(pair) == 2 and pair[0] > pair[1] for pair in of_outputs]
    if not any(is_turned):
        return y_score
    n_tasks = [np.size(c) if np.size(c) > 2 else 1 for c in of_outputs]
    factors = np.where(np.repeat(is_turned, n_tasks), -1.0, 1.0)
    return y_score * (factors if np.ndim(y_score) == 2 else factors[0])


#: `multitask_roc_auc_score` as ``scoring=`` of scikit-learn's searches and
#: cross-validation, for the positive labels of the estimator.
multitask_roc_auc_scorer = _RocAucScorer(
    multitask_roc_auc_score, 1, {}, ("decision_function", "predict_proba")
)
#: `multitask_accuracy_score` as ``scoring=`` of scikit-learn's searches and
#: cross-validation.
multitask_accuracy_scorer = make_scorer(multitask_accuracy_score)
