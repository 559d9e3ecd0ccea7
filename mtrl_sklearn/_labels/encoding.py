"""Labels of many tasks: from the caller's encoding to signs, and back.

The rest of the package sees ``signs`` only, of shape (n_samples, n_tasks): +1, -1, or 0
where nothing was observed. See `_labels.signs`.

Two words are kept apart. An *output* is what the caller sees: a column of a wide
``y``, or a task id of the long form. A *task* is one binary problem. An output with
two classes is one task; an output with k > 2 classes is k one-vs-rest tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtrl_sklearn._labels.classes import (
    find_classes,
    find_distinct,
    read_class_labels,
)
from mtrl_sklearn._labels.columns import (
    Column,
    Form,
    Labels,
    number_names,
    read_labels,
)
from mtrl_sklearn._labels.indicator import Indicator
from mtrl_sklearn._labels.signs import (
    Signs,
    collect_signs,
    pack_signs,
    place_signs,
    weigh_signs,
)
from mtrl_sklearn._labels.values import (
    choose_classes,
    compare_values,
    find_members,
    find_two_values,
    is_text,
    sign_members,
)
from mtrl_sklearn._warnings import warn_user

# Outputs share their classes only where these agree, so that predictions keep the type.
TYPES = {"b": "boolean", "i": "number", "u": "number", "f": "number"}
TYPES |= {"U": "string", "T": "string"}

# Strings that a missing label often becomes, as in np.array(["yes", np.nan]).
MISSING_NAMES = {"", "nan", "NaN", "None", "<NA>", "NaT"}

# Up to so many classes may differ in most rows without being names of these.
FEW_LABELS = 20


@dataclass(frozen=True)
class LabelEncoding:
    """How the caller's labels map to binary tasks, and scores map back.

    Attributes
    ----------
    form : {"single", "wide", "long"}
        ``y`` of shape (n_samples,); ``y`` of shape (n_samples, n_outputs); one
        label per row with the task it belongs to.
    outputs : ndarray of shape (n_outputs,)
        Column names, or task ids.
    classes : sequence of n_outputs ndarrays
        Label values of each output, sorted but for the positive one of a binary
        output, which is the last: see `_labels.positive`.
    """

    form: Form
    outputs: np.ndarray
    classes: Sequence[np.ndarray]

    @property
    def tasks_per_output(self) -> np.ndarray:
        """Number of binary tasks of each output, of shape (n_outputs,)."""
        sizes = np.fromiter((len(c) for c in self.classes), int, len(self.classes))
        return np.where(sizes > 2, sizes, 1)

    @property
    def n_tasks(self) -> int:
        return int(self.tasks_per_output.sum())

    @property
    def task_names(self) -> np.ndarray:
        """Output names; "output=class" for the tasks of an output with > 2 classes."""
        per_output = self.tasks_per_output
        if (per_output == 1).all():
            return self.outputs
        names: list[str] = []
        for output, classes, n in zip(self.outputs, self.classes, per_output):
            names += [str(output)] if n == 1 else [f"{output}={c}" for c in classes]
        return np.asarray(names)

    def encode(
        self, y: Any, tasks: Any = None, strict: bool = True, sparse: bool = False
    ) -> Signs:
        """Signs of labels in the caller's encoding.

        Parameters
        ----------
        y, tasks : array-like
            As for `learn_encoding`.
        strict : bool, default=True
            Refuse a label that fit did not see. Otherwise it is no member of any of
            an output's k > 2 classes, and "not observed" for a binary output.
        sparse : bool, default=False
            Return a CSR array where few labels of many tasks are observed, and an
            `Indicator` where ``y`` is sparse.

        Returns
        -------
        Signs of shape (n_samples, n_tasks), int8
            +1 positive, -1 negative, 0 not observed.

        Raises
        ------
        ValueError
            For columns, task ids or labels that are not part of this encoding.
        """
        return self.encode_labels(read_labels(y, tasks), strict, sparse)

    def encode_labels(
        self, labels: Labels, strict: bool = True, sparse: bool = False
    ) -> Signs:
        """The same of labels that were taken apart."""
        if labels.form != self.form:
            raise ValueError(
                f"y comes in the {labels.form!r} form, but the labels of fit had the "
                f"{self.form!r} form. Pass labels in the form used in fit: "
                "'single' is y of shape (n_samples,), 'wide' is y of shape "
                "(n_samples, n_tasks), 'long' is y of shape (n_samples,) with tasks. "
                "In cross-validation, tasks reach score by metadata routing alone: "
                "sklearn.set_config(enable_metadata_routing=True), and "
                "set_fit_request(tasks=True).set_score_request(tasks=True)."
            )
        order = self._match_outputs(labels.names, labels.n_outputs)
        if (indicator := self._match_indicator(labels, order)) is not None:
            return indicator if sparse else indicator.toarray()
        if labels.places is None:
            signs = self._encode_wide(labels, order, strict)
            if labels.weights is not None:
                signs = weigh_signs(signs, labels.weights)
            return pack_signs(signs) if sparse else signs
        shape = labels.n_samples, self.n_tasks
        placed = self._encode_long(labels, order, strict)
        if labels.has_rows:
            return collect_signs(*placed, shape)
        return place_signs(*placed, shape, sparse)

    def _match_outputs(self, names: np.ndarray | None, n_columns: int) -> np.ndarray:
        """Position among the known outputs of each column that was read."""
        known = self.outputs.tolist()
        unnamed = names is None or known == number_names(len(known))
        if self.form == "single" or (
            self.form == "wide" and unnamed and n_columns == len(known)
        ):
            return np.arange(n_columns)
        got = number_names(n_columns) if names is None else names.tolist()
        position = {name: k for k, name in enumerate(known)}
        complete = self.form == "long" or len(set(got)) == len(got) == len(known)
        if not complete or any(name not in position for name in got):
            what = "task ids" if self.form == "long" else "columns of y"
            raise ValueError(
                f"The {what} differ from those of fit: got {brief(got)}, fitted on "
                f"{brief(known)}. Pass the same {what}, or fit again."
            )
        return np.array([position[name] for name in got], dtype=np.intp)

    def count_places(self, labels: Labels) -> np.ndarray:
        """Rows of each output, or its labels in the long form: (n_outputs,)."""
        counts = np.zeros(len(self.outputs), dtype=np.int64)
        order = self._match_outputs(labels.names, labels.n_outputs)
        if labels.places is None:
            counts[order] = labels.n_samples
        else:
            counts[order] = np.bincount(labels.places[1], minlength=labels.n_outputs)
        return counts

    def _match_indicator(self, labels: Labels, order: np.ndarray) -> Indicator | None:
        """Signs of sparse labels without weights, of the classes of every output."""
        if labels.positive is None or labels.weights is not None:
            return None
        if not self._is_uniformly_binary():
            return None
        known = self.classes[0]
        if is_text(known) or known.tolist() != np.asarray(labels.classes).tolist():
            return None
        in_place = (order == np.arange(len(order))).all()
        positive = labels.positive
        return Indicator(positive if in_place else positive[:, np.argsort(order)])

    def _encode_wide(
        self, labels: Labels, order: np.ndarray, strict: bool
    ) -> np.ndarray:
        """Signs of shape (n_samples, n_tasks)."""
        signs = self._compare_with_shared(labels.values)
        if signs is not None:
            in_place = (order == np.arange(len(order))).all()
            return signs if in_place else signs[:, np.argsort(order)]
        signs = np.zeros((labels.n_samples, self.n_tasks), dtype=np.int8)
        for column, k, start in zip(labels.columns, order, self._first_tasks[order]):
            block = self._encode_column(column, k, strict)
            signs[column.rows, start : start + block.shape[1]] = block
        return signs

    def _encode_long(
        self, labels: Labels, order: np.ndarray, strict: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Signs other than 0, their rows and their tasks, of shape (n_signs,) each."""
        first_tasks = self._first_tasks[order]
        signs = self._compare_with_shared(labels.values)
        if signs is not None and labels.places is not None:
            rows, outputs = labels.places
            if labels.weights is not None:
                signs = weigh_signs(signs, labels.weights)
            return signs, rows, first_tasks[outputs]
        nothing = np.empty(0, dtype=np.intp)
        parts = [(nothing.astype(np.int8), nothing, nothing)]
        for column, k, start in zip(labels.columns, order, first_tasks):
            block = self._encode_column(column, k, strict)
            members, tasks = np.nonzero(block)
            signs = block[members, tasks]
            if column.weights is not None:
                signs = weigh_signs(signs, column.weights[members])
            parts.append((signs, column.rows[members], start + tasks))
        signs, rows, tasks = map(np.concatenate, zip(*parts))
        return signs, rows, tasks

    @property
    def _first_tasks(self) -> np.ndarray:
        """Position of the first task of each output, of shape (n_outputs,)."""
        return np.cumsum(self.tasks_per_output) - self.tasks_per_output

    def _compare_with_shared(self, values: np.ndarray | None) -> np.ndarray | None:
        """Signs of the shape of values, where all are of the same two classes."""
        first = self.classes[0]
        if values is None or is_text(values) != is_text(first):
            return None
        return compare_values(values, *first) if self._is_uniformly_binary() else None

    def _encode_column(self, column: Column, k: int, strict: bool) -> np.ndarray:
        """Signs of the observed labels, of shape (n_observed, tasks of output k)."""
        classes, values = self.classes[k], column.values
        members = find_members(values, classes)
        known = members.any(axis=1)
        if strict and not known.all():
            raise ValueError(
                f"y holds the label {values[~known].tolist()[0]!r} in "
                f"{str(self.outputs[k])!r}, whose labels in fit were "
                f"{classes.tolist()}. Fit on data that show all labels; for "
                "partial_fit, pass classes= in the first call."
            )
        return sign_members(members)

    def decode(self, scores: np.ndarray) -> np.ndarray:
        """Labels, in the caller's encoding, that task scores stand for.

        Parameters
        ----------
        scores : ndarray of shape (n_samples, n_tasks)

        Returns
        -------
        ndarray of shape (n_samples,) for the single form, else (n_samples, n_outputs)
        """
        if self._is_uniformly_binary():
            labels = self.classes[0][(scores > 0).astype(np.intp)]
        else:
            labels = choose_classes(scores, self.classes)
        return labels[:, 0] if self.form == "single" else labels

    def _is_uniformly_binary(self) -> bool:
        first = self.classes[0]
        return len(first) == 2 and all(
            c is first or np.array_equal(c, first) for c in self.classes
        )


