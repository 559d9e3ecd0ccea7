"""Which label of a binary output is the positive one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mtrl_sklearn._labels.columns import as_array, read_column
from mtrl_sklearn._labels.encoding import LabelEncoding, brief
from mtrl_sklearn._labels.values import find_members
from mtrl_sklearn._warnings import warn_user


def put_positive_last(encoding: LabelEncoding, pos_label: Any) -> LabelEncoding:
    """The same outputs, with the label that is to be positive as the last class.

    Parameters
    ----------
    encoding : LabelEncoding
        With sorted classes.
    pos_label : str, number, bool, dict or None
        Of all outputs with two classes, or by name of the output; None, and outputs
        that a dict leaves out, keep the order of classes. An output that shows a single
        other label gets this one as its second class.

    Raises
    ------
    ValueError
        If it is no label of an output with two classes, or names an output that is not
        there, or one of more classes; or if all outputs have more classes.
    """
    if pos_label is None:
        return encoding
    is_by_task = isinstance(pos_label, Mapping)
    names = encoding.outputs.tolist()
    if is_by_task:
        unknown = [name for name in pos_label if name not in set(names)]
        if unknown:
            raise ValueError(
                f"pos_label names tasks that y does not have: {brief(unknown)}. Those "
                f"of y are {brief(names)}."
            )
    elif all(len(classes) > 2 for classes in encoding.classes):
        raise ValueError(
            f"pos_label={pos_label!r} is for tasks with two classes, and y has none: "
            f"{names[0]!r} has {brief(encoding.classes[0].tolist())}, each a task "
            "against the rest. Put NaN or None in place of labels that say neither of "
            "two outcomes, or leave pos_label out."
        )
    known: dict[tuple[int, str], np.ndarray] = {}  # many outputs share their classes
    placed = []
    for name, classes in zip(names, encoding.classes):
        label = pos_label.get(name) if is_by_task else pos_label
        if is_by_task and label is not None and len(classes) > 2:
            raise ValueError(
                f"pos_label has {label!r} for {name!r}, which has {len(classes)} "
                "classes: each is a task against the rest. Leave it out."
            )
        key = id(classes), repr(label)
        if key not in known:
            known[key] = _place_last(classes, label, name)
        placed.append(known[key])
    return replace(encoding, classes=placed)


def warn_of_more_classes(encoding: LabelEncoding, pos_label: Any) -> None:
    """Warn of outputs that have the positive label, and two others beside it.

    Parameters
    ----------
    encoding : LabelEncoding
    pos_label : str, number, bool, dict or None
        A dict is right or refused: see `put_positive_last`.
    """
    if pos_label is None or isinstance(pos_label, Mapping):
        return
    value = read_column(as_array([pos_label]), "pos_label").values
    apart = {
        id(classes): len(classes) > 2 and bool(find_members(classes, value).any())
        for classes in encoding.classes
    }
    found = [k for k, classes in enumerate(encoding.classes) if apart[id(classes)]]
    if found:
        warn_user(
            f"pos_label={pos_label!r} is one of more than two labels in "
            f"{brief(encoding.outputs[found].tolist())}: "
            f"{brief(encoding.classes[found[0]].tolist())}, each of which becomes a "
            "task against the rest. Put NaN or None in place of labels that say "
            "neither of two outcomes, or name the other tasks in a dict.",
            UserWarning,
        )


def put_known_last(encoding: LabelEncoding, pos_label: Any) -> LabelEncoding:
    """The same with the positive label of other outputs, where these know it.

    Parameters
    ----------
    encoding : LabelEncoding
    pos_label : str, number, bool, dict or None
        A dict is of the other outputs alone. A boolean is none of the numbers 0 and 1:
        who has made booleans of labels has said which are positive.
    """
    if pos_label is None or isinstance(pos_label, Mapping):
        return encoding
    value = read_column(as_array([pos_label]), "pos_label").values

    def place(classes: np.ndarray) -> np.ndarray:
        alike = (value.dtype.kind == "b") == (classes.dtype.kind == "b")
        is_first = (
            alike and len(classes) == 2 and find_members(classes[:1], value).all()
        )
        return classes[::-1] if is_first else classes

    known = {id(classes): place(classes) for classes in encoding.classes}
    return replace(encoding, classes=[known[id(c)] for c in encoding.classes])


def sort_classes(encoding: LabelEncoding) -> LabelEncoding:
    """The same outputs with the classes of each in sorted order."""
    known = {id(classes): np.sort(classes) for classes in encoding.classes}
    return replace(encoding, classes=[known[id(c)] for c in encoding.classes])


def check_same_positive(encoding: LabelEncoding, pos_label: Any) -> None:
    """Refuse another positive label than a fit had that is to go on.

    Raises
    ------
    ValueError
        If the last of two classes is to be another one.
    """
    wanted = put_positive_last(sort_classes(encoding), pos_label)
    for name, classes, other in zip(
        encoding.outputs.tolist(), encoding.classes, wanted.classes
    ):
        if len(classes) == 2 and classes[-1] != other[-1]:
            raise ValueError(
                f"pos_label={pos_label!r} differs from the fit to continue, where the "
                f"positive label of {name!r} is {classes[-1].item()!r}. Set it back, "
                "or clone the estimator to start anew."
            )


def _place_last(classes: np.ndarray, label: Any, name: Any) -> np.ndarray:
    """Up to two classes with a label as the last; more stay as they are."""
    if label is None or len(classes) == 0 or len(classes) > 2:
        return classes
    value = read_column(as_array([label]), "pos_label").values
    is_positive = np.zeros(len(classes), dtype=bool)
    if len(value):
        is_positive = find_members(classes, value)[:, 0]
    if is_positive.any():
        return classes[np.argsort(is_positive, kind="stable")]
    alike = len(value) and (value.dtype.kind in "UT") == (classes.dtype.kind in "UT")
    if len(classes) == 2 or not alike:
        raise ValueError(
            f"pos_label={label!r} is no label of {name!r}, whose labels are "
            f"{classes.tolist()}. Pass one of them, or a dict of one for each task."
        )
    cast = value.astype(classes.dtype)
    return np.concatenate([classes, cast if cast[0] == value[0] else value])
