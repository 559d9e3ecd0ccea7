"""The few labels of new tasks that a probe is fitted to, which may lack classes."""

from collections.abc import Iterator
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import _num_samples, check_consistent_length

from mtrl_sklearn._arrays.conversion import dense_remedy
from mtrl_sklearn._arrays.validation import check_weights, read_weights
from mtrl_sklearn._labels.classes import (
    find_classes,
    find_codes,
    read_class_column,
    read_class_labels,
)
from mtrl_sklearn._labels.columns import (
    Labels,
    as_array,
    read_labels,
    read_task_ids,
)
from mtrl_sklearn._labels.encoding import (
    LabelEncoding,
    find_encoding,
    warn_of_missing_codes,
)
from mtrl_sklearn._labels.given import GivenLabels, check_counts, read_given
from mtrl_sklearn._labels.positive import put_known_last
from mtrl_sklearn._labels.signs import Signs, label_columns

# Two classes that one of them stands for, where no other label was seen.
PAIRS = {0: (0, 1), 1: (0, 1), -1: (-1, 1)}


# From there on the penalty of a probe says nothing, and its equations lose digits.
MOST_WEIGHT = 1e6


class OfClasses(NamedTuple):
    """Labels of one task with any number of classes."""

    codes: np.ndarray  # (n_kept,)
    row_weights: np.ndarray  # (n_kept,), how often each counts, more than 0
    loss_weights: np.ndarray  # (n_kept,), those of classes included


class OfTask(NamedTuple):
    """Labels of one binary task."""

    rows: np.ndarray  # (n_labels,), positions among the rows kept
    positive: np.ndarray  # (n_labels,), bool
    row_weights: np.ndarray  # (n_labels,), how often each counts, more than 0
    loss_weights: np.ndarray  # (n_labels,), those of classes included


class ProbeLabels(NamedTuple):
    """Labels of one task with k classes, or of many binary tasks."""

    encoding: LabelEncoding
    kept: np.ndarray | None  # (n_kept,), rows of inputs that count; None is all
    of_classes: OfClasses | None  # of the one task
    signs: Signs | None  # (n_kept, n_tasks), times weights, of many
    class_weight: Any

    @property
    def is_binary(self) -> bool:
        """Whether each score is that of one binary task."""
        return self.of_classes is None or len(self.encoding.classes[0]) == 2

    def find_turned(self, pos_label: Any) -> np.ndarray:
        """Which scores speak against the positive label of the source tasks.

        Parameters
        ----------
        pos_label : str, number, bool, dict or None
            As for `put_known_last`.

        Returns
        -------
        ndarray of shape (n_scores,), bool
        """
        placed = put_known_last(self.encoding, pos_label).classes
        is_turned = [a[0] != b[0] for a, b in zip(self.encoding.classes, placed)]
        return np.repeat(is_turned, self.encoding.tasks_per_output)

    def tasks(self, is_turned: np.ndarray) -> Iterator[OfTask]:
        """Labels of each binary task.

        Parameters
        ----------
        is_turned : ndarray of shape (n_tasks,), bool
            Whose other class is to be the positive one.
        """
        if self.of_classes is not None:
            codes, *weights = self.of_classes
            yield OfTask(np.arange(len(codes)), (codes > 0) != is_turned[0], *weights)
            return
        sizes = self.encoding.tasks_per_output
        pairs = np.repeat(np.arange(len(sizes)), sizes)
        for (rows, signs), k, turned in zip(
            label_columns(self.signs), pairs.tolist(), is_turned
        ):
            weights, positive = np.abs(signs).astype(np.float64), signs > 0
            known = self.encoding.classes[k]
            pair = known if sizes[k] == 1 else np.array([False, True])
            of_class = _weigh_classes(self.class_weight, pair, positive * 1, weights)
            yield OfTask(rows, positive != turned, weights, weights * of_class)