def learn_encoding(y: Any, tasks: Any = None, classes: Any = None) -> LabelEncoding:
    """Find outputs and classes in labels of any accepted form, of this process alone.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels; NaN, None and pandas.NA stand for "not observed".
    tasks : array-like of shape (n_samples,), default=None
        The long form: the task of each label.
    classes : array-like of shape (n_classes,), default=None
        As for `find_encoding`.

    Raises
    ------
    ValueError
        As `find_encoding`.
    """
    return find_encoding(read_labels(y, tasks), classes)


def find_encoding(labels: Labels, classes: Any = None) -> LabelEncoding:
    """Find outputs and classes in labels that were taken apart.

    Where all labels together take two values only, these are the classes of every
    output, also of one that shows a single class or no label at all.

    Parameters
    ----------
    labels : Labels
        Those that a fit shares with other ranks come from `share_labels`.
    classes : array-like of shape (n_classes,), default=None
        Label values that every output can take, where labels may not show them all.

    Raises
    ------
    ValueError
        If no label is observed, or labels are infinite, continuous or of mixed type.
    """
    form, names, n_outputs = labels.form, labels.names, labels.n_outputs
    if names is None:
        names = np.asarray(number_names(n_outputs))
    if len(set(names.tolist())) < len(names):
        raise ValueError(
            f"The columns of y need distinct names, got {brief(names.tolist())}. "
            "Rename them or pass y as an array."
        )
    two = labels.classes
    if labels.values is not None:
        two = find_two_values(labels.values)
    if classes is None and two is not None and len(two):
        return LabelEncoding(form, names, [two] * n_outputs)
    if classes is not None:
        for _ in labels.columns:  # reading refuses what is no label
            pass
        shared = find_classes(read_class_labels(classes, "classes"), "classes")
        return LabelEncoding(form, names, [shared] * n_outputs)
    columns = zip(labels.columns, names.tolist())
    found = [find_distinct(column.values, name) for column, name in columns]
    if not any(map(len, found)):
        raise ValueError(
            "y holds no observed label: every entry is missing (NaN, None or NA). "
            "At least one task needs labels of both classes."
        )
    shown = [values for values in found if len(values)]
    types = {TYPES.get(values.dtype.kind, "other") for values in shown}
    union = {value for values in shown for value in values.tolist()}
    if len(types) == 1 and len(union) <= 2:
        joined = np.unique(np.concatenate(shown))
        found = [joined] * n_outputs if len(joined) == len(union) else found
    encoding = LabelEncoding(form, names, found)
    task_names = encoding.task_names.tolist()
    if len(set(task_names)) < len(task_names):
        raise ValueError(
            "Two tasks would have the same name, because a column of y is named like a "
            f"class of another one: {brief(task_names)}. Rename the column."
        )
    return encoding


