"""Blocks of features that a probe of a new task can see."""

from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.validation import _num_samples, check_is_fitted

from mtrl_sklearn._arrays.centred import Block
from mtrl_sklearn._arrays.computed import Computed
from mtrl_sklearn._arrays.conversion import (
    is_sparse_frame,
    read_sparse,
    read_sparse_frame,
)
from mtrl_sklearn._arrays.validation import flatten_rows, naming_numbers
from mtrl_sklearn._labels.signs import row_blocks

BLOCKS = ("hidden", "probabilities", "inputs")

# Numbers of source-task probabilities that a probe holds; more are computed by rows.
MOST_PROBABILITIES = 2**26


@dataclass(frozen=True)
class Blocks:
    """Features of rows by where they come from; None where there are none.

    ``inputs`` are those of the representation, after the steps before it in a pipeline.
    """

    hidden: Block | None  # (n_samples, n_hidden): what `transform` returns
    probabilities: Block | None  # (n_samples, n_source): of source tasks
    inputs: Block | None  # (n_samples, n_features)

    @property
    def present(self) -> dict[str, Block]:
        """The blocks there are, by name."""
        return {name: b for name, b in vars(self).items() if b is not None}

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and of columns of all blocks."""
        blocks = list(self.present.values())
        return blocks[0].shape[0], sum(block.shape[1] for block in blocks)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: np.ndarray | slice) -> "Blocks":
        """The same features of some rows."""
        return Blocks(*(None if b is None else b[rows] for b in vars(self).values()))


def open_representation(representation: Any, X: Any) -> tuple[Any, Any]:
    """The estimator that pipelines and `FrozenEstimator` hold, and what it is given.

    Parameters
    ----------
    representation : fitted transformer
    X : array-like or None
        What the representation accepts.

    Returns
    -------
    estimator : fitted transformer
        Of a pipeline the last step that is a `Representation`, with the steps after it
        if there are any; else the last step.
    X : array-like or None
        Output of the steps before it.
    """
    representation = unfreeze(representation)
    if not hasattr(representation, "transform") or isinstance(representation, type):
        raise TypeError(
            f"representation should be a fitted transformer, got {representation!r}."
        )
    if not isinstance(representation, Pipeline):
        check_is_fitted(representation)
        return representation, X
    start = len(representation) - 1
    for place, (_, step) in enumerate(representation.steps):
        start = place if has_source_tasks(step) else start
    if start and X is not None:
        X = representation[:start].transform(X)
    if start == len(representation) - 1:
        return open_representation(representation[-1], X)
    check_is_fitted(representation)
    return representation[start:], X


def has_source_tasks(estimator: Any) -> bool:
    """Whether it is, or holds frozen, a `Representation`, with source tasks."""
    return hasattr(unfreeze(estimator), "source_probabilities")


def reads_single_rows(estimator: Any) -> bool:
    """Whether features of a row do not depend on the rows that come with it."""
    return hasattr(estimator, "source_probabilities")


def first_step(estimator: Any) -> Any:
    """The estimator that sees the inputs, of what `open_representation` returns."""
    return unfreeze(estimator[0] if isinstance(estimator, Pipeline) else estimator)


def pos_label_of_sources(representation: Any) -> Any:
    """The label that is positive in the source tasks, or None; a dict is by task.

    Parameters
    ----------
    representation : fitted transformer or None
    """
    if representation is None:
        return None
    learner = first_step(open_representation(representation, None)[0])
    pos_label = getattr(learner, "pos_label", None)
    if pos_label is None or isinstance(pos_label, dict):
        return pos_label
    if not has_source_tasks(learner):
        return None
    known = learner.classes_
    known = [known] if isinstance(known, np.ndarray) else known
    of_two = (classes[-1] for classes in known if len(classes) == 2)
    return next(of_two, pos_label)  # True and 1 are labels of different kinds


def unfreeze(estimator: Any) -> Any:
    """What a `FrozenEstimator` holds; anything else as it is."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def pin(representation: Any) -> Any:
    """A copy that stays as it is when the original is set or fitted anew.

    Parameters
    ----------
    representation : fitted transformer or None

    Returns
    -------
    fitted transformer or None
        Not frozen. One with a method ``snapshot`` shares its arrays with the original,
        which replaces them and never changes them; others may change theirs in place,
        so all of them is copied.

    Raises
    ------
    TypeError
        If it cannot be copied.
    """
    representation = unfreeze(representation)
    if isinstance(representation, Pipeline):
        twin = copy(representation)
        twin.steps = [(name, pin(step)) for name, step in representation.steps]
        return twin
    if hasattr(representation, "snapshot"):
        return representation.snapshot()
    try:
        return deepcopy(representation)
    except TypeError as error:
        name = type(representation).__name__
        raise TypeError(
            f"representation: {name} cannot be copied ({error}), so that a probe would "
            "change with it. If it never changes, give it a method __deepcopy__ that "
            "returns itself."
        ) from error


