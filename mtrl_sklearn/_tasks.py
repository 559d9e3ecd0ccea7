"""Labels of many tasks: from the caller's encoding to signs, and back.

Every check of labels lives here. The rest of the package sees one form only: an
int8 array ``signs`` of shape (n_samples, n_tasks) that holds +1, -1, or 0 where
nothing was observed.

Two words are kept apart. An *output* is what the caller sees: a column of a wide
``y``, or a task id of the long form. A *task* is one binary problem. An output with
two classes is one task; an output with k > 2 classes is k one-vs-rest tasks.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils.validation import check_consistent_length, column_or_1d

Form = Literal["single", "wide", "long"]

# Outputs share their classes only where these agree, so that predictions keep the type.
TYPES = {"b": "boolean", "i": "number", "u": "number", "f": "number"}
TYPES |= {"U": "string", "T": "string"}


class _Column(NamedTuple):
    """Labels of one output: the values that were observed, and where."""

    values: np.ndarray  # (n_observed,)
    observed: np.ndarray  # (n_samples,) bool


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
        Sorted label values of each output. The last one is the positive class of a
        binary output.
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

    def encode(self, y: Any, tasks: Any = None, strict: bool = True) -> np.ndarray:
        """Signs of labels in the caller's encoding.

        Parameters
        ----------
        y, tasks : array-like
            As for `learn_encoding`.
        strict : bool, default=True
            Refuse a label that fit did not see. Otherwise it is no member of any of
            an output's k > 2 classes, and "not observed" for a binary output.

        Returns
        -------
        ndarray of shape (n_samples, n_tasks), int8
            +1 positive, -1 negative, 0 not observed.

        Raises
        ------
        ValueError
            For columns, task ids or labels that are not part of this encoding.
        """
        form, names, columns = _read_labels(y, tasks)
        if form != self.form:
            raise ValueError(
                f"y comes in the {form!r} form, but the labels of fit had the "
                f"{self.form!r} form. Pass labels in the form used in fit: "
                "'single' is y of shape (n_samples,), 'wide' is y of shape "
                "(n_samples, n_tasks), 'long' is y of shape (n_samples,) with tasks. "
                "In cross-validation, tasks reach fit and score by metadata routing."
            )
        order = self._match_outputs(names, len(columns))
        n_samples = len(columns[0].observed)
        signs = np.zeros((n_samples, self.n_tasks), dtype=np.int8)
        starts = np.cumsum(self.tasks_per_output) - self.tasks_per_output
        for column, k in zip(columns, order):
            stop = starts[k] + self.tasks_per_output[k]
            signs[column.observed, starts[k] : stop] = self._encode_column(
                column, k, strict
            )
        return signs

    def _match_outputs(self, names: np.ndarray | None, n_columns: int) -> np.ndarray:
        """Position among the known outputs of each column that was read."""
        known = self.outputs.tolist()
        unnamed = names is None or known == _numbered(len(known))
        if self.form == "single" or (
            self.form == "wide" and unnamed and n_columns == len(known)
        ):
            return np.arange(n_columns)
        got = _numbered(n_columns) if names is None else names.tolist()
        position = {name: k for k, name in enumerate(known)}
        complete = self.form == "long" or len(got) == len(known)
        if not complete or any(name not in position for name in got):
            what = "task ids" if self.form == "long" else "columns of y"
            raise ValueError(
                f"The {what} differ from those of fit: got {brief(got)}, fitted on "
                f"{brief(known)}. Pass the same {what}, or fit again."
            )
        return np.array([position[name] for name in got], dtype=np.intp)

    def _encode_column(self, column: _Column, k: int, strict: bool) -> np.ndarray:
        """Signs of the observed labels, of shape (n_observed, tasks of output k)."""
        classes, values = self.classes[k], column.values
        members = np.zeros((len(values), len(classes)), dtype=bool)
        if (values.dtype.kind in "UT") == (classes.dtype.kind in "UT"):
            members[:] = values[:, None] == classes
        known = np.asarray(members.any(axis=1))
        if strict and not known.all():
            raise ValueError(
                f"y holds the label {values[~known].tolist()[0]!r} in "
                f"{str(self.outputs[k])!r}, whose labels in fit were "
                f"{classes.tolist()}. Fit on data that show all labels; for "
                "partial_fit, pass classes= in the first call."
            )
        if len(classes) > 2:
            return np.where(members, 1, -1)
        positive = members[:, -1:] if len(classes) else known[:, None]
        return np.where(known[:, None], np.where(positive, 1, -1), 0)

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
            stops = np.cumsum(self.tasks_per_output)
            blocks = np.split(scores, stops[:-1], axis=1)
            decoded = [_decode_column(s, c) for s, c in zip(blocks, self.classes)]
            kinds = {column.dtype.kind for column in decoded}
            if len(kinds) > 1 and not kinds <= set("iuf"):
                decoded = [column.astype(object) for column in decoded]
            labels = np.column_stack(decoded)
        return labels[:, 0] if self.form == "single" else labels

    def _is_uniformly_binary(self) -> bool:
        first = self.classes[0]
        return len(first) == 2 and all(
            c is first or np.array_equal(c, first) for c in self.classes
        )


def _decode_column(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    if len(classes) > 2:
        return classes[scores.argmax(axis=1)]
    if len(classes) == 2:
        return classes[(scores[:, 0] > 0).astype(np.intp)]
    constant = classes if len(classes) else np.array([np.nan])
    return np.repeat(constant, len(scores))


def learn_encoding(y: Any, tasks: Any = None, classes: Any = None) -> LabelEncoding:
    """Find outputs and classes in labels of any accepted form.

    Where all labels together take two values only, these are the classes of every
    output, also of one that shows a single class or no label at all.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels; NaN, None and pandas.NA stand for "not observed".
    tasks : array-like of shape (n_samples,), default=None
        The long form: the task of each label.
    classes : array-like of shape (n_classes,), default=None
        Label values that every output can take, where ``y`` may not show them all.

    Raises
    ------
    ValueError
        If no label is observed, or labels are infinite, continuous or of mixed type.
    """
    form, names, columns = _read_labels(y, tasks)
    if names is None:
        names = np.asarray(_numbered(len(columns)))
    if len(set(names.tolist())) < len(names):
        raise ValueError(
            f"The columns of y need distinct names, got {brief(names.tolist())}. "
            "Rename them or pass y as an array."
        )
    if classes is not None:
        shared = np.unique(np.asarray(classes))
        return LabelEncoding(form, names, [shared] * len(columns))
    if not any(len(column.values) for column in columns):
        raise ValueError(
            "y holds no observed label: every entry is missing (NaN, None or NA). "
            "At least one task needs labels of both classes."
        )
    found = [_unique(c.values, name) for c, name in zip(columns, names.tolist())]
    shown = [values for values in found if len(values)]
    types = {TYPES.get(values.dtype.kind, "other") for values in shown}
    union = {value for values in shown for value in values.tolist()}
    if len(types) == 1 and len(union) <= 2:
        found = [np.unique(np.concatenate(shown))] * len(columns)
    encoding = LabelEncoding(form, names, found)
    task_names = encoding.task_names.tolist()
    if len(set(task_names)) < len(task_names):
        raise ValueError(
            "Two tasks would have the same name, because a column of y is named like a "
            f"class of another one: {brief(task_names)}. Rename the column."
        )
    return encoding


def _unique(values: np.ndarray, name: Any) -> np.ndarray:
    """Sorted distinct labels of one output; continuous values are refused."""
    if len(values) == 0:
        return values
    if values.dtype.kind not in "biuf":
        return np.unique(values)
    low, high = values.min(), values.max()
    if ((values == low) | (values == high)).all():
        return np.array([low, high])[: 1 + bool(low != high)]
    distinct = np.unique(values)
    if distinct.dtype.kind == "f" and (distinct != np.round(distinct)).any():
        raise ValueError(
            f"Unknown label type: continuous. The labels of {name!r} take "
            f"{len(distinct)} values such as {distinct[0].item()} and "
            f"{distinct[1].item()}; a task needs classes. Threshold continuous "
            "outcomes first."
        )
    return distinct


def _read_labels(y: Any, tasks: Any) -> tuple[Form, np.ndarray | None, list[_Column]]:
    """Take labels of any accepted form apart: form, output names if any, columns."""
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None."
        )
    if issparse(y):
        raise TypeError(
            "y is a sparse matrix, in which a missing label cannot be told from class "
            "0. Pass y.toarray(), or the long form: one label per row and tasks=."
        )
    if tasks is not None:
        return _read_long(y, tasks)
    if hasattr(y, "columns"):
        flat = ["_".join(map(str, n)) if isinstance(n, tuple) else n for n in y.columns]
        values = (as_array(y[name]) for name in dict.fromkeys(y.columns))
        columns = [_read_column(v, name) for v, name in zip(values, flat)]
        return "wide", np.asarray(flat), columns
    array = as_array(y)
    if array.ndim == 1:
        name = getattr(y, "name", None) or "y"
        return "single", np.asarray([name]), [_read_column(array, name)]
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(
            "y should be of shape (n_samples,) or (n_samples, n_tasks), got an array "
            f"of shape {array.shape}."
        )
    named = zip(np.ascontiguousarray(array.T), _numbered(array.shape[1]))
    return "wide", None, [_read_column(values, name) for values, name in named]


def _numbered(n_tasks: int) -> list[str]:
    """Names of columns that have none."""
    return [f"task{k}" for k in range(n_tasks)]


def _read_long(y: Any, tasks: Any) -> tuple[Form, np.ndarray, list[_Column]]:
    labels, ids = _read_vector(y, "y"), read_task_ids(tasks)
    check_consistent_length(labels, ids)
    names, of_row = np.unique(ids, return_inverse=True)
    column = _read_column(labels, "y")
    rows = np.flatnonzero(column.observed)
    order = np.argsort(of_row[rows], kind="stable")
    bounds = np.searchsorted(of_row[rows][order], np.arange(1, len(names)))
    columns = []
    for members in np.split(order, bounds):
        observed = np.zeros(len(labels), dtype=bool)
        observed[rows[members]] = True
        columns.append(_Column(column.values[np.sort(members)], observed))
    return "long", names, columns


def _read_vector(values: Any, argument: str) -> np.ndarray:
    array = as_array(values)
    if array.ndim != 1:
        raise ValueError(
            f"With tasks, {argument} should be a 1d array with one entry per row, got "
            f"an array of shape {array.shape}."
        )
    return array


def read_task_ids(tasks: Any) -> np.ndarray:
    """Task ids of rows, of shape (n_samples,) and a proper dtype; none is missing."""
    ids = _read_column(_read_vector(tasks, "tasks"), "tasks")
    if not ids.observed.all():
        raise ValueError(
            f"tasks holds {int((~ids.observed).sum())} missing ids. Drop these rows "
            "or name their task."
        )
    return ids.values


def read_class_labels(y: Any) -> np.ndarray:
    """One class label per row, of shape (n_samples,) and a proper dtype; none missing.

    Raises
    ------
    ValueError
        If labels are missing, infinite or of mixed type.
    """
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None."
        )
    labels = _read_column(column_or_1d(as_array(y), warn=True), "y")
    if not labels.observed.all():
        raise ValueError(
            f"y contains NaN or None in {int((~labels.observed).sum())} of "
            f"{len(labels.observed)} rows. Drop the rows without a label."
        )
    return labels.values


def find_classes(labels: np.ndarray) -> np.ndarray:
    """Sorted distinct labels; continuous values are refused."""
    return _unique(labels, "y")


def find_codes(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Position of each value in sorted known ones, -1 where it is not among them."""
    are_strings = [array.dtype.kind in "UT" for array in (values, known)]
    if any(are_strings):
        if not all(are_strings):
            return np.full(len(values), -1)
        # a dtype that searchsorted can compare with any other one of strings
        values, known = (a.astype(object).astype(str) for a in (values, known))
    places = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[places] == values, places, -1)


