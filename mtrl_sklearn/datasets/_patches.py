"""Synthetic tasks with features that tasks share and features of one task."""

from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from mtrl_sklearn.datasets._common import (
    Seed,
    _constraints,
    _generator,
    _orthonormal_rows,
)

PatchKind = Literal["linear", "symmetric"]

_fraction = Interval(Real, 0, 1, closed="both")
_positive = [Interval(Real, 0, None, closed="neither")]
_patch_constraints = {
    **_constraints,
    "n_patches": [Interval(Integral, 1, None, closed="left")],
    "shared_fraction": [_fraction],
    "shared_strength": _positive,
    "noise_norm": _positive,
    "kind": [StrOptions(set(get_args(PatchKind)))],
}
_validated = validate_params(_patch_constraints, prefer_skip_nested_validation=True)
_validated_sample = validate_params(
    {**_patch_constraints, "shared_fraction": [_fraction, None]},
    prefer_skip_nested_validation=True,
)


class PatchSample(NamedTuple):
    """What :meth:`PatchProblem.sample` returns."""

    X: np.ndarray
    y: np.ndarray
    tasks: np.ndarray
    is_shared: np.ndarray


@dataclass(frozen=True, eq=False)
class PatchProblem:
    """Tasks with one label space, whose rows carry a shared feature or their own.

    Returned by :func:`make_patch_tasks`, which tells how rows are made.

    Attributes
    ----------
    shared_directions : ndarray of shape (n_directions, n_features)
        Direction of the shared feature. ``n_directions`` is 1 for kind "linear"; for
        "symmetric" it is 2, with the row 0 for the label -1 and the row 1 for +1.
    task_directions : ndarray of shape (n_tasks, n_directions, n_features)
        Directions of the tasks' own features. All directions are orthonormal.
    n_patches : int
        Patches of a row.
    shared_fraction : float in [0, 1]
        Probability that a row carries the shared feature.
    shared_strength : float > 0
        Length of the shared feature, where the tasks' own have length 1.
    noise_norm : float > 0
        Root of the mean squared norm of a noise patch.
    kind : {"linear", "symmetric"}
        How the sign of a feature depends on the label.

    Examples
    --------
    >>> from mtrl_sklearn.datasets import make_patch_tasks
    >>> problem = make_patch_tasks(n_tasks=4, random_state=0).problem
    >>> X, y, tasks, is_shared = problem.sample(10, shared_fraction=1, random_state=0)
    >>> X.shape, bool(is_shared.all())
    ((40, 2, 200), True)
    """

    shared_directions: np.ndarray = field(repr=False)
    task_directions: np.ndarray = field(repr=False)
    n_patches: int
    shared_fraction: float
    shared_strength: float
    noise_norm: float
    kind: "PatchKind"

    @_validated_sample
    def sample(
        self,
        n_samples_per_task: int,
        *,
        shared_fraction: float | None = None,
        random_state: "Seed" = None,
    ) -> PatchSample:
        """Draw more rows of these tasks.

        Parameters
        ----------
        n_samples_per_task : int
            Number of rows of each task.
        shared_fraction : float in [0, 1] or None, default=None
            Probability that a row carries the shared feature; with None, that of the
            problem. It changes features only, neither labels nor noise.
        random_state : int, RandomState instance or None, default=None
            The seed of :func:`make_patch_tasks` gives other rows here.

        Returns
        -------
        X : ndarray of shape (n_tasks * n_samples_per_task, n_patches, n_features)
            Rows of patches, float64, one task after the other.
        y : ndarray of shape (n_tasks * n_samples_per_task,), int64
            Labels -1 and +1.
        tasks : ndarray of shape (n_tasks * n_samples_per_task,), int64
            Task of each row, from 0 to n_tasks - 1.
        is_shared : ndarray of shape (n_tasks * n_samples_per_task,), bool
            Whether the row carries the shared feature, or that of its task.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        fraction = self.shared_fraction if shared_fraction is None else shared_fraction
        rng = _generator(random_state, "rows")
        n_tasks = len(self.task_directions)
        tasks = np.repeat(np.arange(n_tasks, dtype=np.int64), n_samples_per_task)
        y = _balanced_labels(n_tasks, n_samples_per_task, rng)
        is_shared = rng.random(len(y)) < fraction
        if self.kind == "linear":
            direction, signs = np.zeros(len(y), dtype=np.int64), y
        else:
            direction, signs = (y + 1) // 2, rng.choice([-1, 1], size=len(y))
        features = signs[:, None] * np.where(
            is_shared[:, None],
            self.shared_strength * self.shared_directions[direction],
            self.task_directions[tasks, direction],
        )
        place = rng.integers(self.n_patches, size=(len(y), 1))
        return PatchSample(self._patches(features, place, rng), y, tasks, is_shared)

    def _patches(
        self, features: np.ndarray, place: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Features (n_samples, n_features) at their place, and noise elsewhere.

        Of shape (n_samples, n_patches, n_features).
        """
        n_samples, n_features = features.shape
        directions = np.vstack([self.shared_directions, *self.task_directions])
        noise = rng.standard_normal((n_samples * (self.n_patches - 1), n_features))
        noise -= noise @ directions.T @ directions
        n_noisy = max(1, n_features - len(directions))  # 0 only without noise patches
        X = np.empty((n_samples, self.n_patches, n_features))
        holds_feature = np.arange(self.n_patches) == place
        X[holds_feature] = features
        X[~holds_feature] = self.noise_norm / np.sqrt(n_noisy) * noise
        return X

    @_validated
    def new_tasks(self, n_tasks: int, *, random_state: "Seed" = None) -> Self:
        """Draw further tasks with the same shared feature.

        Parameters
        ----------
        n_tasks : int
            Number of new tasks.
        random_state : int, RandomState instance or None, default=None
            The seed of :func:`make_patch_tasks` gives other tasks here.

        Returns
        -------
        PatchProblem
            The same shared directions, and new task directions orthogonal to them
            and to the task directions of this problem. Its noise is orthogonal to
            its own features only.

        Raises
        ------
        ValueError
            If a parameter is out of range, or directions do not fit.
        """
        n_old, n_directions, n_features = self.task_directions.shape
        n_needed = n_directions * (1 + n_old + n_tasks)
        if n_needed > n_features:
            room = n_features // n_directions - n_old - 1
            raise ValueError(
                f"n_tasks={n_tasks} new tasks and {n_old} old ones of kind "
                f"{self.kind!r} need {n_needed} orthogonal directions, but "
                f"n_features={n_features} leaves room for {room} new tasks. Pass "
                f"n_tasks <= {room}, or make a problem with more n_features."
            )
        used = np.vstack([self.shared_directions, *self.task_directions])
        rng = _generator(random_state, "tasks")
        rows = _orthonormal_rows(n_directions * n_tasks, n_features, rng, off=used)
        return replace(self, task_directions=rows.reshape(n_tasks, n_directions, -1))


