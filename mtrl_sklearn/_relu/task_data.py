"""What goes into a solver: rows and signs, and which of the rows are held out.

Rows of the same input are held out together: in the long form there is one for each of
its labels, and what was trained on one of them knows the others by heart.
"""

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch

from mtrl_sklearn._arrays.copies import hash_rows, number_copies, project_rows
from mtrl_sklearn._arrays.rows import RowDataset, Rows, to_tensor
from mtrl_sklearn._group import ALONE, BatchPart, Group, Shard
from mtrl_sklearn._labels.signs import (
    Signs,
    count_signs,
    keep_tasks,
    labels_per_row,
    sign_rows,
)
from mtrl_sklearn._training.job import hold_out
from mtrl_sklearn._training.losses import task_weights

# Copies of a row are drawn as one among at most so many rows, where these are at most
# so many different ones; or where all of them are in one batch.
MAX_ROWS_COMPARED = 10_000
MAX_INPUTS_COUNTED = 128


class TaskData(NamedTuple):
    """Training rows with their signs, and what was counted in those of all ranks.

    Tasks that lack a class have a weight and signs of 0.
    """

    X: Any  # (n_samples, n_features), ndarray of any numeric dtype or CSR array
    signs: Signs  # (n_samples, n_tasks): +1, -1, times a weight; 0 = not observed
    rows: np.ndarray | None  # positions of the rows to train on; None is all of them
    n_positive: np.ndarray  # (n_tasks,), weight of labels, earlier batches included
    n_negative: np.ndarray  # (n_tasks,)
    weights: np.ndarray  # (n_tasks,), weight of one label of these rows
    n_observed: float  # weight of labels of usable tasks in these rows
    shard: Shard  # where the rows to train on are among those of all ranks
    task_weight: str  # what `weights` were made by
    held_out: np.ndarray | None  # positions of rows that nothing is trained on
    group: Group  # of the processes that have the rows
    # Which inputs the rows of X are, (n_samples,), if copies count as one in draws.
    inputs: np.ndarray | None = None
    copies: BatchPart | None = None  # the same of the rows to train on, of all ranks

    @property
    def part(self) -> BatchPart:
        """Which of the inputs to train on are here."""
        return self.copies or self.shard.part

    @property
    def n_inputs(self) -> int:
        """Number of inputs to train on, of all ranks."""
        return self.part.n_rows

    def on_device(self, device: str, dtype: torch.dtype) -> RowDataset:
        """Inputs and signs of the rows to train on, as batches of tensors."""
        X = Rows(self.X, dtype, device, self.rows)
        signs = sign_rows(self.signs, dtype, device, self.rows)
        n_inputs, places = self.part
        if not isinstance(places, slice):
            places = to_tensor(places, device)
        part = BatchPart(n_inputs, places)
        return RowDataset(X, signs, shard=self.shard, inputs=part)


def count_labels(
    X: Any,
    signs: Signs,
    task_weight: str,
    earlier: tuple[np.ndarray, np.ndarray] | None = None,
    rows: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
    group: Group = ALONE,
    inputs: np.ndarray | None = None,
) -> TaskData:
    """Count labels, on top of those of earlier batches, and weigh tasks.

    Rows without a label of a usable task are not trained on, as if they were absent.
    """
    counts = count_all_signs(signs if rows is None else signs[rows], group)
    n_positive, n_negative = n_here = counts
    if earlier is not None:
        n_positive, n_negative = n_positive + earlier[0], n_negative + earlier[1]
    usable = (n_positive > 0) & (n_negative > 0)
    n_observed = np.add(*n_here)[usable].sum().item()
    # they sum to 1 over all labels so far: make it the labels of these rows
    weights = task_weights(n_positive, n_negative, task_weight)
    weights = weights * (n_positive + n_negative)[usable].sum() / (n_observed or 1)
    signs = keep_tasks(signs, usable)
    if n_observed:
        rows = _find_labelled(signs, rows)
    copies = None
    if inputs is not None:
        copies = number_copies(inputs if rows is None else inputs[rows], group)
    return TaskData(
        X,
        signs,
        rows,
        n_positive,
        n_negative,
        weights,
        n_observed,
        group.locate_rows(X.shape[0] if rows is None else len(rows)),
        task_weight,
        held_out,
        group,
        inputs,
        copies,
    )


def _find_labelled(signs: Signs, rows: np.ndarray | None) -> np.ndarray | None:
    """Positions of those of the rows that have a label; None is all."""
    is_labelled = labels_per_row(signs) > 0
    if rows is not None:
        return rows[is_labelled[rows]]
    return None if is_labelled.all() else np.flatnonzero(is_labelled)