def check_same_classes(classes: Any, known: Sequence[np.ndarray]) -> None:
    """Refuse classes, where some are given, that differ from those of any output.

    Parameters
    ----------
    classes : array-like of shape (n_classes,) or None
    known : sequence of ndarrays
        Classes of the outputs, in any order.
    """
    if classes is None:
        return
    given = find_classes(read_class_labels(classes, "classes"), "classes").tolist()
    for values in known:
        if np.sort(values).tolist() != given:
            raise ValueError(
                f"classes={given} differ from those of the first call of partial_fit, "
                f"which were {np.sort(values).tolist()}. Pass the same ones, or None."
            )


def warn_of_missing_codes(encoding: LabelEncoding) -> None:
    """Warn of classes that may be meant as "not observed".

    These are a negative number, or 0, beside two other labels, and names of nothing.
    """
    classes = {id(c): c for c in encoding.classes}.values()  # many share theirs
    known = {value for values in classes for value in values.tolist()}
    numbers = {value for value in known if not isinstance(value, str)}
    suspects = [repr(name) for name in sorted(known & MISSING_NAMES)]
    if len(numbers) == 3 and {0, 1} < numbers and min(numbers) < 0:
        lowest = f"{min(numbers):g}"
        suspects.append("-1 or 0" if lowest == "-1" else lowest)
    if suspects:
        warn_user(
            f"y holds {suspects[0]}, read as a class of its own. If it stands for a "
            "label that was not observed, put NaN or None in its place. If not, name "
            "the classes otherwise, such as 'low', 'middle' and 'high'.",
            UserWarning,
        )


