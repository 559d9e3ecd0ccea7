"""probe_new_tasks: what a representation gains on tasks that it was not trained on."""

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)
from sklearn.utils.validation import _num_samples

from mtrl_sklearn._labels.positive import put_known_last
from mtrl_sklearn._labels.signs import Signs, count_signs
from mtrl_sklearn._warnings import warn_user
from mtrl_sklearn.probing._blocks import pos_label_of_sources
from mtrl_sklearn.probing._contenders import (
    BASELINES,
    check_probe,
    list_contenders,
    read_baselines,
    score_contenders,
)
from mtrl_sklearn.probing._draws import (
    MIN_TEST_ROWS,
    FixedSplit,
    RandomSplit,
    Split,
    read_groups_of_rows,
    read_shots,
)
from mtrl_sklearn.probing._entries import has_copies, read_entries

# joblib knows no 0, and would say so after all that comes before
N_JOBS: list[Any] = [
    Interval(Integral, None, -1, closed="right"),
    Interval(Integral, 1, None, closed="left"),
    None,
]
PARAMETERS: dict[str, list[Any]] = {
    "probe": [HasMethods("fit"), None],
    "scoring": [str, callable, list, tuple, dict],
    "sampling": [StrOptions({"random", "balanced"})],
    "n_draws": [Interval(Integral, 1, None, closed="left")],
    "test_size": [Interval(Real, 0, 1, closed="neither")],
    "n_jobs": N_JOBS,
    "random_state": ["random_state"],
    "verbose": ["boolean"],
}


