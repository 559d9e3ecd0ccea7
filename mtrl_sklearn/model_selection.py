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

from mtrl_sklearn._arrays.copies import number_inputs, number_values
from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._group import alone
from mtrl_sklearn._labels.columns import read_row_numbers, read_task_ids
from mtrl_sklearn._labels.encoding import LabelEncoding, brief, find_encoding
from mtrl_sklearn._labels.given import GivenLabels, read_given
from mtrl_sklearn._warnings import warn_user
from mtrl_sklearn.probing._sources import name_fit_params, takes_in_fit

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
    rows=None,
    sample_weight=None,
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
        The long form: ``y`` holds one label per row, of this task.
    rows : array-like of shape (n_labels,), default=None
        The relational form, with ``tasks``: the row of X that each label belongs to.
        Predictions are for the rows of X, those without labels included, and folds are
        those of ``X[rows]`` in the long form.
    sample_weight : array-like of shape (n_samples,) or (n_labels,), default=None
        Weights of the entries of ``y`` that fit gets. Folds do not depend on them, and
        rows of weight 0 are predicted, too.
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
        For the long form a column for each sorted id of tasks with labels; those of
        weight 0 are not there.

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
    with naming_numbers(X, "X") as numbers:
        n_samples = _num_samples(numbers)
    labels, _ = read_given(GivenLabels(y, tasks, rows, sample_weight), n_samples)
    whole = find_encoding(labels)
    with naming_numbers(X, "X"):
        if rows is None:
            X, y, groups = indexable(X, y, groups)
        else:
            X, groups = indexable(X, groups)
            rows = read_row_numbers(rows, _num_samples(y), n_samples)
    ids = None if tasks is None else read_task_ids(tasks)
    given = GivenLabels(y, ids, rows, sample_weight)
    inputs = None if tasks is None else number_inputs(X)
    if (
        inputs is not None
        and groups is None
        and (cv is None or isinstance(cv, Integral))
    ):
        cv = _fold_inputs(inputs, rows, 5 if cv is None else cv)
    of_rows = y if rows is None else None
    splits = list(check_cv(cv).split(X, of_rows, groups))
    tested = np.concatenate([np.arange(n_samples)[test] for _, test in splits])
    if not np.array_equal(np.sort(tested), np.arange(n_samples)):
        raise ValueError(
            f"cv={cv!r} tests {len(np.unique(tested))} of {n_samples} rows, "
            f"{len(tested)} times in all. Pass a splitter that tests each row once, "
            "such as KFold."
        )
    if inputs is not None:
        _warn_of_parted(inputs, splits)
    jobs = (
        delayed(_predict_fold)(clone(estimator), X, given, train, test, method, whole)
        for train, test in splits
    )
    predictions = np.concatenate(Parallel(n_jobs=n_jobs)(jobs))[np.argsort(tested)]
    _warn_of_unknown(predictions, whole)
    is_flat = whole.form == "single" and predictions.shape[1] == 1
    return predictions[:, 0] if is_flat else predictions


def _fold_inputs(
    inputs: np.ndarray, rows: np.ndarray | None, n_folds: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of X to train on and to test on, whole inputs of about as many labels.

    Parameters
    ----------
    inputs : ndarray of shape (n_samples,)
        Which input each row is.
    rows : ndarray of shape (n_labels,) or None
        The row of each label; None is one label each.
    n_folds : int
    """
    every = np.arange(len(inputs))
    entries = every if rows is None else np.append(rows, np.setdiff1d(every, rows))
    folds = GroupKFold(n_folds).split(entries, groups=number_values(inputs[entries]))
    tested = (np.unique(entries[test]) for _, test in folds)
    return [(np.setdiff1d(every, test), test) for test in tested]


def _predict_fold(
    estimator: Any,
    X: Any,
    given: GivenLabels,
    train: np.ndarray,
    test: np.ndarray,
    method: str,
    whole: LabelEncoding,
) -> np.ndarray:
    """Predictions for test rows, a column for each of all labels' columns."""
    trained = _safe_indexing(X, train)
    if given.rows is None:
        given = given.take(train)
    else:
        place = np.full(_num_samples(X), -1)
        place[train] = np.arange(_num_samples(trained))
        given = given._replace(rows=place[given.rows])
        given = given.take(np.flatnonzero(given.rows >= 0))
        if not takes_in_fit(estimator, "rows"):
            trained = _safe_indexing(trained, given.rows)
            given = given._replace(rows=None)
    params = {k: v for k, v in given._asdict().items() if k != "y" and v is not None}
    with alone():
        estimator.fit(trained, given.y, **name_fit_params(estimator, params))
    found = getattr(estimator, method)(_safe_indexing(X, test))
    part = find_encoding(read_given(given, _num_samples(trained))[0])
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