def _balanced_labels(
    n_tasks: int, n_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Labels -1 and +1 in random order, of shape (n_tasks * n_samples,).

    Within a task their numbers differ by at most one; chance decides for which.
    """
    ranks = rng.random((n_tasks, n_samples)).argsort(axis=1)
    odd = (ranks + rng.integers(2, size=(n_tasks, 1))) % 2
    return (2 * odd - 1).astype(np.int64).ravel()


class PatchTasks(NamedTuple):
    """What :func:`make_patch_tasks` returns."""

    X: np.ndarray
    y: np.ndarray
    tasks: np.ndarray
    is_shared: np.ndarray
    shared_directions: np.ndarray
    task_directions: np.ndarray
    problem: PatchProblem


@_validated
def make_patch_tasks(
    n_samples_per_task: int = 60,
    n_tasks: int = 16,
    *,
    n_features: int = 200,
    n_patches: int = 2,
    shared_fraction: float = 0.5,
    shared_strength: float = 0.35,
    noise_norm: float = 1.5,
    kind: "PatchKind" = "linear",
    random_state: "Seed" = None,
) -> PatchTasks:
    """Draw tasks whose rows carry a feature that all tasks share, or one of their own.

    All tasks have the labels -1 and +1. A row is a number of patches. One of them, at
    a random place, carries a feature: the weak one that all tasks share, or the strong
    one of the row's task. The others are Gaussian noise orthogonal to all features,
    which a network may memorise. After Li et al. (2025), reconstructed;
    :func:`mtrl_sklearn.metrics.signal_to_noise` tells what can be learned.

    Parameters
    ----------
    n_samples_per_task : int, default=60
        Number of rows of each task, half of them of each label. Of an odd number,
        chance gives one row more to one label.
    n_tasks : int, default=16
        Number of tasks.
    n_features : int, default=200
        Dimension of a patch.
    n_patches : int, default=2
        Patches of a row. With 1 there is no noise.
    shared_fraction : float in [0, 1], default=0.5
        Probability that a row carries the shared feature, for each row on its own.
    shared_strength : float > 0, default=0.35
        Length of the shared feature, where the tasks' own have length 1.
    noise_norm : float > 0, default=1.5
        Root of the mean squared norm of a noise patch.
    kind : {"linear", "symmetric"}, default="linear"
        How features tell the label:

        - "linear": one direction, with the sign of the label. Rows are linearly
          separable, so that logistic regression on raw rows beats a network;
        - "symmetric": one direction per label, with a random sign. Rows have mean zero
          in both classes, so that no linear method sees the label.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    X : ndarray of shape (n_tasks * n_samples_per_task, n_patches, n_features)
        Rows of patches, float64, one task after the other.
    y : ndarray of shape (n_tasks * n_samples_per_task,), int64
        Labels -1 and +1.
    tasks : ndarray of shape (n_tasks * n_samples_per_task,), int64
        Task of each row, from 0 to n_tasks - 1.
    is_shared : ndarray of shape (n_tasks * n_samples_per_task,), bool
        Whether the row carries the shared feature, or that of its task.
    shared_directions : ndarray of shape (n_directions, n_features)
        Direction of the shared feature, of length 1. ``n_directions`` is 1 for kind
        "linear"; for "symmetric" it is 2, with the row 0 for the label -1 and the row
        1 for +1.
    task_directions : ndarray of shape (n_tasks, n_directions, n_features)
        Directions of the tasks' own features. All directions are orthonormal.
    problem : PatchProblem
        Draws more rows of these tasks, and new tasks with the same shared feature.

    Raises
    ------
    ValueError
        If a parameter is out of range, or directions do not fit in ``n_features``.

    Examples
    --------
    >>> import numpy as np
    >>> from mtrl_sklearn.datasets import make_patch_tasks
    >>> X, y, tasks, is_shared, v, u, problem = make_patch_tasks(
    ...     20, n_tasks=4, n_features=50, random_state=0
    ... )
    >>> X.shape, y.shape, v.shape, u.shape
    ((80, 2, 50), (80,), (1, 50), (4, 1, 50))

    Rows with the shared feature reveal the label along it, the others nothing:

    >>> along = (X @ v[0]).sum(axis=1)
    >>> np.unique((y * along)[is_shared].round(6)).tolist()
    [0.35]
    >>> bool(np.allclose(along[~is_shared], 0))
    True

    Tasks that were never seen, with the same shared feature:

    >>> problem.new_tasks(3, random_state=0).sample(10, random_state=0).X.shape
    (30, 2, 50)
    """
    n_directions = 1 if kind == "linear" else 2
    n_used = n_directions * (1 + n_tasks)
    n_needed = n_used + (n_patches > 1)
    if n_needed > n_features:
        raise ValueError(
            f"n_tasks={n_tasks} tasks of kind {kind!r} need {n_needed} orthogonal "
            f"directions ({n_directions} per task, {n_directions} shared, "
            f"{n_needed - n_used} for noise), but n_features={n_features}. Pass "
            f"n_features >= {n_needed} or fewer tasks."
        )
    rng = check_random_state(random_state)
    rows = _orthonormal_rows(n_used, n_features, _generator(rng, "directions"))
    problem = PatchProblem(
        shared_directions=rows[:n_directions],
        task_directions=rows[n_directions:].reshape(n_tasks, n_directions, n_features),
        n_patches=n_patches,
        shared_fraction=shared_fraction,
        shared_strength=shared_strength,
        noise_norm=noise_norm,
        kind=kind,
    )
    X, y, tasks, is_shared = problem.sample(n_samples_per_task, random_state=rng)
    shared, own = problem.shared_directions, problem.task_directions
    return PatchTasks(X, y, tasks, is_shared, shared, own, problem)
