"""The few labels of new tasks that a probe is fitted to, which may lack classes."""

from collections.abc import Iterator
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from mtrl_sklearn._arrays.conversion import dense_remedy
from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._labels.columns import as_array, read_labels
from mtrl_sklearn._labels.encoding import (
    LabelEncoding,
    find_classes,
    find_codes,
    find_encoding,
    read_class_labels,
    warn_of_missing_codes,
)
from mtrl_sklearn._labels.positive import put_known_last

# Two classes that one of them stands for, where no other label was seen.
PAIRS = {0: (0, 1), 1: (0, 1), -1: (-1, 1)}


class ProbeLabels(NamedTuple):
    """Labels of one task with k classes, or of many binary tasks."""

    encoding: LabelEncoding
    codes: np.ndarray | None  # (n_samples,), classes of the one task
    signs: np.ndarray  # (n_samples, n_tasks): +1, -1, or 0 where nothing was observed
    row_weights: np.ndarray  # (n_samples,), how often each row counts
    loss_weights: np.ndarray  # (n_samples, n_tasks), those of classes included

    @property
    def is_binary(self) -> bool:
        """Whether each score is that of one binary task."""
        return self.codes is None or len(self.encoding.classes[0]) == 2

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

    def turn(self, is_turned: np.ndarray) -> "ProbeLabels":
        """The same with the other class of some binary tasks as the positive one."""
        signs = np.where(is_turned, -self.signs, self.signs)
        codes = self.codes
        if codes is not None and is_turned.all():  # of more classes none is
            codes = 1 - codes
        return self._replace(signs=signs, codes=codes)

    def tasks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Rows with labels that count, labels 0 or 1, and weights of losses."""
        for signs, weights in zip(self.signs.T, self.loss_weights.T):
            rows = np.flatnonzero((signs != 0) & (self.row_weights > 0))
            yield rows, (signs[rows] > 0).astype(np.float64), weights[rows]


def read_probe_labels(
    X: Any, y: Any, sample_weight: Any, classes: Any, class_weight: Any
) -> ProbeLabels:
    """Validated labels of new tasks, with their weights.

    Parameters
    ----------
    X : array-like of n_samples rows
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : array-like of shape (n_samples,) or None
    classes : array-like of shape (n_classes,) or None
        All labels; needed where ``y`` may not show them, and they are not two numbers
        that follow from one.
    class_weight : dict, "balanced" or None

    Raises
    ------
    ValueError
        If labels cannot be read, classes do not follow from them, or lengths differ.
    """
    is_wide = y is not None and _is_wide(y)
    if is_wide:
        encoding, signs = _read_wide(y, classes)
        codes = None
    else:
        labels = read_class_labels(y)
        check_consistent_length(X, labels)
        known = _find_all_classes(labels, classes)
        codes = find_codes(labels, known)
        if (codes < 0).any():
            other = labels[codes < 0].tolist()[0]
            raise ValueError(
                f"y holds the label {other!r}, which is not among classes="
                f"{known.tolist()}. Pass all labels as classes=."
            )
        encoding = LabelEncoding("single", np.array(["0"]), [known])
        signs = np.where(codes[:, None] == np.arange(len(known)), 1, -1)
        signs = signs[:, 1:] if len(known) == 2 else signs
    check_consistent_length(X, signs)
    row_weights = np.ones(len(signs))
    if sample_weight is not None and len(signs):
        with naming_numbers(sample_weight, "sample_weight") as values:
            row_weights = _check_sample_weight(
                values, signs, dtype=np.float64, ensure_non_negative=True
            )
    of_classes = _weigh_classes(class_weight, encoding, codes, signs, row_weights)
    loss_weights = row_weights[:, None] * of_classes
    return ProbeLabels(encoding, codes, signs, row_weights, loss_weights)


def _is_wide(y: Any) -> bool:
    """Whether labels are those of several tasks; one column counts as one task."""
    if hasattr(y, "columns"):
        return len(y.columns) != 1
    if dense_remedy(y, "y"):
        return True
    shape = np.shape(y) if hasattr(y, "shape") else as_array(y).shape
    return len(shape) == 2 and shape[1] != 1


def _read_wide(y: Any, classes: Any) -> tuple[LabelEncoding, np.ndarray]:
    labels = read_labels(y, None)
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
        raise ValueError(
            f"The column {one_sided[0]!r} of y shows fewer than 2 classes, and columns "
            "have different ones. Pass all labels as classes=, or fit a probe for it "
            "alone."
        )
    return encoding, encoding.encode_labels(labels)


def _find_all_classes(labels: np.ndarray, classes: Any) -> np.ndarray:
    """Sorted classes of one task, of which labels may show one or none."""
    if classes is not None:
        return find_classes(read_class_labels(classes, "classes"), "classes")
    distinct = np.unique(labels)
    if not len(labels):
        raise ValueError(
            "X has 0 rows and y no label, so that its classes are not known. Pass "
            "all labels as classes=, such as classes=[0, 1]."
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
    class_weight: Any,
    encoding: LabelEncoding,
    codes: np.ndarray | None,
    signs: np.ndarray,
    row_weights: np.ndarray,
) -> np.ndarray:
    """Weight of the class of each label, of shape (n_samples, n_tasks)."""
    if class_weight is None:
        return np.ones(signs.shape)
    if codes is not None:  # the weight of a row's class counts in all its scores
        known = encoding.classes[0]
        members = codes[:, None] == np.arange(len(known))
        weights = _of_classes(class_weight, known, members, row_weights)
        return np.repeat(weights[codes][:, None], signs.shape[1], axis=1)
    found = np.ones(signs.shape)
    starts = np.cumsum(encoding.tasks_per_output) - encoding.tasks_per_output
    for known, start, n in zip(encoding.classes, starts, encoding.tasks_per_output):
        for task in range(start, start + n):
            members = np.stack([signs[:, task] < 0, signs[:, task] > 0], axis=1)
            pair = known if n == 1 else np.array([False, True])
            weights = _of_classes(class_weight, pair, members, row_weights)
            found[:, task] = np.where(signs[:, task] > 0, weights[1], weights[0])
    return found


def _of_classes(
    class_weight: Any, known: np.ndarray, members: np.ndarray, row_weights: np.ndarray
) -> np.ndarray:
    """Weight of each class, of shape (n_classes,)."""
    if isinstance(class_weight, str):  # "balanced"
        totals = row_weights @ members
        shown = totals > 0
        even = totals.sum() / max(int(shown.sum()), 1)
        return np.divide(even, totals, out=np.ones(len(known)), where=shown)
    keys, values = list(class_weight), list(class_weight.values())
    codes = find_codes(read_class_labels(keys, "class_weight"), known)
    if (codes < 0).any():
        raise ValueError(
            f"class_weight has the keys {keys}, which are not all among the classes "
            f"{known.tolist()}. Remove the others."
        )
    if not all(isinstance(w, Real) and 0 < float(w) < np.inf for w in values):
        raise ValueError(
            f"class_weight={class_weight} should map labels to positive numbers."
        )
    weights = np.ones(len(known))
    weights[codes] = values
    return weights
