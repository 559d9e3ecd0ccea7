"""Few-shot problems: rows to test on, and a few rows to train on."""

from numbers import Integral
from typing import Any, NamedTuple, Protocol

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from mtrl_sklearn._labels.columns import as_array, is_missing

# A score on fewer test rows of a class would say next to nothing.
MIN_TEST_ROWS = 5


class Draw(NamedTuple):
    """Rows of one draw of one task."""

    few: dict[int, np.ndarray]  # training rows by number of labels, smaller in larger
    test: np.ndarray  # (n_test,)
    missing: dict[int, str]  # why there are no training rows, by number of labels


class Split(Protocol):
    """Splits the observed rows of a task into training and test rows."""

    def __call__(
        self, rows: np.ndarray, signs: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]: ...


class RandomSplit(NamedTuple):
    """A new split for every draw; whole groups are held out where there are any."""

    test_size: float
    groups: np.ndarray | None = None  # (n_samples,)

    def __call__(
        self, rows: np.ndarray, signs: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Share out ``rows``, of which ``signs`` are the labels."""
        seed = int(rng.integers(2**31))
        if self.groups is not None:
            groups = self.groups[rows]
            n_groups = len(np.unique(groups))
            if not 0 < np.ceil(self.test_size * n_groups) < n_groups:
                return rows, rows[:0]
            splitter = GroupShuffleSplit(1, test_size=self.test_size, random_state=seed)
            train, test = next(splitter.split(rows, groups=groups))
            return rows[train], rows[test]
        counts = [np.sum(signs == sign) for sign in (-1, 1)]
        n_test = int(np.ceil(self.test_size * len(rows)))
        if min(counts) < 2 or not 2 <= n_test <= len(rows) - 2:
            return rows, rows[:0]
        train, test = train_test_split(
            rows, test_size=n_test, stratify=signs, random_state=seed
        )
        return train, test


class FixedSplit(NamedTuple):
    """The same test rows for all tasks and draws."""

    is_test: np.ndarray  # (n_samples,) bool

    def __call__(
        self, rows: np.ndarray, signs: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Share out ``rows``."""
        test = self.is_test[rows]
        return rows[~test], rows[test]


class FreshSplit(NamedTuple):
    """Test rows of left-out tasks, among those that nothing was trained on.

    These are the rows that were set aside. Where they show a class of a task too rarely
    to test on, others without a label of the tasks that were trained on take their
    place: the smallest share of both classes that has enough, drawn anew each time.
    """

    is_test: np.ndarray  # (n_samples,) bool, those set aside
    is_fresh: np.ndarray  # (n_samples,) bool, all that nothing was trained on
    inputs: np.ndarray  # (n_samples,), int; equal ones stay together

    def __call__(
        self, rows: np.ndarray, signs: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Share out ``rows``, of which ``signs`` are the labels."""
        test = self.is_test[rows]
        if _count_rarer(signs[test]) < MIN_TEST_ROWS < _count_rarer(signs):
            drawn = self._draw(rows, signs, rng)
            test = np.isin(self.inputs[rows], self.inputs[drawn])
        return rows[~test], rows[test]

    def _draw(
        self, rows: np.ndarray, signs: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Rows of both classes; fewer where a class has not as many fresh ones."""
        drawn = []
        for sign in (-1, 1):
            n_needed = -(-MIN_TEST_ROWS * np.sum(signs == sign) // _count_rarer(signs))
            fresh = rows[self.is_fresh[rows] & (signs == sign)]
            drawn.append(rng.permutation(fresh)[:n_needed])
        return np.concatenate(drawn)


def _count_rarer(signs: np.ndarray) -> int:
    """Labels of the class that has fewer."""
    return int(min(np.sum(signs < 0), np.sum(signs > 0)))


def draw_rows(
    signs: np.ndarray,
    shots: tuple[int, ...],
    split: Split,
    rng: np.random.Generator,
    sampling: str = "balanced",
) -> Draw:
    """Draw the rows of one few-shot problem for each number of labels.

    Parameters
    ----------
    signs : ndarray of shape (n_samples,)
        Labels of one task: +1, -1, or 0 where nothing was observed.
    shots : tuple of int
        Numbers of labels.
    split : Split
    rng : Generator
    sampling : {"balanced", "random"}, default="balanced"
        "balanced" draws half of the labels of either class, an odd one of the negative
        class; "random" draws them as they come, so that there may be one class only.
    """
    observed = np.flatnonzero(signs)
    train, test = split(observed, signs[observed], rng)
    shuffled = rng.permutation(train) if sampling == "random" else train
    of_class = {sign: rng.permutation(train[signs[train] == sign]) for sign in (-1, 1)}
    n_test = min(np.sum(signs[test] == sign) for sign in (-1, 1))
    few, missing = {}, {}
    for k in shots:
        needed = {-1: k - k // 2, 1: k // 2}
        if n_test < MIN_TEST_ROWS:
            missing[k] = f"a class has {n_test} test rows, {MIN_TEST_ROWS} are needed"
        elif sampling == "random":
            if len(train) >= k:
                few[k] = shuffled[:k]
            else:
                reason = f"{len(train)} labels besides the test rows"
                missing[k] = f"{reason}, {k} are needed"
        elif lacking := [s for s in needed if len(of_class[s]) < needed[s]]:
            sign = lacking[-1]
            name = "positive" if sign > 0 else "negative"
            missing[k] = (
                f"{len(of_class[sign])} {name} labels besides the test rows, "
                f"{needed[sign]} are needed"
            )
        else:
            few[k] = np.concatenate([of_class[s][: needed[s]] for s in needed])
    return Draw(few, test, missing)


def read_shots(shots: Any, least: int = 0) -> tuple[int, ...]:
    """Ascending numbers of labels, each at least ``least``.

    Raises
    ------
    ValueError
        For anything else.
    """
    values = list(shots) if np.iterable(shots) else [shots]
    if not values or not all(
        isinstance(k, Integral) and int(k) >= least for k in values
    ):
        raise ValueError(
            f"shots={shots!r} should be numbers of labels, ints of at least {least}, "
            "such as (16, 32, 64, 128)."
        )
    return tuple(sorted({int(k) for k in values}))


def read_groups_of_rows(groups: Any, n_samples: int) -> np.ndarray | None:
    """Numbers of groups, of shape (n_samples,).

    Raises
    ------
    ValueError
        If there is not one for each row.
    """
    if groups is None:
        return None
    values = as_array(groups)
    if values.shape != (n_samples,):
        raise ValueError(
            f"groups should be of shape ({n_samples},), the group of each row of X, "
            f"got shape {values.shape}."
        )
    n_missing = sum(map(is_missing, values.tolist()))
    if n_missing:
        raise ValueError(
            f"groups holds {n_missing} missing entries. Name the group of each row."
        )
    return np.unique(values.astype(str), return_inverse=True)[1]