def find_copies(
    X: Any, has_weights: bool, batch_size: int | str, group: Group
) -> np.ndarray | None:
    """Which input each row is, of (n_samples,), where copies count as one; or None.

    That is so where few inputs are there, or all are in one batch, and some rows are
    copies or have weights, so that weights are what copies are.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    has_weights : bool
        Whether rows may have weights.
    batch_size : int or "auto"
    group : Group
        Whose other ranks have more rows.
    """
    of_batch = batch_size if isinstance(batch_size, Integral) else 0
    n_rows = group.locate_rows(X.shape[0]).n_rows
    if n_rows > MAX_ROWS_COMPARED and of_batch <= MAX_INPUTS_COUNTED:
        return None
    most = max(MAX_INPUTS_COUNTED, of_batch)
    some = hash_rows(X[:: max(X.shape[0] // (4 * most), 1)])
    if max(group.gather(len(np.unique(some)))) > most:
        return None
    hashes = hash_rows(X)
    n_inputs = number_copies(hashes, group).n_rows
    counts_copies = n_inputs < n_rows or any(group.gather(has_weights))
    return hashes if counts_copies and n_inputs <= most else None


def split_rows(
    X: Any,
    signs: Signs,
    inputs: np.ndarray | None,
    is_long: bool,
    validation_fraction: float,
    seed: int,
    group: Group,
) -> list[np.ndarray]:
    """Positions of the rows to train on, and of those that early stopping holds out.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    signs : ndarray, CSR array or indicator of shape (n_samples, n_tasks)
    inputs : ndarray of shape (n_samples,) or None
        As `find_copies` has found them.
    is_long : bool
        Whether there is a row for each label of an input.
    validation_fraction : float
    seed : int
    group : Group
        Whose other ranks have more rows.

    Raises
    ------
    ValueError
        If all rows are the same, or no task has both classes on one of the sides.
    """
    labelled = np.flatnonzero(labels_per_row(signs))
    part = group.locate_rows(len(labelled)).part
    if inputs is not None:
        part = number_copies(inputs[labelled], group)
    elif is_long:
        part = number_copies(project_rows(X, 0, group)[labelled], group)
    if part.n_rows < 2:
        raise ValueError(
            "early_stopping=True holds out inputs, but all rows of X are the same. "
            "Set early_stopping=False, or pass other rows."
        )
    parts = [labelled[places] for places in hold_out(part, validation_fraction, seed)]
    for rows, what in zip(parts, ("training", "held-out")):
        n_positive, n_negative = count_all_signs(signs[rows], group)
        if not ((n_positive > 0) & (n_negative > 0)).any():
            n_rows = group.locate_rows(len(rows)).n_rows
            raise ValueError(
                f"early_stopping=True with validation_fraction={validation_fraction} "
                f"leaves {n_rows} {what} rows, in which no task shows both classes. "
                "Change validation_fraction, or set early_stopping=False."
            )
    return parts


def set_aside(data: TaskData, share: float, seed: int) -> TaskData:
    """The same data with the rows of a share of the inputs held out, at least one.

    Rows of the same input stay together: in the long form there is one for each label.
    """
    rows = np.arange(data.shard.n_here) if data.rows is None else data.rows
    n_inputs, places = find_inputs(data, rows, seed)
    order = np.random.default_rng(seed).permutation(n_inputs)
    is_aside = np.zeros(n_inputs, dtype=bool)
    is_aside[order[: max(int(share * n_inputs), 1)]] = True
    is_aside = is_aside[places]
    return count_labels(
        data.X,
        data.signs,
        data.task_weight,
        rows=rows[~is_aside],
        held_out=rows[is_aside],
        group=data.group,
        inputs=data.inputs,
    )


def draw_labelled_rows(data: TaskData, n_rows: int) -> np.ndarray | None:
    """Places of so many of the rows to train on that have labels; None is all.

    Which these are does not depend on how rows are spread over ranks.
    """
    if data.shard.n_rows <= n_rows:
        return None
    signs = data.signs if data.rows is None else data.signs[data.rows]
    places = np.flatnonzero(labels_per_row(signs))
    start, n_here, n_labelled = data.group.locate_rows(len(places))
    if n_labelled <= n_rows:
        return places
    drawn = np.random.default_rng(0).choice(n_labelled, n_rows, replace=False)
    drawn = np.sort(drawn) - start
    return places[drawn[(drawn >= 0) & (drawn < n_here)]]


def find_inputs(data: TaskData, rows: np.ndarray, seed: int) -> BatchPart:
    """Which input each of these rows is, among all that differ of all ranks.

    They come in an order that depends on them and the seed, not on that of the rows.
    """
    return number_copies(project_rows(data.X, seed, data.group)[rows], data.group)


def count_all_signs(
    signs: Signs, group: Group = ALONE
) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative labels per task, as `count_signs`, on all ranks."""
    of_positive, of_negative = zip(*group.gather(count_signs(signs)))
    return np.sum(of_positive, axis=0), np.sum(of_negative, axis=0)