def read_probe_labels(
    n_samples: int, given: GivenLabels, classes: Any, class_weight: Any
) -> ProbeLabels:
    """Validated labels of new tasks, with their weights; none of weight 0 is left.

    Parameters
    ----------
    n_samples : int
        Rows of the inputs.
    given : GivenLabels
    classes : array-like of shape (n_classes,) or None
        All labels; needed where ``y`` may not show them, and they are not two numbers
        that follow from one.
    class_weight : dict, "balanced" or None

    Raises
    ------
    ValueError
        If labels cannot be read, classes do not follow from them, or lengths differ.
    """
    if given.sample_weight is not None and given.y is not None:
        weights = _bound_weights(given, may_be_zero=classes is not None)
        given = given._replace(sample_weight=weights)
    if given.tasks is None and given.rows is None and not _is_wide(given.y):
        return _read_classes(n_samples, given, classes, class_weight)
    labels, kept = read_given(given, n_samples, may_be_none=True)
    if labels.n_samples != (n_samples if kept is None else len(kept)):
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: "
            f"[{n_samples}, {labels.n_samples}]. Pass y with a row for each of X."
        )
    encoding = _find_wide(labels, classes)
    signs = encoding.encode_labels(labels, sparse=True)
    return ProbeLabels(encoding, kept, None, signs, class_weight)


def _bound_weights(given: GivenLabels, may_be_zero: bool) -> np.ndarray | None:
    """Weights of entries, with the same ratios, of which none is too large."""
    if not _num_samples(given.y):
        return None
    weights = check_weights(given.sample_weight, given.y, may_be_zero)
    largest = weights.max()
    return weights / largest * MOST_WEIGHT if largest > MOST_WEIGHT else weights


def read_scored(encoding: LabelEncoding, given: GivenLabels, n_samples: int) -> Signs:
    """Signs of labels to score, times their weights; those of other tasks are left out.

    Parameters
    ----------
    encoding : LabelEncoding
        Of fit, in the form of these labels.
    given : GivenLabels
    n_samples : int

    Raises
    ------
    ValueError
        If labels, ids, rows or weights cannot be read, or lengths differ.
    """
    y, tasks, rows, weights = given
    if weights is not None:
        weights = read_weights(weights, y)
    labels = read_labels(y, tasks, rows, weights, n_samples)
    if labels.n_samples != n_samples:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: "
            f"[{n_samples}, {labels.n_samples}]. Pass y with a row for each of X."
        )
    if tasks is not None:
        ids = read_task_ids(tasks)
        known = np.isin(ids, encoding.outputs)
        if not known.all():
            rows = np.arange(n_samples) if rows is None else rows
            given = GivenLabels(y, ids, rows, weights)
            labels = read_labels(*given.take(np.flatnonzero(known)), n_samples)
    return encoding.encode_labels(labels, strict=False, sparse=True)


def _read_classes(
    n_samples: int, given: GivenLabels, classes: Any, class_weight: Any
) -> ProbeLabels:
    """Labels of one task."""
    if is_column(given.y):
        labels, kept, _ = read_class_column(given.y)
    else:
        labels = read_class_labels(given.y)
        kept = np.arange(len(labels))
    check_consistent_length(np.empty(n_samples), given.y)
    weights = np.ones(n_samples)
    if given.sample_weight is not None:
        weights = given.sample_weight
        check_counts(weights)
    counts = weights[kept] > 0
    labels, kept = labels[counts], kept[counts]
    weights = weights[kept]
    known = _find_all_classes(labels, classes)
    codes = find_codes(labels, known)
    if (codes < 0).any():
        other = labels[codes < 0].tolist()[0]
        raise ValueError(
            f"y holds the label {other!r}, which is not among classes="
            f"{known.tolist()}. Pass all labels as classes=."
        )
    of_class = _weigh_classes(class_weight, known, codes, weights)
    return ProbeLabels(
        LabelEncoding("single", np.array(["0"]), [known]),
        None if len(kept) == n_samples else kept,
        OfClasses(codes, weights, weights * of_class),
        None,
        class_weight,
    )


def _is_wide(y: Any) -> bool:
    """Whether labels are those of several tasks, as those of a sparse matrix are."""
    if y is None or is_column(y):
        return False
    return bool(dense_remedy(y, "y")) or as_array(y).ndim == 2


