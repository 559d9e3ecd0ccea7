"""Signs of labels: an array, a CSR array of the observed ones, or an indicator.

All are of shape (n_samples, n_tasks) and hold +1, -1, or 0 where nothing was observed,
as int8. Where labels have weights they are floats: a sign times a weight. The CSR array
stores the observed labels only, sorted within rows. It is for many tasks of which few
are observed per row, and for several labels at one place: it stores each of them, so
that they count as if they were in rows of their own. An `Indicator` stores the positive
ones of labels that are all observed.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from scipy.sparse import csr_array

from mtrl_sklearn._arrays.rows import Rows
from mtrl_sklearn._labels.indicator import is_indicator

# Or an `Indicator`: csr_array has no types, so that a union with it takes anything.
Signs: TypeAlias = np.ndarray | csr_array

# Sparse products per observed label cost about as much as dense ones at this share.
MAX_DENSITY = 0.01

# With fewer tasks the dense form is small whatever is observed.
MIN_TASKS = 100

# Memory of the rows that are looked at together: they stay in the cache.
BLOCK_BYTES = 2**20


def row_blocks(array: np.ndarray) -> Iterator[slice]:
    """Consecutive rows that have about `BLOCK_BYTES` together."""
    size = max(1, BLOCK_BYTES // max(array[:1].nbytes, 1))
    return (slice(start, start + size) for start in range(0, len(array), size))


def place_signs(
    signs: np.ndarray,
    rows: np.ndarray,
    tasks: np.ndarray,
    shape: tuple[int, int],
    sparse: bool,
) -> Signs:
    """Signs of single labels, each at its own place, as an array.

    Parameters
    ----------
    signs : ndarray of shape (n_labels,), int8
    rows, tasks : ndarrays of shape (n_labels,)
    shape : (n_samples, n_tasks)
    sparse : bool
        Take the CSR form where few labels are observed.
    """
    if sparse and _is_sparse(len(signs), shape):
        return csr_array((signs, (rows, tasks)), shape=shape)
    placed = np.zeros(shape, dtype=signs.dtype)
    placed[rows, tasks] = signs
    return placed


def collect_signs(
    signs: np.ndarray, rows: np.ndarray, tasks: np.ndarray, shape: tuple[int, int]
) -> Signs:
    """Signs of single labels, of which several may be at the same place.

    Parameters
    ----------
    signs : ndarray of shape (n_labels,)
    rows, tasks : ndarrays of shape (n_labels,)
    shape : (n_samples, n_tasks)

    Returns
    -------
    Signs of shape (n_samples, n_tasks)
        CSR where few labels are observed, or some places have several.
    """
    order = _stable_order(tasks, shape[1])
    by_row = _stable_order(rows[order], shape[0])
    order = order[by_row]
    rows, tasks, signs = rows[order], tasks[order], signs[order]
    is_repeated = bool(((rows[1:] == rows[:-1]) & (tasks[1:] == tasks[:-1])).any())
    if not (is_repeated or _is_sparse(len(signs), shape)):
        return place_signs(signs, rows, tasks, shape, sparse=False)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
    return csr_array((signs, tasks, starts), shape=shape)


def _stable_order(keys: np.ndarray, n_keys: int) -> np.ndarray:
    """As ``keys.argsort(kind="stable")``, by counting."""
    places = np.arange(len(keys), dtype=np.min_scalar_type(-max(len(keys), 1)))
    marks = np.ones(len(keys), dtype=np.int8)
    return csr_array((marks, (keys, places)), shape=(n_keys, len(keys))).indices


def weigh_signs(signs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Signs times weights of rows, or of labels; float64.

    Parameters
    ----------
    signs : ndarray of shape (n_samples, n_tasks), or (n_labels,)
    weights : ndarray of shape (n_samples,), or (n_labels,)
    """
    return signs * (weights if signs.ndim == 1 else weights[:, None])


def pack_signs(signs: np.ndarray) -> Signs:
    """The CSR form where few labels of many tasks are observed."""
    if _is_sparse(int(np.count_nonzero(signs)), signs.shape):
        return csr_array(signs)
    return signs


def unpack_signs(signs: Signs) -> Signs:
    """An array in place of the CSR form; anything else as it is."""
    if isinstance(signs, np.ndarray) or is_indicator(signs):
        return signs
    return signs.toarray()


def sign_columns(signs: Signs) -> Iterator[np.ndarray]:
    """Signs of each task in turn, of shape (n_samples,), int8.

    Parameters
    ----------
    signs : ndarray, Indicator or CSC array of shape (n_samples, n_tasks)
    """
    if is_indicator(signs):
        return signs.columns()
    return (sign_column(signs, task) for task in range(signs.shape[1]))