def compute_blocks(
    estimator: Any, X: Any, names: Sequence[str] = BLOCKS, empty: bool = False
) -> Blocks:
    """Features that a fitted transformer gives rows.

    Parameters
    ----------
    estimator : fitted transformer
        As `open_representation` returns it. Only a `Representation` has probabilities
        of source tasks.
    X : array-like
        What it accepts; rows along the first axis.
    names : sequence of str
        Blocks to compute, of "hidden", "probabilities" and "inputs".
    empty : bool, default=False
        Whether X may have no rows.

    Returns
    -------
    Blocks
        Two-dimensional arrays of floats, CSR where they come sparse.
    """
    first, probabilities = first_step(estimator), None
    if "probabilities" in names and has_source_tasks(first):
        probabilities = first.source_probabilities(X)
    return Blocks(
        as_rows(estimator.transform(X), empty) if "hidden" in names else None,
        probabilities,
        as_rows(X, empty) if "inputs" in names else None,
    )


def compute_rows_when_asked(estimator: Any, X: Any) -> Blocks | None:
    """The same, with probabilities that are never whole, where these are too large.

    Parameters
    ----------
    estimator : fitted transformer
        As `open_representation` returns it.
    X : array-like
        What it accepts; rows along the first axis.

    Returns
    -------
    Blocks or None
        None where there is no such block.
    """
    if not reads_single_rows(estimator) or is_sparse_frame(X):
        return None
    rows = read_inputs(X)
    first = estimator.source_probabilities(_safe_indexing(rows, slice(0, 1)))
    n_rows, n_source = _num_samples(rows), first.shape[1]
    if n_rows * n_source <= MOST_PROBABILITIES:
        return None

    def compute(positions: np.ndarray) -> np.ndarray:
        return estimator.source_probabilities(_safe_indexing(rows, positions))

    others = compute_blocks(estimator, rows, ("hidden", "inputs"))
    computed = Computed(compute, np.arange(n_rows), n_source, first.dtype)
    return replace(others, probabilities=computed)


def input_block(X: Block) -> Blocks:
    """Validated inputs as the only block of features."""
    is_float = X.dtype in (np.float32, np.float64)
    return Blocks(None, None, X if is_float else X.astype(np.float64))


def rows_differ(X: Any) -> bool:
    """Whether some rows of inputs differ from others; text and the like always does."""
    if is_sparse_frame(X):
        X = read_sparse_frame(X, "X")
    if issparse(X):
        return bool((X.max(axis=0) != X.min(axis=0)).nnz)
    try:
        array = np.asarray(X)
    except ValueError:  # rows of unequal length
        return True
    if array.dtype.kind not in "biuf":
        return True
    return any((array[rows] != array[:1]).any() for rows in row_blocks(array))


def one_row_like(X: Any) -> Any:
    """A row of zeros in the form of inputs that have no rows."""
    if hasattr(X, "columns"):
        return type(X)({name: [0.0] for name in X.columns})
    if issparse(X):
        return csr_array((1, X.shape[1]), dtype=X.dtype)
    array = np.asarray(X)
    return np.zeros((1, *array.shape[1:]), dtype=array.dtype)


def as_rows(X: Any, empty: bool = False) -> Block:
    """Inputs of any shape as finite floats of shape (n_samples, n_features).

    Sparse ones come back as a CSR array.
    """
    return flatten_rows(X, empty, sparse=True)


def read_inputs(X: Any, signs: np.ndarray | None = None) -> Any:
    """Inputs of which rows can be taken, one for each row of signs.

    Parameters
    ----------
    X : array-like or sparse matrix
    signs : ndarray of shape (n_samples, n_tasks), default=None

    Returns
    -------
    array-like, or CSR array where it came as a sparse matrix
    """
    with naming_numbers(X, "X") as rows:
        rows, _ = indexable(read_sparse(rows) if issparse(rows) else rows, signs)
    return rows
