"""source_task_transfer: would new tasks of this kind profit? Leave some out and see."""

from numbers import Integral

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, validate_params
from sklearn.utils.validation import _num_samples

from mtrl_sklearn._warnings import warn_user
from mtrl_sklearn.probing._contenders import (
    BASELINES,
    check_probe,
    list_contenders,
    read_baselines,
    score_contenders,
    sees_blocks,
)
from mtrl_sklearn.probing._draws import FixedSplit, read_groups_of_rows, read_shots
from mtrl_sklearn.probing._new_tasks import (
    PARAMETERS,
    import_table,
    warn_of_no_scores,
)
from mtrl_sklearn.probing._sources import (
    check_inputs,
    find_pos_label,
    read_groups,
    read_sources,
)


@validate_params(
    PARAMETERS
    | {
        "estimator": [HasMethods(["fit", "transform"])],
        "n_groups": [Interval(Integral, 2, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def source_task_transfer(
    estimator,
    X,
    Y,
    groups_of_tasks=None,
    *,
    tasks=None,
    rows=None,
    sample_weight=None,
    n_groups=3,
    shots=(16, 32, 64, 128),
    sampling="random",
    n_draws=5,
    test_size=0.25,
    scoring="roc_auc",
    probe=None,
    baselines=BASELINES,
    groups=None,
    n_jobs=None,
    random_state=None,
    verbose=False,
):
    """Measure on the source tasks whether new tasks of their kind will profit.

    A share ``test_size`` of the rows is set aside. For each group of tasks the
    estimator is trained without them on the other rows, and these tasks are then
    probed as new ones: few labels of rows that were trained on, scores on rows that
    were not. In the long form rows of X that are equal are one input, and set aside
    together with all of its labels.

    Parameters
    ----------
    estimator : estimator or pipeline
        Cloned, and fitted once per group.
    X : array-like or sparse matrix of shape (n_samples, ...)
        Inputs.
    Y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels, as for the estimator. Of sparse ones an array of a byte each is made.
    groups_of_tasks : array-like of shape (n_outputs,) or list of lists, default=None
        The group of each column of ``Y``, or of each sorted id of ``tasks``; or lists
        of names or positions. None finds groups that keep tasks with similar labels
        together, because near-duplicates among the tasks trained on flatter. Some stay:
        where tasks come in families, name these.
    tasks : array-like of shape (n_samples,), default=None
        The long form: ``Y`` holds one label per row, of this task.
    rows : array-like of shape (n_labels,), default=None
        The relational form, with ``tasks``: the row of X that each label belongs to.
        X then has each input once, and ``Y`` and ``tasks`` an entry for each label. The
        result is that of ``X[rows]`` in the long form, where fits do not differ: see
        fit of `MultiTaskReLURepresentation`. Random features are centred over X.
    sample_weight : array-like of shape (n_samples,) or (n_labels,), default=None
        Whole numbers: how often each entry of ``Y`` is to be there. Copies of a row
        count as one input.
    n_groups : int, default=3
        Number of groups to find.
    shots, sampling, n_draws, test_size, scoring, probe, baselines, groups
        As for `probe_new_tasks`. There is one split into training and test rows; draws
        differ in the few labels. In the long form ``groups=None`` are the inputs.
    n_jobs, random_state, verbose
        As for `probe_new_tasks`.

    Returns
    -------
    TransferTable
        As `probe_new_tasks` returns it, with a column ``group``. In its ``summary()`` a
        negative ``gain`` means that tasks like these lose by the representation. Tasks
        that do not show both classes are in no group, and among its ``skipped``.

    Raises
    ------
    ImportError
        If pandas is not installed.
    ValueError
        If there is a single task that shows both classes, groups leave nothing to train
        on, or labels cannot be read.

    Warns
    -----
    UserWarning
        If ``groups`` part rows of the long form that are the same input.
    UserWarning
        If no task has enough labels, so that the table is empty.

    Examples
    --------
    >>> from mtrl_sklearn import MultiTaskReLURepresentation
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> from mtrl_sklearn.probing import source_task_transfer
    >>> X, Y, *_ = make_subspace_tasks(1000, 50, n_tasks=24, random_state=0)
    >>> table = source_task_transfer(
    ...     MultiTaskReLURepresentation(64, random_state=0), X, Y, n_groups=2,
    ...     shots=(32,), n_draws=2, random_state=0,
    ... )
    >>> gain = table.summary().set_index("features")["gain"]
    >>> bool(gain["raw"] > 0.1)
    True
    """
    build_table = import_table("source_task_transfer")
    check_probe(probe, scoring)
    shots, baselines = read_shots(shots), read_baselines(baselines)
    pos_label = find_pos_label(estimator)
    sources = read_sources(X, Y, tasks, pos_label, rows, sample_weight)
    if baselines or sees_blocks(probe):
        check_inputs(estimator, sources.X)
    groups = read_groups_of_rows(groups, _num_samples(sources.X))
    places = sources.rows_of(np.arange(sources.signs.shape[0]))
    groups = sources.inputs if groups is None else groups[places]
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    left_out = read_groups(groups_of_tasks, n_groups, sources, seed)
    split = _split_rows(len(places), groups, test_size, seed)
    train = np.flatnonzero(~split.is_test)
    if sources.inputs is not None:
        _warn_of_parted(sources.inputs, split)
    names = sources.encoding.task_names
    records, skipped = [], sources.list_unusable(shots, n_draws)
    for group, outputs in left_out.items():
        representation = sources.fit_without(estimator, outputs, train)
        probed = outputs[sources.output_of_task]
        scores = score_contenders(
            list_contenders(
                representation, sources.X, probe, baselines, seed, sources.places
            ),
            sources.signs[:, probed],
            names[probed].tolist(),
            split,
            shots=shots,
            sampling=sampling,
            n_draws=n_draws,
            scoring=scoring,
            seed=seed,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        records += [record | {"group": group} for record in scores.records]
        skipped += scores.skipped
    if not records:
        warn_of_no_scores(sources.signs, names, skipped, sampling)
    return build_table(records, skipped)


def _split_rows(
    n_samples: int, groups: np.ndarray | None, test_size: float, seed: int
) -> FixedSplit:
    n, what = n_samples, "rows"
    splitter = ShuffleSplit
    if groups is not None:
        n, what, splitter = len(np.unique(groups)), "groups of rows", GroupShuffleSplit
    if not 0 < np.ceil(test_size * n) < n:
        raise ValueError(
            f"test_size={test_size} of {n} {what} leaves no {what} to train on. Lower "
            f"test_size, or pass more {what}."
        )
    rows = splitter(1, test_size=test_size, random_state=seed)
    _, test = next(rows.split(np.arange(n_samples), groups=groups))
    is_test = np.zeros(n_samples, dtype=bool)
    is_test[test] = True
    return FixedSplit(is_test)


def _warn_of_parted(inputs: np.ndarray, split: FixedSplit) -> None:
    """Warn of test rows whose input is also trained on, for another task."""
    trained, tested = inputs[~split.is_test], inputs[split.is_test]
    n_parted = int(np.isin(tested, trained).sum())
    if n_parted:
        warn_user(
            f"groups part rows of X that are the same input: {n_parted} of "
            f"{len(tested)} test rows have it among those trained on, for another "
            "task, and scores flatter. Pass groups of whole inputs, or None."
        )
