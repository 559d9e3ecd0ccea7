"""Labels and ids that ranks show together.

What fit learns of labels depends on the distinct ones alone, so these are exchanged.
"""

from typing import Any

import numpy as np

from mtrl_sklearn._group import Group
from mtrl_sklearn._labels.columns import (
    Column,
    Columns,
    Labels,
    number_names,
)
from mtrl_sklearn._labels.values import concatenate_values


def share_labels(labels: Labels, group: Group) -> Labels:
    """Labels that show what those of all ranks show: for a fit, which all ranks call.

    On a single rank they are its own. Otherwise only their form, names and columns say
    anything, and each column holds every label of an output at least once.

    Raises
    ------
    ValueError
        If forms, columns or types of labels differ between ranks.
    """
    if group.n_ranks == 1:
        return labels
    with group.together():
        shown = [np.unique(column.values) for column in labels.columns]
    names: list[Any] = number_names(labels.n_outputs)
    if labels.names is not None:
        names = labels.names.tolist()
    is_long = labels.form == "long"
    shared = None if is_long else sorted(map(str, names))
    group.check_same({"the form of y": labels.form, "the columns of y": shared})
    found: dict[Any, list[np.ndarray]] = {}
    for of_rank in group.gather(dict(zip(names, shown))):
        for name, values in of_rank.items():
            found.setdefault(name, []).append(values)
    parts = {name: _concatenate(values, name) for name, values in found.items()}
    ids: np.ndarray | None
    if is_long:
        ids = join_values(np.asarray(labels.names), "tasks", group)
        parts = {name: parts[name] for name in ids.tolist()}
    else:
        ids = group.from_first(labels.names)  # others may have them in another order
    joined = [Column(values, np.arange(len(values))) for values in parts.values()]
    columns = Columns(lambda: iter(joined))
    return Labels(labels.form, ids, labels.n_samples, len(parts), columns)


def join_values(values: np.ndarray, name: str, group: Group) -> np.ndarray:
    """Sorted distinct values of all ranks; on a single rank all of its own, unsorted.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
    name : str
        What they are, for the message of an error.
    group : Group

    Raises
    ------
    ValueError
        If some are strings and others are not.
    """
    if group.n_ranks == 1:
        return values
    return np.unique(_concatenate(group.gather(np.unique(values)), name))


def _concatenate(parts: list[np.ndarray], name: Any) -> np.ndarray:
    parts = [part for part in parts if len(part)] or parts[:1]
    return concatenate_values(parts, name)
