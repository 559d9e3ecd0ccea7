"""Source tasks: pre-training without some of them, and groups of similar ones."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.sparse import csr_array, issparse
from scipy.spatial.distance import squareform
from sklearn import get_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.validation import _get_feature_names, has_fit_parameter

from mtrl_sklearn._arrays.conversion import dense_remedy
from mtrl_sklearn._arrays.copies import number_values
from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._group import alone
from mtrl_sklearn._labels.columns import as_array, read_task_ids
from mtrl_sklearn._labels.encoding import LabelEncoding, brief
from mtrl_sklearn._labels.indicator import is_indicator
from mtrl_sklearn._labels.positive import put_positive_last
from mtrl_sklearn._labels.signs import Signs, count_signs
from mtrl_sklearn.probing._affinity import sign_agreement
from mtrl_sklearn.probing._blocks import (
    as_rows,
    has_source_tasks,
    unfreeze,
)
from mtrl_sklearn.probing._entries import read_entries

# Clusters of tasks per group, so that groups come out of similar size.
CLUSTERS_PER_GROUP = 8

# Rows that tell what the steps of a pipeline make of inputs.
N_TRIED = 256


class SourceTasks(NamedTuple):
    """Labels of tasks to train a representation on, entry by entry.

    An output whose labels do not show two classes has no part in anything. In the long
    form its labels are not among these.
    """

    X: Any  # inputs as the caller has them
    y: Any  # (n_entries,) or (n_entries, n_outputs)
    tasks: np.ndarray | None  # (n_entries,), the long form
    places: np.ndarray | None  # (n_entries,), rows of X; None where entries are these
    has_rows: bool  # whether X has each input once, and labels say their row
    encoding: LabelEncoding
    signs: Signs  # (n_entries, n_tasks), an array or a CSC array
    usable: np.ndarray  # (n_outputs,), bool
    counts: np.ndarray  # (2, n_tasks), positive and negative labels, of others as well
    inputs: np.ndarray | None  # (n_entries,), which have the same one; None: none have

    @property
    def output_of_task(self) -> np.ndarray:
        """Column of ``y``, or task id, that each binary task belongs to."""
        return np.repeat(
            np.arange(len(self.encoding.outputs)), self.encoding.tasks_per_output
        )

    def list_unusable(self, shots: tuple[int, ...], n_draws: int) -> list[dict]:
        """Entries of a table for the tasks that no group has, as tasks skipped."""
        return [
            {
                "task": self.encoding.task_names[task],
                "shots": k,
                "draws": n_draws,
                "reason": _name_counts(*self.counts[:, task]),
            }
            for task in np.flatnonzero(~self.usable[self.output_of_task]).tolist()
            for k in shots
        ]

    def rows_of(self, entries: np.ndarray) -> np.ndarray:
        """Rows of X that some entries belong to."""
        return entries if self.places is None else self.places[entries]

    def fit_without(
        self,
        estimator: Any,
        left_out: np.ndarray,
        entries: np.ndarray,
        lighter: bool = False,
    ) -> Any:
        """A clone of the estimator, fitted on some entries without some tasks.

        Parameters
        ----------
        estimator : estimator or pipeline
        left_out : ndarray of shape (n_outputs,), bool
        entries : ndarray of shape (n_trained,)
        lighter : bool, default=False
            Whether to fit what it says is lighter in its place.
        """
        estimator = _lighten(estimator, len(entries)) if lighter else _thaw(estimator)
        if self.tasks is None and has_source_tasks(estimator):
            _refuse_columns(estimator)
        if self.tasks is not None:
            kept = self.encoding.outputs[~left_out]
            entries = entries[np.isin(self.tasks[entries], kept)]
            y = as_array(self.y)[entries]
            params = {"tasks": self.tasks[entries]}
            _keep_pos_label(estimator, kept.tolist())
        else:
            y, params = self._train_columns(left_out, entries), {}
            _keep_pos_label(estimator, None)
        rows = self.rows_of(entries)
        if self.has_rows and takes_in_fit(estimator, "rows"):
            rows, params["rows"] = np.unique(rows, return_inverse=True)
        params = name_fit_params(estimator, params)
        with alone():
            return estimator.fit(_safe_indexing(self.X, rows), y, **params)

    def _train_columns(self, left_out: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """Labels of the wide form to train on, of those tasks that show both classes.

        Returns
        -------
        ndarray of shape (n_trained, n_usable)
            1.0, 0.0, or NaN.
        """
        signs = self.signs[entries][:, ~left_out[self.output_of_task]]
        usable = (signs > 0).any(axis=0) & (signs < 0).any(axis=0)
        if not usable.any():
            raise ValueError(
                "No task with labels of both classes is left to train on once a "
                f"group of {int(left_out.sum())} of {int(self.usable.sum())} is "
                "taken out. Pass more tasks, or smaller groups_of_tasks."
            )
        signs = signs[:, usable]
        return np.where(signs == 0, np.nan, signs > 0)


def check_inputs(estimator: Any, X: Any) -> None:
    """Refuse inputs that no probe could see, before an estimator is trained on them.

    Of a pipeline, what the steps before the learner make of a few sparse rows tells
    whether a learner that wants arrays gets them.

    Parameters
    ----------
    estimator : estimator or pipeline
    X : array-like or sparse matrix
    """
    estimator, head = _thaw(estimator), None
    learner = estimator
    if isinstance(estimator, Pipeline):
        name = _name_learner(estimator)
        head = estimator[: [*estimator.named_steps].index(name)]
        learner = estimator.named_steps[name]
    with naming_numbers(X, "X"):
        _get_feature_names(X)  # refuses those of two types
    if not head:
        _refuse_sparse(learner, X)
        as_rows(X)
        if hasattr(estimator, "check_inputs"):
            estimator.check_inputs(X)
    elif issparse(X):
        try:
            made = head.fit_transform(_safe_indexing(X, slice(N_TRIED)))
        except Exception:  # they may need labels, or more rows
            return
        _refuse_sparse(learner, made)


def _refuse_sparse(learner: Any, X: Any) -> None:
    """Refuse sparse inputs of a network that takes arrays."""
    remedy = dense_remedy(X, "X")
    if not remedy or not has_source_tasks(learner):
        return
    if not get_tags(learner).input_tags.sparse:
        raise TypeError(
            f"X is sparse, but a {type(learner).__name__} takes arrays. Pass {remedy}, "
            "or a pipeline whose first step makes arrays of few columns, such as "
            "TruncatedSVD."
        )


def _refuse_columns(estimator: Any) -> None:
    """Refuse a column of labels per task, of a network that takes one label per row."""
    if not get_tags(estimator).target_tags.multi_output:
        raise ValueError(
            f"Rows of a {type(estimator).__name__} belong to one task each. Pass Y of "
            "shape (n_samples,) and the task of each row as tasks=."
        )


def _thaw(estimator: Any) -> Any:
    """A clone to fit anew: frozen representations are not kept, other steps are."""
    estimator = clone(unfreeze(estimator))
    if isinstance(estimator, Pipeline):
        name = _name_learner(estimator)
        estimator.set_params(**{name: _thaw(estimator.named_steps[name])})
    return estimator


def _lighten(estimator: Any, n_rows: int) -> Any:
    """An estimator to fit in its place where many are: it may be trained less."""
    estimator = unfreeze(estimator)
    if isinstance(estimator, Pipeline):
        name = _name_learner(estimator)
        learner = _lighten(estimator.named_steps[name], n_rows)
        return clone(estimator).set_params(**{name: learner})
    has_lighter = hasattr(estimator, "lighter")
    return estimator.lighter(n_rows) if has_lighter else clone(estimator)


def _name_learner(pipeline: Pipeline) -> str:
    """The step that learns from source tasks, the last one if none is known to."""
    ours = [name for name, step in pipeline.steps if has_source_tasks(step)]
    return ours[-1] if ours else pipeline.steps[-1][0]


def name_fit_params(estimator: Any, params: dict[str, Any]) -> dict[str, Any]:
    """What fit of the learner is to get, by the names that fit of a pipeline has."""
    if isinstance(estimator, Pipeline) and not get_config()["enable_metadata_routing"]:
        step = _name_learner(estimator)
        params = name_fit_params(unfreeze(estimator.named_steps[step]), params)
        return {f"{step}__{name}": value for name, value in params.items()}
    return params


def takes_in_fit(estimator: Any, name: str) -> bool:
    """Whether fit of the learner has a parameter."""
    estimator = unfreeze(estimator)
    if isinstance(estimator, Pipeline):
        return takes_in_fit(estimator.named_steps[_name_learner(estimator)], name)
    return has_fit_parameter(estimator, name)


def _name_counts(n_positive: int, n_negative: int) -> str:
    return f"{n_positive} positive and {n_negative} negative labels: both are needed"


def _name_pos_label(estimator: Any) -> str | None:
    """The parameter of an estimator or pipeline that says which label is positive."""
    names = estimator.get_params(deep=isinstance(estimator, Pipeline))
    return next((n for n in names if n.split("__")[-1] == "pos_label"), None)


def find_pos_label(estimator: Any) -> Any:
    """The label that counts as positive, as `MultiTaskReLURepresentation` has it."""
    estimator = _thaw(estimator)
    name = _name_pos_label(estimator)
    return None if name is None else estimator.get_params()[name]


def _keep_pos_label(estimator: Any, outputs: list[Any] | None) -> None:
    """Leave what says of these outputs which label is positive; None leaves nothing."""
    name = _name_pos_label(estimator)
    if name is None:
        return
    pos_label = None if outputs is None else estimator.get_params()[name]
    if isinstance(pos_label, dict):
        pos_label = {k: v for k, v in pos_label.items() if k in set(outputs or [])}
    estimator.set_params(**{name: pos_label})


def read_sources(
    X: Any,
    y: Any,
    tasks: Any,
    pos_label: Any = None,
    rows: Any = None,
    sample_weight: Any = None,
) -> SourceTasks:
    """Validated labels of source tasks, of which some are positive: `find_pos_label`.

    Raises
    ------
    ValueError
        If labels cannot be read, or fewer than two tasks show two classes.
    """
    read = read_entries(
        X,
        y,
        tasks,
        rows,
        sample_weight,
        partial(put_positive_last, pos_label=pos_label),
    )
    encoding, signs = read.encoding, read.signs
    if is_indicator(signs):
        signs = signs.toarray()
    counts = np.array(count_signs(signs))
    both = counts.min(axis=0) > 0
    of_output = encoding.tasks_per_output
    usable = both[
        np.cumsum(of_output) - of_output
    ]  # of > 2 classes: all tasks, or none
    if usable.sum() < 2:
        raise ValueError(
            f"Y holds {len(usable)} task{'s' * (len(usable) != 1)}, of which "
            f"{int(usable.sum())} show labels of both classes, but some are to be left "
            "out and others to be trained on. Pass at least 2 that show both: a column "
            "for each, or one label per row and its task as tasks=."
        )
    sources = SourceTasks(
        read.X,
        read.y,
        None,
        read.places,
        read.has_rows,
        encoding,
        signs,
        usable,
        counts,
        read.inputs,
    )
    if read.tasks is None:
        return sources
    assert read.inputs is not None  # they are numbered in the long form
    ids = as_array(read.tasks)
    sources = sources._replace(y=as_array(read.y), tasks=ids)
    kept = np.flatnonzero(np.isin(ids, encoding.outputs[usable]))
    if len(kept) == len(ids):
        return sources
    return sources._replace(
        y=sources.y[kept],
        tasks=ids[kept],
        places=sources.rows_of(kept),
        signs=signs[kept],
        inputs=number_values(read.inputs[kept]),
    )


def read_groups(
    groups_of_tasks: Any, n_groups: int, sources: SourceTasks, seed: int
) -> dict[Any, np.ndarray]:
    """Which usable outputs belong to each group, by name, as masks (n_outputs,).

    Parameters
    ----------
    groups_of_tasks : array-like of shape (n_outputs,), list of lists or None
        The group of each column of y, or of each sorted task id; or the names or
        positions of the tasks of each group. None finds groups of similar tasks.
    n_groups : int
        Number of groups to find.
    sources : SourceTasks
    seed : int
    """
    outputs = sources.encoding.outputs.tolist()
    if groups_of_tasks is None:
        of_output = np.full(len(outputs), -1)
        of_output[sources.usable] = find_groups(sources, n_groups, seed)
        found = np.unique(of_output[sources.usable])
        return {int(group): of_output == group for group in found}
    if isinstance(groups_of_tasks, str) or not np.iterable(groups_of_tasks):
        raise ValueError(
            f"groups_of_tasks={groups_of_tasks!r} should be the group of each task, or "
            "a list of lists of tasks."
        )
    groups = list(groups_of_tasks)
    if any(isinstance(g, (list, tuple, set, np.ndarray)) for g in groups):
        masks = {k: _mask_of(group, outputs) for k, group in enumerate(groups)}
    else:
        if len(groups) != len(outputs):
            raise ValueError(
                f"groups_of_tasks has {len(groups)} entries, but there are "
                f"{len(outputs)} tasks: {brief(outputs)}. Pass the group of each task."
            )
        ids = read_task_ids(groups)
        masks = {group: ids == group for group in np.unique(ids).tolist()}
    n_usable = int(sources.usable.sum())
    kept = {group: mask & sources.usable for group, mask in masks.items()}
    kept = {group: mask for group, mask in kept.items() if mask.any()}
    is_empty = not kept or any(not mask.any() for mask in masks.values())
    if is_empty or any(mask.sum() == n_usable for mask in kept.values()):
        raise ValueError(
            f"groups_of_tasks={brief(groups)} should leave some tasks out and keep "
            f"some in each round, of the {n_usable} of {len(outputs)} tasks that show "
            "labels of both classes. Pass at least two groups of these."
        )
    return kept


def _mask_of(group: Any, outputs: list[Any]) -> np.ndarray:
    mask = np.zeros(len(outputs), dtype=bool)
    for task in group:
        if task in outputs:
            mask[outputs.index(task)] = True
        elif isinstance(task, (int, np.integer)) and 0 <= task < len(outputs):
            mask[task] = True
        else:
            raise ValueError(
                f"groups_of_tasks names {task!r}, which is neither a task nor a "
                f"position among {len(outputs)} tasks: {brief(outputs)}."
            )
    return mask


def find_groups(sources: SourceTasks, n_groups: int, seed: int) -> np.ndarray:
    """Groups of about equal size that keep usable outputs of similar labels together.

    Tasks are clustered by the agreement of their labels. Two of which no input has both
    labels count as unrelated. Complete linkage keeps clusters small enough to make
    groups of one size; average linkage chained most assays into one.

    Returns
    -------
    ndarray of shape (n_usable,), int
    """
    first = np.unique(sources.output_of_task, return_index=True)[1][sources.usable]
    signs = sources.signs[:, first]
    if sources.inputs is not None:
        signs = _join_copies(signs, sources.inputs)
    agreement = np.nan_to_num(sign_agreement(signs))
    n_outputs = len(agreement)
    n_groups = min(n_groups, n_outputs)
    distance = np.clip(1 - np.abs(agreement), 0, None)
    np.fill_diagonal(distance, 0)
    # of two tasks at least on average, or none would be kept together
    n_clusters = max(n_groups, min(CLUSTERS_PER_GROUP * n_groups, n_outputs // 2))
    tree = linkage(squareform(distance, checks=False), "complete")
    # what no agreement joins need not stay together, and would be one large group
    n_clusters = max(n_clusters, n_outputs - int(np.sum(tree[:, 2] < 1)))
    clusters = cut_tree(tree, n_clusters)[:, 0]
    sizes = np.bincount(clusters)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    group = np.zeros(len(sizes), dtype=int)
    total = np.zeros(n_groups)
    for cluster in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        group[cluster] = total.argmin()
        total[group[cluster]] += sizes[cluster]
    return group[clusters]


def _join_copies(signs: Signs, inputs: np.ndarray) -> np.ndarray:
    """Signs of inputs, of shape (n_inputs, n_tasks): those that most copies have."""
    n_samples = len(inputs)
    places = inputs, np.arange(n_samples)
    is_of = csr_array((np.ones(n_samples, dtype=np.int32), places))
    joined = is_of @ signs
    joined = joined.toarray() if issparse(joined) else joined
    return np.sign(joined).astype(np.int8)
