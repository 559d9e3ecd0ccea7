"""Out-of-fold predictions of many tasks, with missing labels."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils._param_validation import (
    HasMethods,
    StrOptions,
    validate_params,
)
from sklearn.utils.validation import _num_samples

from mtrl_sklearn._arrays.copies import number_inputs
from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._group import alone
from mtrl_sklearn._labels.encoding import (
    LabelEncoding,
    brief,
    learn_encoding,
    read_task_ids,
)
from mtrl_sklearn._warnings import warn_user
from mtrl_sklearn.probing._sources import check_rows_of_labels, name_of_tasks

__all__ = ["cross_val_predict"]


@validate_params(
    {
        "estimator": [HasMethods("fit")],
        "method": [StrOptions({"decision_function", "predict_proba"})],
    },
    prefer_skip_nested_validation=True,
)
def cross_val_predict(
    estimator,
    X,
    y,
    *,
    tasks=None,
    groups=None,
    cv=None,
    n_jobs=None,
    method="predict_proba",
):
    """Predictions for rows by estimators that were not trained on them.

    scikit-learn's function of this name numbers the labels before it trains on them,
    and with them those that are missing; here they reach `fit` as they are. For
    ``method="predict"``, and for a `ConvMultiTaskClassifier`, use scikit-learn's.

    Parameters
    ----------
    estimator : MultiTaskReLURepresentation, or a pipeline that ends in one
        Its clones are fitted, in a process group each on its own rank.
    X : array-like or sparse matrix of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels, as in fit of the estimator; NaN, None and NA stand for "not observed".
        Those that sparse labels do not store are negative.
    tasks : array-like of shape (n_samples,), default=None
        The long form: ``y`` holds one label per row, of this task. Repeat inputs for
        each of their labels, as ``X[rows]``; there is no ``rows=``.
    groups : array-like of shape (n_samples,), default=None
        For a splitter that keeps groups of rows together.
    cv : int, splitter or iterable, default=None
        As for scikit-learn. An int is the number of folds, None stands for 5; neither
        stratifies. Each row is in one test set. In the long form, without ``groups``,
        these folds are of whole inputs, as of a `GroupKFold`: rows of X that are equal
        are one input, which is held out with all of its labels.
    n_jobs : int, default=None
        Processes, over folds.
    method : {"predict_proba", "decision_function"}, default="predict_proba"

    Returns
    -------
    ndarray of shape (n_samples, n_tasks), or as the method returns it for a 1d ``y``
        For the long form a column for each sorted task id.

    Raises
    ------
    ValueError
        If labels cannot be read, lengths differ, a fit fails, or test sets are no
        partition of the rows.

    Warns
    -----
    UserWarning
        If ``cv`` parts rows of the long form that are the same input, so that it is
        tested on inputs that it is trained on.
    UserWarning
        If training rows of a fold do not show all classes of a task, whose predictions
        for the test rows of that fold then are NaN. Where two values are all that
        labels take, every task is known to have both.

    Examples
    --------
    >>> import numpy as np
    >>> from mtrl_sklearn import MultiTaskReLURepresentation
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> from mtrl_sklearn.metrics import multitask_roc_auc_score
    >>> from mtrl_sklearn.model_selection import cross_val_predict
    >>> X, Y, *_ = make_subspace_tasks(500, 20, missing_fraction=0.3, random_state=0)
    >>> representation = MultiTaskReLURepresentation(64, random_state=0)
    >>> probabilities = cross_val_predict(representation, X, Y, cv=3)
    >>> probabilities.shape == Y.shape
    True
    >>> bool(multitask_roc_auc_score(Y, probabilities) > 0.7)
    True
    """
    whole = learn_encoding(y, tasks)
    ids = None if tasks is None else read_task_ids(tasks)
    if ids is not None:
        check_rows_of_labels(X, len(ids))
    with naming_numbers(X, "X"):
        X, y, ids, groups = indexable(X, y, ids, groups)
    n_samples = _num_samples(X)
    if ids is not None:
        inputs = number_inputs(X)
        if groups is None and (cv is None or isinstance(cv, Integral)):
            cv, groups = GroupKFold(5 if cv is None else cv), inputs
    splits = list(check_cv(cv).split(X, y, groups))
    tested = np.concatenate([np.arange(n_samples)[test] for _, test in splits])
    if not np.array_equal(np.sort(tested), np.arange(n_samples)):
        raise ValueError(
            f"cv={cv!r} tests {len(np.unique(tested))} of {n_samples} rows, "
            f"{len(tested)} times in all. Pass a splitter that tests each row once, "
            "such as KFold."
        )
    if ids is not None:
        _warn_of_parted(inputs, splits)
    jobs = (
        delayed(_predict_fold)(clone(estimator), X, y, ids, train, test, method, whole)
        for train, test in splits
    )
    predictions = np.concatenate(Parallel(n_jobs=n_jobs)(jobs))[np.argsort(tested)]
    _warn_of_unknown(predictions, whole)
    is_flat = whole.form == "single" and predictions.shape[1] == 1
    return predictions[:, 0] if is_flat else predictions


def _predict_fold(
    estimator: Any,
    X: Any,
    y: Any,
    ids: np.ndarray | None,
    train: np.ndarray,
    test: np.ndarray,
    method: str,
    whole: LabelEncoding,
) -> np.ndarray:
    """Predictions for test rows, a column for each of all labels' columns."""
    y = _safe_indexing(y, train)
    ids = None if ids is None else ids[train]
    fit_params = {} if ids is None else {name_of_tasks(estimator): ids}
    with alone():
        estimator.fit(_safe_indexing(X, train), y, **fit_params)
    found = getattr(estimator, method)(_safe_indexing(X, test))
    part = learn_encoding(y, ids)
    return _align(np.asarray(found).reshape(len(test), -1), part, whole, method)