def warn_of_names(encoding: LabelEncoding, n_labels: np.ndarray) -> None:
    """Warn of outputs with a class for most rows, as names of these have.

    Parameters
    ----------
    encoding : LabelEncoding
    n_labels : ndarray of shape (n_outputs,)
        See `LabelEncoding.count_places`.
    """
    n_classes = np.array([len(classes) for classes in encoding.classes])
    found = np.flatnonzero(n_classes > np.maximum(FEW_LABELS, n_labels / 2))
    if len(found):
        warn_user(
            "y has a class for most rows in "
            f"{brief(encoding.outputs[found].tolist())}: "
            f"{n_classes[found[0]]} in {n_labels[found[0]]} rows, each of which "
            "becomes a task against the rest. Leave names of rows out of y, and "
            "threshold numbers.",
            UserWarning,
        )


def check_usable_tasks(
    n_positive: np.ndarray, n_negative: np.ndarray, names: np.ndarray, n_samples: int
) -> None:
    """Warn of tasks that lack a class, by name; refuse labels without any other.

    Parameters
    ----------
    n_positive, n_negative : ndarray of shape (n_tasks,)
    names : ndarray of shape (n_tasks,)
    n_samples : int
    """
    lacking = (n_positive == 0) | (n_negative == 0)
    if lacking.all():
        raise ValueError(
            f"y holds no usable task: each of the {len(lacking)} tasks shows labels of "
            f"at most 1 class, in n_samples={n_samples} rows. At least one "
            "task needs observed labels of both classes."
        )
    if lacking.any():
        warn_user(
            f"{int(lacking.sum())} of {len(lacking)} tasks show labels of at most 1 "
            "class and have no influence. Drop them, or add labels: "
            f"{brief(names[lacking].tolist(), 20)}.",
            UserWarning,
        )


def brief(names: list[Any], limit: int = 6) -> str:
    """The first names of a long list, and how many there are."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return f"{len(names)} ({shown}{', ...' if len(names) > limit else ''})"