@validate_params(
    PARAMETERS | {"representation": [HasMethods("transform")]},
    prefer_skip_nested_validation=True,
)
def probe_new_tasks(
    representation,
    X,
    Y,
    *,
    tasks=None,
    rows=None,
    sample_weight=None,
    shots=(16, 32, 64, 128),
    sampling="random",
    n_draws=5,
    test_size=0.25,
    test_rows=None,
    scoring="roc_auc",
    probe=None,
    baselines=BASELINES,
    groups=None,
    n_jobs=None,
    random_state=None,
    verbose=False,
):
    """Measure what a representation gains on new tasks with few labels.

    For each task and draw some rows are set aside to test on, and a few of the others
    are drawn. A probe is trained on these rows with the features of the representation,
    and with those of each baseline. The rows of fewer labels are among those of more.

    Parameters
    ----------
    representation : fitted transformer
        Trained on other tasks than those of ``Y``. Where it was trained on rows of
        ``X``, name the other ones as ``test_rows``: it knows how rows that it saw
        behave in related tasks, and scores on them flatter. On assays the gain over
        raw inputs was .12 on such rows and .04 on new ones; ``groups`` are no
        protection.
    X : array-like or sparse matrix of shape (n_samples, ...)
        What the representation accepts.
    Y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels of the new tasks in any encoding; NaN, None and NA stand for "not
        observed". A column of k > 2 classes is k one-vs-rest tasks. A DataFrame names
        its tasks. Those that sparse labels do not store are negative. Of two labels the
        scalar ``pos_label`` of the representation is positive, else the last in sorted
        order, as in `LinearProbe`.
    tasks : array-like of shape (n_samples,), default=None
        The long form: ``Y`` holds one label per row, of this task.
    rows : array-like of shape (n_labels,), default=None
        The relational form, with ``tasks``: the row of X that each label belongs to.
        X then has each input once, and ``Y`` and ``tasks`` an entry for each label. The
        result is that of ``X[rows]`` in the long form. Random features are centred over
        X.
    sample_weight : array-like of shape (n_samples,) or (n_labels,), default=None
        Whole numbers: how often each entry of ``Y`` is to be there. Copies of a row
        count as one input.
    shots : tuple of int, default=(16, 32, 64, 128)
        Numbers of labels to train on, which may be 0.
    sampling : {"random", "balanced"}, default="random"
        "random" draws labels as they come, so that few or none may be positive.
        "balanced" draws half of them of either class, an odd one of the negative class:
        scores are then better than what labels that nobody selects will give.
    n_draws : int, default=5
        Draws of each task. A single one is noisy at 16 labels.
    test_size : float, default=0.25
        Share of a task's labelled rows, or of their groups, to test on.
    test_rows : array-like of shape (n_test,) or (n_samples,), default=None
        Rows to test on for all tasks and draws, as positions or as a mask, instead of a
        random share. Rows that the representation was not trained on give an honest
        score of new rows.
    scoring : str, callable, or several in a list, tuple or dict, default="roc_auc"
        Scorers of scikit-learn for binary tasks with classes 0 and 1. Higher is better.
        Keys of a dict name the scorers.
    probe : classifier, default=None
        A `LinearProbe` or any other classifier; None is `LinearProbe()`. A
        `LinearProbe` sees hidden features, source-task probabilities and inputs, any
        other classifier sees what ``representation.transform`` returns. It is cloned.
        Without labels of both classes one whose ``fit`` takes no ``classes`` is not
        fitted: the share of positive labels, with half a label of each class added, is
        its probability everywhere.
    baselines : tuple of str or dict, default=("raw", "random", "no labels")
        "raw" are the inputs. "random" are features of a network with the same geometry
        that was never trained. A `LinearProbe` sees nothing else then, with the
        default strength unless it has a C. "no labels" predicts the mean of the
        source-task probabilities, of representations that have these, whatever the
        labels. A dict of classifiers by name adds these, fitted on the inputs, to all
        three.
    groups : array-like of shape (n_samples,), default=None
        Groups of rows, such as scaffolds or patients. Whole ones are held out to test
        on.
    n_jobs : int, default=None
        Processes, over tasks. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Draws of rows, random features.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    TransferTable
        A pandas DataFrame with a row per ``task``, number of labels (``shots``),
        ``draw``, kind of ``features`` ("representation" or a baseline) and ``metric``,
        and the ``score``. Its method ``summary()`` compares, ``report()`` says so in
        sentences, and ``skipped`` lists tasks that lack labels, with the reason.

    Raises
    ------
    ImportError
        If pandas is not installed.
    ValueError
        If labels cannot be read, lengths differ, or shots or baselines are unknown.
    NotFittedError
        If the representation was not fitted.

    Warns
    -----
    UserWarning
        If no task has enough labels, so that the table is empty.

    Examples
    --------
    >>> from mtrl_sklearn import MultiTaskReLURepresentation
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> from mtrl_sklearn.probing import probe_new_tasks
    >>> X, Y, components, problem = make_subspace_tasks(random_state=0)
    >>> representation = MultiTaskReLURepresentation(128, random_state=0).fit(X, Y)
    >>> X_new, Y_new = problem.new_tasks(3, random_state=1).sample(500, random_state=2)
    >>> table = probe_new_tasks(
    ...     representation, X_new, Y_new, shots=(16, 64), n_draws=2, random_state=0
    ... )
    >>> summary = table.summary().set_index(["features", "shots"])
    >>> bool(summary.loc[("raw", 64), "gain"] > 0.1)
    True
    """
    build_table = import_table("probe_new_tasks")
    check_probe(probe, scoring)
    shots, baselines = read_shots(shots), read_baselines(baselines)
    place = partial(put_known_last, pos_label=pos_label_of_sources(representation))
    read = read_entries(X, Y, tasks, rows, sample_weight, place)
    X, encoding, signs = read.X, read.encoding, read.signs
    n_samples = _num_samples(X)
    groups = read_groups_of_rows(groups, n_samples)
    held_together = groups if groups is None else read.of_entries(groups)
    if groups is None and has_copies(read):
        held_together = read.inputs
    split: Split = RandomSplit(test_size, held_together)
    if test_rows is not None:
        is_test = read_test_rows(test_rows, n_samples, groups)
        split = FixedSplit(read.of_entries(is_test))
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    scores = score_contenders(
        list_contenders(representation, X, probe, baselines, seed, read.places),
        signs,
        encoding.task_names.tolist(),
        split,
        shots=shots,
        sampling=sampling,
        n_draws=n_draws,
        scoring=scoring,
        seed=seed,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    if not scores.records:
        warn_of_no_scores(signs, encoding.task_names, scores.skipped, sampling)
    return build_table(scores.records, scores.skipped)


def import_table(caller: str) -> Any:
    """What makes a table of records; pandas, which it needs, comes with an extra."""
    try:
        import pandas  # noqa: F401, only to see whether it is there

        from mtrl_sklearn.probing._table import build_table
    except ImportError as error:
        raise ImportError(
            f"{caller} requires pandas. Install it with "
            '`pip install "mtrl-sklearn[probing]"`.'
        ) from error
    return build_table


def warn_of_no_scores(
    signs: Signs,
    names: np.ndarray,
    skipped: list[dict[str, Any]],
    sampling: str,
) -> None:
    """Say why a table is empty.

    Parameters
    ----------
    signs : Signs of shape (n_samples, n_tasks)
    names : ndarray of shape (n_tasks,)
    skipped : list of dict
        Entries of the table, one for each task and number of labels.
    sampling : {"random", "balanced"}
    """
    counts = count_signs(signs)
    richest = int(np.minimum(*counts).argmax())
    n_positive, n_negative = (int(count[richest]) for count in counts)
    k = min(entry["shots"] for entry in skipped)
    reason = next(
        entry["reason"]
        for entry in skipped
        if entry["shots"] == k and entry["task"] == names[richest]
    )
    needed = f"{k} labels"
    if sampling == "balanced":
        needed = f"{k // 2} positive and {k - k // 2} negative labels"
    warn_user(
        f"The table is empty: none of the {len(names)} tasks has enough labels. For "
        f"shots={k}, the fewest asked for, a task needs {needed} to train on, and "
        f"{MIN_TEST_ROWS} of each class "
        f"to test on. The task with most, {str(names[richest])!r}, has {n_positive} "
        f"positive and {n_negative} negative ones ({reason}). Pass smaller numbers in "
        "shots, or more labels; the table's skipped lists all tasks."
    )


def read_test_rows(
    test_rows: Any, n_samples: int, groups: np.ndarray | None
) -> np.ndarray:
    """Mask of rows to test on, of shape (n_samples,).

    Raises
    ------
    ValueError
        If they are no rows of X, all or none of them, or share a group with the others.
    """
    rows, is_test = np.asarray(test_rows), np.zeros(n_samples, dtype=bool)
    mask = rows.dtype == bool and rows.shape == (n_samples,)
    positions = rows.dtype.kind in "iu" and rows.ndim == 1
    if not mask and not (positions and np.isin(rows, np.arange(n_samples)).all()):
        raise ValueError(
            f"test_rows should be a mask of shape ({n_samples},) or positions from 0 "
            f"to {n_samples - 1}, got {rows.dtype} of shape {rows.shape}."
        )
    is_test[rows] = True
    if is_test.all() or not is_test.any():
        raise ValueError(
            f"test_rows names {int(is_test.sum())} of {n_samples} rows. Leave some to "
            "train on, and some to test on."
        )
    if groups is not None and len(np.intersect1d(groups[is_test], groups[~is_test])):
        raise ValueError(
            "Some groups have rows among test_rows and among the others. Put whole "
            "groups in test_rows, or pass groups=None."
        )
    return is_test
