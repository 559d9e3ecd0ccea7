"""Synthetic tasks that depend on a few common directions of the input."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn.datasets._common import (
    Seed,
    _constraints,
    _generator,
    _hide,
    _orthonormal_rows,
)

Kind = Literal["balanced", "unbalanced", "parity", "even"]

_validated = validate_params(
    {
        **_constraints,
        # A truth table has 2 ** n_components cells.
        "n_components": [Interval(Integral, 1, 16, closed="both")],
        "kind": [StrOptions(set(get_args(Kind)))],
    },
    prefer_skip_nested_validation=True,
)


def _random_subsets(
    n_subsets: int, n_cells: int, sizes: int | np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Uniform subsets of given sizes, bool of shape (n_subsets, n_cells)."""
    permutations = rng.random((n_subsets, n_cells)).argsort(axis=1)
    return permutations < np.broadcast_to(sizes, n_subsets)[:, None]


def _random_truth_tables(
    kind: str, n_tasks: int, n_components: int, rng: np.random.Generator
) -> np.ndarray:
    """Truth tables of one kind, bool of shape (n_tasks, 2 ** n_components).

    Cell ``i`` holds the label where coordinate k is positive iff bit k of ``i`` is
    set; cells ``i`` and ``2 ** n_components - 1 - i`` have opposite signs throughout.
    """
    n_cells = 2**n_components
    if kind == "balanced":
        return _random_subsets(n_tasks, n_cells, n_cells // 2, rng)
    if kind == "unbalanced":
        sizes = rng.integers(1, n_cells, size=n_tasks)
        return _random_subsets(n_tasks, n_cells, sizes, rng)
    if kind == "even":
        half = _random_subsets(n_tasks, n_cells // 2, n_cells // 4, rng)
        return np.hstack([half, half[:, ::-1]])
    pairs = rng.random((n_tasks, n_components)).argsort(axis=1)[:, :2]
    bits = (np.arange(n_cells) >> pairs[:, :, None]) & 1  # (n_tasks, 2, n_cells)
    same_sign = bits[:, 0] == bits[:, 1]
    return same_sign ^ (rng.random((n_tasks, 1)) < 0.5)


@dataclass(frozen=True, eq=False)
class SubspaceProblem:
    """Binary tasks that depend on a few common directions of the input.

    Returned by :func:`make_subspace_tasks`. Task t labels ``x`` by
    ``truth_tables[t, i]``, where bit k of the cell ``i`` is set if and only if
    ``components[k] @ x`` is positive.

    Attributes
    ----------
    components : ndarray of shape (n_components, n_features)
        Orthonormal rows.
    truth_tables : ndarray of shape (n_tasks, 2 ** n_components), bool
        Label of each sign pattern, for each task.
    kind : {"balanced", "unbalanced", "parity", "even"}
        The family from which the truth tables are drawn.

    Examples
    --------
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> problem = make_subspace_tasks(n_tasks=8, random_state=0).problem
    >>> X_test, Y_test = problem.sample(50, random_state=0)
    >>> bool((problem.label(X_test) == Y_test).all())
    True
    """

    components: np.ndarray = field(repr=False)
    truth_tables: np.ndarray = field(repr=False)
    kind: Kind

    def label(self, X: ArrayLike) -> np.ndarray:
        """Noise-free labels of given inputs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_tasks), float64
            0.0 or 1.0, nothing missing.

        Raises
        ------
        ValueError
            If ``X`` is not finite or has another number of features.
        """
        with naming_numbers(X, "X") as given:
            inputs: np.ndarray = check_array(given, dtype=np.float64, input_name="X")
        n_components, n_features = self.components.shape
        if inputs.shape[1] != n_features:
            raise ValueError(
                f"X has {inputs.shape[1]} features, but the tasks are defined on "
                f"{n_features}. Pass X of shape (n_samples, {n_features})."
            )
        cells = (inputs @ self.components.T > 0) @ 2 ** np.arange(n_components)
        return self.truth_tables.T[cells].astype(np.float64)

    @_validated
    def sample(
        self,
        n_samples: int,
        *,
        missing_fraction: float = 0.0,
        random_state: Seed = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw more rows of these tasks.

        Parameters
        ----------
        n_samples : int
            Number of rows.
        missing_fraction : float in [0, 1), default=0.0
            Probability that a label is hidden.
        random_state : int, RandomState instance or None, default=None
            The seed of :func:`make_subspace_tasks` gives other rows here.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            Standard normal inputs.
        Y : ndarray of shape (n_samples, n_tasks), float64
            0.0 or 1.0; NaN where not observed.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        rng = _generator(random_state, "rows")
        X = rng.standard_normal((n_samples, self.components.shape[1]))
        return X, _hide(self.label(X), missing_fraction, rng)

    @_validated
    def new_tasks(self, n_tasks: int, *, random_state: Seed = None) -> Self:
        """Draw further tasks of the same kind on the same components.

        Parameters
        ----------
        n_tasks : int
            On few components there are few different tasks: new ones may equal old.
        random_state : int, RandomState instance or None, default=None
            The seed of :func:`make_subspace_tasks` gives other tasks here.

        Returns
        -------
        SubspaceProblem
            The same components with new truth tables.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        rng = _generator(random_state, "tasks")
        n_components = self.components.shape[0]
        tables = _random_truth_tables(self.kind, n_tasks, n_components, rng)
        return replace(self, truth_tables=tables)


class SubspaceTasks(NamedTuple):
    """What :func:`make_subspace_tasks` returns."""

    X: np.ndarray
    Y: np.ndarray
    components: np.ndarray
    problem: SubspaceProblem


@_validated
def make_subspace_tasks(
    n_samples: int = 2000,
    n_features: int = 100,
    *,
    n_components: int = 4,
    n_tasks: int = 64,
    kind: Kind = "balanced",
    missing_fraction: float = 0.0,
    random_state: Seed = None,
) -> SubspaceTasks:
    """Draw binary tasks that depend on a few common directions of the input.

    Inputs are standard normal. Each task is a Boolean function of the signs of
    ``components @ x``, so the projection onto the components is all that any task
    needs. Setting after Collins et al. (2024), reconstructed.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of rows.
    n_features : int, default=100
        Dimension of the inputs.
    n_components : int, default=4
        Number of directions on which labels depend, at most 16.
    n_tasks : int, default=64
        Number of binary tasks.
    kind : {"balanced", "unbalanced", "parity", "even"}, default="balanced"
        Family of Boolean functions ``f``, given by truth tables over the
        ``2 ** n_components`` sign patterns ``s``:

        - "balanced": exactly half of the cells are positive, at random;
        - "unbalanced": a random number of positive cells, at least one and not all;
        - "parity": plus or minus the product of two distinct random signs;
        - "even": balanced with ``f(-s) = f(s)``; inputs have mean zero in both
          classes, so that no linear method sees such a task.

        "parity" tasks are even as well. Both need ``n_components >= 2``.
    missing_fraction : float in [0, 1), default=0.0
        Probability that a label is hidden, completely at random.
    random_state : int, RandomState instance or None, default=None
        Seed. Inputs and tasks do not change with ``missing_fraction``.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
        Inputs.
    Y : ndarray of shape (n_samples, n_tasks), float64
        Labels 0.0 and 1.0; NaN where not observed.
    components : ndarray of shape (n_components, n_features)
        The directions, as orthonormal rows.
    problem : SubspaceProblem
        Draws more rows of these tasks, and new tasks on the same components.

    Raises
    ------
    ValueError
        If a parameter is out of range, ``n_components`` exceeds ``n_features`` or
        16, or is 1 with kind "parity" or "even".

    Examples
    --------
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> X, Y, components, problem = make_subspace_tasks(
    ...     100, 20, n_components=3, n_tasks=8, random_state=0
    ... )
    >>> X.shape, Y.shape, components.shape
    ((100, 20), (100, 8), (3, 20))

    Tasks that were never seen, on the same directions:

    >>> X_new, Y_new = problem.new_tasks(5, random_state=0).sample(50, random_state=0)
    >>> X_new.shape, Y_new.shape
    ((50, 20), (50, 5))
    """
    if n_components > n_features:
        raise ValueError(
            f"n_components={n_components} directions do not fit in "
            f"n_features={n_features} dimensions. Pass n_components <= n_features."
        )
    if kind in ("parity", "even") and n_components < 2:
        raise ValueError(
            f"kind={kind!r} needs n_components >= 2, got n_components={n_components}. "
            "Pass more components, or kind='balanced'."
        )
    rng = check_random_state(random_state)
    components = _orthonormal_rows(
        n_components, n_features, _generator(rng, "components")
    )
    tables = _random_truth_tables(kind, n_tasks, n_components, _generator(rng, "tasks"))
    problem = SubspaceProblem(components, tables, kind)
    X, Y = problem.sample(
        n_samples, missing_fraction=missing_fraction, random_state=rng
    )
    return SubspaceTasks(X, Y, components, problem)