def _sizes(encoding: LabelEncoding, method: str) -> np.ndarray:
    """Number of columns that a method returns for each output."""
    if encoding.form == "single" and method == "predict_proba":
        return np.array([len(encoding.classes[0])])
    return encoding.tasks_per_output


def _align(
    found: np.ndarray, part: LabelEncoding, whole: LabelEncoding, method: str
) -> np.ndarray:
    """Columns of some training rows as those of all rows; NaN where they differ."""
    sizes, all_sizes = _sizes(part, method), _sizes(whole, method)
    if found.shape[1] != sizes.sum():
        raise ValueError(
            f"{method} of the estimator has {found.shape[1]} columns, not one for each "
            f"of {sizes.sum()} tasks. Use cross_val_predict of scikit-learn."
        )
    starts, all_starts = np.cumsum(sizes) - sizes, np.cumsum(all_sizes) - all_sizes
    place = {name: k for k, name in enumerate(whole.outputs.tolist())}
    aligned = np.full((len(found), all_sizes.sum()), np.nan, dtype=found.dtype)
    outputs = zip(part.outputs.tolist(), part.classes, starts, sizes)
    for name, classes, start, size in outputs:
        k = place[name]
        if np.array_equal(classes, whole.classes[k]):
            here, there = (slice(a, a + size) for a in (start, all_starts[k]))
            aligned[:, there] = found[:, here]
    return aligned


def _warn_of_parted(inputs: np.ndarray, splits: Iterable[tuple]) -> None:
    """Warn of rows whose input is also among those trained on, for another task."""
    n_parted = sum(
        int(np.isin(inputs[test], inputs[train]).sum()) for train, test in splits
    )
    if n_parted:
        warn_user(
            f"Splits of cv test {n_parted} of {len(inputs)} rows on estimators that "
            "were trained on the same input with another label: their scores flatter. "
            "Pass the number of folds as cv, or cv=GroupKFold() and groups=, the input "
            "of each row."
        )


def _warn_of_unknown(predictions: np.ndarray, whole: LabelEncoding) -> None:
    unknown = np.isnan(predictions).any(axis=0)
    if not unknown.any():
        return
    names = whole.task_names
    lacking = names[unknown].tolist() if len(names) == len(unknown) else names.tolist()
    warn_user(
        "In some folds training rows do not show all classes of some tasks, whose "
        "predictions are NaN there. Pass fewer folds, a cv that keeps the rows of a "
        f"class apart, or drop these tasks: {brief(lacking, 20)}."
    )