def is_column(y: Any) -> bool:
    """Whether labels are a column, which scikit-learn takes for those of one task."""
    if dense_remedy(y, "y"):
        return hasattr(y, "columns") and len(y.columns) == 1
    return as_array(y).shape[1:] == (1,)


def _find_wide(labels: Labels, classes: Any) -> LabelEncoding:
    """Classes of many tasks, of which labels may show some only."""
    if not labels.n_outputs:
        raise ValueError(
            "tasks holds no id, so that there is no task to learn. Pass labels; or, "
            "for a probe without any, an empty y, classes=, and no tasks."
        )
    if classes is None and labels.classes is None:
        observed = [column.values for column in labels.columns if len(column.values)]
        if not observed:
            raise ValueError(
                "y holds no observed label, so that its classes are not known. Pass "
                "all labels as classes=, such as classes=[0, 1]."
            )
        distinct = np.unique(np.concatenate([np.unique(values) for values in observed]))
        if len(distinct) == 1:
            classes = _infer_pair(distinct)
    encoding = find_encoding(labels, classes)
    warn_of_missing_codes(encoding)
    one_sided = [
        str(name)
        for name, known in zip(encoding.outputs.tolist(), encoding.classes)
        if len(known) < 2
    ]
    if one_sided:
        what, others = "column", "columns"
        if labels.form == "long":
            what, others = "task", "tasks"
        raise ValueError(
            f"The {what} {one_sided[0]!r} of y shows fewer than 2 classes, and "
            f"{others} have different ones. Pass all labels as classes=, or fit a "
            "probe for it alone."
        )
    return encoding


def _find_all_classes(labels: np.ndarray, classes: Any) -> np.ndarray:
    """Sorted classes of one task, of which labels may show one or none."""
    if classes is not None:
        return find_classes(read_class_labels(classes, "classes"), "classes")
    distinct = np.unique(labels)
    if not len(labels):
        raise ValueError(
            "y holds no label, so that its classes are not known. Pass all labels as "
            "classes=, such as classes=[0, 1]."
        )
    return _infer_pair(distinct) if len(distinct) == 1 else find_classes(labels)


def _infer_pair(distinct: np.ndarray) -> np.ndarray:
    """Two classes of which only one was seen."""
    value = distinct[0]
    if distinct.dtype.kind not in "biuf" or value not in PAIRS:
        raise ValueError(
            f"y shows 1 class ({distinct.tolist()}), from which the other one does not "
            "follow. Pass all labels as classes=."
        )
    if distinct.dtype.kind == "u" or value != -1:
        return np.array(PAIRS[int(value)]).astype(distinct.dtype)
    return np.array(PAIRS[-1]).astype(distinct.dtype)


def _weigh_classes(
    class_weight: Any, known: np.ndarray, codes: np.ndarray, row_weights: np.ndarray
) -> np.ndarray:
    """Weight of the class of each label, of shape (n_labels,).

    Parameters
    ----------
    class_weight : dict, "balanced" or None
    known : ndarray of shape (n_classes,)
    codes : ndarray of shape (n_labels,)
        Which of these each label is.
    row_weights : ndarray of shape (n_labels,)
    """
    if class_weight is None:
        return np.ones(len(codes))
    if isinstance(class_weight, str):  # "balanced"
        totals = np.bincount(codes, row_weights, minlength=len(known))
        shown = totals > 0
        even = totals.sum() / max(int(shown.sum()), 1)
        return np.divide(even, totals, out=np.ones(len(known)), where=shown)[codes]
    keys, values = list(class_weight), list(class_weight.values())
    places = find_codes(read_class_labels(keys, "class_weight"), known)
    if (places < 0).any():
        raise ValueError(
            f"class_weight has the keys {keys}, which are not all among the classes "
            f"{known.tolist()}. Remove the others."
        )
    if not all(isinstance(w, Real) and 0 < float(w) < np.inf for w in values):
        raise ValueError(
            f"class_weight={class_weight} should map labels to positive numbers."
        )
    weights = np.ones(len(known))
    weights[places] = values
    return weights[codes]