def label_columns(signs: Signs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and signs of the observed labels of each task in turn, (n_observed,) each.

    Parameters
    ----------
    signs : Signs of shape (n_samples, n_tasks)
    """
    if isinstance(signs, np.ndarray) or is_indicator(signs):
        for column in sign_columns(signs):
            rows = np.flatnonzero(column)
            yield rows, column[rows]
        return
    by_task = signs.tocsc()  # labels at the same place stay apart
    for start, stop in pairwise(by_task.indptr.tolist()):
        yield by_task.indices[start:stop], by_task.data[start:stop]


def sign_column(signs: Signs, task: int) -> np.ndarray:
    """Signs of a task, of shape (n_samples,), int8.

    Parameters
    ----------
    signs : ndarray or CSC array of shape (n_samples, n_tasks)
    task : int
    """
    if isinstance(signs, np.ndarray):
        return signs[:, task]
    return signs[:, [task]].toarray()[:, 0]


def _is_sparse(n_observed: int, shape: tuple[int, ...]) -> bool:
    n_samples, n_tasks = shape
    return n_tasks >= MIN_TASKS and n_observed <= MAX_DENSITY * n_samples * n_tasks


def count_signs(signs: Signs) -> tuple[np.ndarray, np.ndarray]:
    """Number of positive and of negative labels per task, of shape (n_tasks,), int64.

    Of signs with weights the sums of these, float64.

    Parameters
    ----------
    signs : Signs of shape (n_samples, n_tasks), or CSC array
    """
    if is_indicator(signs):
        return signs.count()
    n_tasks, is_weighted = signs.shape[1], signs.dtype.kind == "f"
    if not isinstance(signs, np.ndarray):
        of_class = []
        tasks = signs.indices if signs.format == "csr" else signs.tocoo().col
        for chosen in (signs.data > 0, signs.data < 0):
            weights = np.abs(signs.data[chosen]) if is_weighted else None
            of_class.append(np.bincount(tasks[chosen], weights, n_tasks))
        return of_class[0], of_class[1]
    counts = np.zeros((2, n_tasks), dtype=np.float64 if is_weighted else np.int64)
    for rows in row_blocks(signs):
        block = signs[rows]
        if is_weighted:
            counts += block.clip(min=0).sum(axis=0), -block.clip(max=0).sum(axis=0)
        else:
            counts += (block > 0).sum(axis=0), (block < 0).sum(axis=0)
    return counts[0], counts[1]


def sign_rows(
    signs: Signs,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    positions: np.ndarray | None = None,
) -> Rows:
    """Batches of signs, which are dense of an array and of an indicator.

    Parameters
    ----------
    signs : Signs of shape (n_samples, n_tasks)
    dtype, device, positions
        As for `Rows`.
    """
    if is_indicator(signs):
        return Rows(signs.positive, dtype, device, positions, signs.others)
    return Rows(signs, dtype, device, positions)


def keep_tasks(signs: Signs, usable: np.ndarray) -> Signs:
    """Signs without those of other tasks.

    Parameters
    ----------
    signs : Signs of shape (n_samples, n_tasks)
    usable : ndarray of shape (n_tasks,), bool

    Returns
    -------
    Signs of shape (n_samples, n_tasks)
        The same object where all tasks are usable.
    """
    if usable.all():
        return signs
    if is_indicator(signs):
        return signs.keep(usable)
    if isinstance(signs, np.ndarray):
        return signs * usable
    kept = usable[signs.indices]
    n_before = np.concatenate([[0], np.cumsum(kept)])
    return csr_array(
        (signs.data[kept], signs.indices[kept], n_before[signs.indptr]),
        shape=signs.shape,
    )


def labels_per_row(signs: Signs) -> np.ndarray:
    """Number of observed labels of each row, of shape (n_samples,), int64.

    Of signs with weights the sums of these, float64.
    """
    if is_indicator(signs):
        return np.full(len(signs), np.count_nonzero(signs.others))
    is_weighted = signs.dtype.kind == "f"
    if not isinstance(signs, np.ndarray):
        if is_weighted:
            # abs of a CSR array would add up labels at the same place
            of_label = np.repeat(np.arange(signs.shape[0]), np.diff(signs.indptr))
            return np.bincount(of_label, np.abs(signs.data), signs.shape[0])
        return np.diff(signs.indptr).astype(np.int64)
    counts = np.empty(len(signs), dtype=np.float64 if is_weighted else np.int64)
    for rows in row_blocks(signs):
        block = signs[rows]
        if is_weighted:
            counts[rows] = np.abs(block).sum(axis=1)
        else:
            counts[rows] = np.count_nonzero(block, axis=1)
    return counts
