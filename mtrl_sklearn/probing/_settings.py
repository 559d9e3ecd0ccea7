"""What a linear probe does with its features, as a function of the number of labels."""

from collections.abc import Collection
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from mtrl_sklearn._training.prior import ProbePrior
from mtrl_sklearn._training.saving import saveable_settings
from mtrl_sklearn.probing._blocks import BLOCKS
from mtrl_sklearn.probing._forecast import (
    LEAST_LABELS,
    Forecast,
    Reached,
    read_count,
)

# Where nobody calibrated: near the best fixed setting on assays, digits, yeast and
# synthetic tasks alike (benchmarks/probe_quality.py).
DEFAULT_WEIGHTS = {"hidden": 0.25, "probabilities": 0.5, "inputs": 0.25}
DEFAULT_C = 2.0

# So many labels, half of them of either class, are trusted as much as more are.
FULL_TRUST = 16

# Names of blocks in files of earlier versions.
RENAMED = {"scores": "probabilities"}


@saveable_settings
@dataclass(frozen=True)
class ProbeSettings:
    """Weights of the blocks of features, and strength, by the number of labels.

    `calibrate` learns them. Between the numbers of labels they are interpolated, linear
    in the logarithm of that number (the strength C in its own logarithm too); beyond
    they stay as they are.

    Attributes
    ----------
    n_labels : tuple of int
        Ascending numbers of labels.
    weights : tuple of tuples of 3 floats
        For each of them, weights of the blocks "hidden", "probabilities" and
        "inputs"; they sum to 1.
    C : tuple of float
        For each of them, the inverse strength of the ridge penalty.
    prior : ProbePrior or None
        What tasks have in common. None leaves it to the representation.
    reached : Reached or None
        What source tasks reached that were left out, which `forecast` sums up. None for
        settings that `calibrate` did not make.

    Examples
    --------
    >>> from mtrl_sklearn.probing import ProbeSettings
    >>> settings = ProbeSettings((16, 64), ((0.2, 0.8, 0.0), (0.6, 0.2, 0.2)), (1, 4))
    >>> weights, C = settings.at(32)
    >>> {name: round(weight, 2) for name, weight in weights.items()}, round(C, 2)
    ({'hidden': 0.4, 'probabilities': 0.5, 'inputs': 0.1}, 2.0)
    >>> print(settings)
    16 labels: hidden 0.20, probabilities 0.80, inputs 0.00, C 1
    64 labels: hidden 0.60, probabilities 0.20, inputs 0.20, C 4
    """

    n_labels: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]
    C: tuple[float, ...]
    prior: ProbePrior | None = None
    reached: Reached | None = None

    def __post_init__(self) -> None:
        if isinstance(self.prior, dict):  # as a file has it
            object.__setattr__(self, "prior", ProbePrior(**self.prior))
        if isinstance(self.reached, dict):
            object.__setattr__(self, "reached", Reached(**self.reached))
        n = len(self.n_labels)
        if not n == len(self.weights) == len(self.C) > 0:
            raise ValueError(
                f"n_labels, weights and C should have the same length, got {n}, "
                f"{len(self.weights)} and {len(self.C)}."
            )
        counts, weights, C = map(np.asarray, (self.n_labels, self.weights, self.C))
        if not (counts >= 0).all() or not (np.diff(counts) > 0).all():
            raise ValueError(
                f"n_labels={self.n_labels} should be ascending and not negative."
            )
        if weights.shape != (n, len(BLOCKS)) or not (
            np.isfinite(weights).all()
            and (weights >= 0).all()
            and (weights.sum(axis=1) > 0).all()
        ):
            raise ValueError(
                f"weights={self.weights} should hold, for each number of labels, a "
                f"weight of at least 0 for each of {BLOCKS}, and one above 0."
            )
        if not (np.isfinite(C).all() and (C > 0).all()):
            raise ValueError(f"C={self.C} should hold positive numbers.")

    def at(self, n_labels: float) -> tuple[dict[str, float], float]:
        """Weights by block, and C, for this number of labels, or sum of weights."""
        x, known = (
            np.log(np.maximum(n, LEAST_LABELS)) for n in (n_labels, self.n_labels)
        )
        weights = {
            name: float(np.interp(x, known, column))
            for name, column in zip(BLOCKS, np.transpose(self.weights))
        }
        return weights, float(np.exp(np.interp(x, known, np.log(self.C))))

    def forecast(self, n_labels: float) -> Forecast:
        """What to expect of a new task with this number of labels.

        Source tasks say so: each was left out with its group, and probed with settings
        that the other groups had chosen. It holds for new tasks that are to the source
        tasks as groups of these are to each other: where they are no more unlike than
        any source task is, groups at random expect more of them than the groups of
        similar tasks that `calibrate` finds. Its spread is that of single draws of
        labels, with as many test rows as source tasks have: scores on few of them
        vary more. From nine tasks left out on, 80 % of further ones fall between the
        10 and 90 % quantiles. Of T < 9 these are the least and the largest score, and
        hold (T - 1) / (T + 1): 78 % where T = 8, 71 % where T = 6, 50 % where T = 3.

        Parameters
        ----------
        n_labels : float
            Of at least 0. Between the numbers that `calibrate` tried the forecast is
            interpolated, linear in the logarithm; beyond it stays as it is.

        Returns
        -------
        Forecast
            Mean, spread and quantiles over tasks of three scores; printed, it says them
            in words.

        Raises
        ------
        ValueError
            If n_labels is no such number, or `calibrate` did not make the settings.
        """
        n_labels = read_count(n_labels)
        if self.reached is None:
            raise ValueError(
                "These settings hold no scores of source tasks to forecast from. Pass "
                "those that calibrate returns; of earlier versions, calibrate anew."
            )
        return self.reached.at(n_labels)

    def __str__(self) -> str:
        lines = []
        for n_labels, weights, C in zip(self.n_labels, self.weights, self.C):
            named = zip(BLOCKS, weights)
            shares = ", ".join(f"{name} {weight:.2f}" for name, weight in named)
            lines.append(f"{n_labels} labels: {shares}, C {C:.3g}")
        return "\n".join(lines)