def as_array(values: Any) -> np.ndarray:
    """An array of labels as given: [1, None] and ["a", nan] survive."""
    if isinstance(values, np.ma.MaskedArray):
        array = np.array(values.data, dtype=object)
        array[np.ma.getmaskarray(values)] = None
        return array
    if hasattr(values, "__array__"):
        return np.asarray(values)
    return np.array(values, dtype=object)


def _read_column(values: np.ndarray, name: Any) -> _Column:
    """Split one output into observed values, of a proper dtype, and their mask."""
    if values.dtype.kind == "f":
        observed = ~np.isnan(values)
        values = values[observed]
    elif values.dtype.kind == "O":
        observed = np.fromiter((not is_missing(v) for v in values), bool, len(values))
        values = _infer_dtype(values[observed], name)
    else:
        observed = np.ones(len(values), dtype=bool)
    if values.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: the labels of {name!r}.")
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise ValueError(
            f"Input y contains infinity: in {name!r}. Only NaN, None and NA stand for "
            "a label that was not observed."
        )
    return _Column(values, observed)


def is_missing(value: Any) -> bool:
    if isinstance(value, (str, int)):
        return False
    return value is None or is_scalar_nan(value) or is_pandas_na(value)


def _infer_dtype(values: np.ndarray, name: Any) -> np.ndarray:
    """The numeric or string array that an object array holds."""
    if len(values) == 0:
        return np.empty(0)
    is_string = {isinstance(v, str) for v in values}
    if len(is_string) > 1:
        raise ValueError(
            f"The labels of {name!r} mix strings and numbers. Use one type per task."
        )
    try:
        inferred = np.array(values.tolist())
    except ValueError:  # sequences of unequal length
        inferred = values
    if inferred.ndim != 1 or inferred.dtype.kind == "O":
        raise ValueError(
            f"The labels of {name!r} should be numbers, booleans or strings, got "
            f"{type(values[0]).__name__} objects."
        )
    return inferred


def check_usable_tasks(signs: np.ndarray, names: np.ndarray) -> None:
    """Warn of tasks that lack a class, by name; refuse labels without any other.

    Parameters
    ----------
    signs : ndarray of shape (n_samples, n_tasks)
    names : ndarray of shape (n_tasks,)
    """
    lacking = ~np.asarray((signs > 0).any(axis=0) & (signs < 0).any(axis=0))
    if lacking.all():
        raise ValueError(
            f"y holds no usable task: each of the {len(lacking)} tasks shows labels of "
            f"at most 1 class, in n_samples={len(signs)} rows. At least one "
            "task needs observed labels of both classes."
        )
    if lacking.any():
        warnings.warn(
            f"{int(lacking.sum())} of {len(lacking)} tasks show labels of at most 1 "
            "class and have no influence. Drop them, or add labels: "
            f"{brief(names[lacking].tolist(), 20)}.",
            UserWarning,
            stacklevel=5,
        )


def brief(names: list[Any], limit: int = 6) -> str:
    """The first names of a long list, and how many there are."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return f"{len(names)} ({shown}{', ...' if len(names) > limit else ''})"