def resolve_settings(
    weights: dict[str, Any] | str,
    C: float | str,
    settings: ProbeSettings | None,
    present: Collection[str],
    n_labels: float,
) -> tuple[dict[str, float], float]:
    """Weights of the blocks there are, summing to 1, and the strength C.

    Parameters
    ----------
    weights : dict of float or "auto"
    C : float or "auto"
    settings : ProbeSettings or None
        What "auto" stands for; None is the default.
    present : collection of str
        The blocks there are.
    n_labels : float
        Or sum of their weights.

    Raises
    ------
    ValueError
        If weights are of unknown blocks or no weights, or leave none of these.
    """
    chosen, strength = dict(DEFAULT_WEIGHTS), DEFAULT_C
    if settings is not None:
        chosen, strength = settings.at(n_labels)
    if not isinstance(weights, str):
        chosen = _read_weights(weights)
    chosen = {name: chosen[name] for name in present}
    if len(chosen) == 1 and isinstance(weights, str):
        chosen = dict.fromkeys(chosen, 1.0)
    largest = max(chosen.values())
    if not largest > 0:
        raise ValueError(
            f"weights={weights!r} and settings={settings!r} leave no block of "
            f"features: there are {list(present)}. Give one of them a positive weight."
        )
    total = sum(weight / largest for weight in chosen.values())
    chosen = {name: w / largest / total for name, w in chosen.items()}
    return chosen, strength if isinstance(C, str) else float(C)


def trust_labels(n_labels: float, n_positive: float) -> float:
    """Share of the default strength C that few labels deserve beside a prior.

    Labels of a rare class say less than their number: n of them tell as much as
    ``m = 4 n_+ n_- / n`` of which half are positive: a difference between the
    means of both classes has the same standard error.

    Parameters
    ----------
    n_labels, n_positive : float
        Or sums of their weights.
    """
    effective = 4 * n_positive * (n_labels - n_positive) / max(n_labels, 1e-300)
    return min(1.0, (effective + 1) / (FULL_TRUST + 1))


def _read_weights(weights: dict[str, Any]) -> dict[str, float]:
    """A weight for each block, 0 where none was given."""
    for old, new in RENAMED.items():
        if old in weights:
            raise ValueError(
                f"weights={weights!r} names the block {old!r}, which is called "
                f"{new!r}. Pass the weight of {new!r}."
            )
    known = all(name in BLOCKS and _is_weight(value) for name, value in weights.items())
    if not known:
        raise ValueError(
            f"weights={weights!r} should map blocks of {list(BLOCKS)} to numbers of at "
            "least 0."
        )
    return {name: float(weights.get(name, 0)) for name in BLOCKS}


def _is_weight(value: Any) -> bool:
    return isinstance(value, Real) and bool(0 <= float(value) < np.inf)


def rename_blocks(found: Any) -> Any:
    """A dict by blocks under the names of today, in its order; all else as it is."""
    if not isinstance(found, dict):
        return found
    return {RENAMED.get(name, name): value for name, value in found.items()}
