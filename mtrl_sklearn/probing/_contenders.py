"""Kinds of features that compete in a probe, and their scores."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.utils import _safe_indexing
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mtrl_sklearn._group import alone
from mtrl_sklearn._training.random_features import random_features
from mtrl_sklearn.probing._blocks import (
    as_rows,
    compute_blocks,
    first_step,
    open_representation,
    refuse_sparse,
)
from mtrl_sklearn.probing._draws import Split, draw_rows
from mtrl_sklearn.probing._linear_probe import LinearProbe

BASELINES = ("raw", "random")

# Units of a random layer in place of a transformer that has no hidden ones.
OTHER_WIDTH = 512


class Contender(NamedTuple):
    """A kind of features and the unfitted probe that sees them."""

    name: str
    take: Callable[[np.ndarray], Any]  # what the probe sees of some rows
    probe: Any


class Scores(NamedTuple):
    """Records of a table, and what could not be scored."""

    records: list[dict[str, Any]]
    skipped: list[dict[str, Any]]


def list_contenders(
    representation: Any, X: Any, probe: Any, baselines: tuple[str, ...], seed: int
) -> list[Contender]:
    """The representation and its baselines, with features of all rows.

    Parameters
    ----------
    representation : fitted transformer
    X : array-like
        What it accepts.
    probe : classifier or None
        A `LinearProbe` sees all blocks of features of the representation, any other
        classifier sees what `transform` returns. None is a `LinearProbe`.
    baselines : tuple of {"raw", "random"}
    seed : int
        Of random features.
    """
    probe = LinearProbe() if probe is None else probe
    _check_probe(probe, representation)
    take: Callable[[np.ndarray], Any]
    estimator, inputs = open_representation(representation, X)
    ours, plain = probe, probe
    if not sees_blocks(probe):
        take = partial(_safe_indexing, as_rows(estimator.transform(inputs)))
    elif probe.fine_tune:
        ours, plain = probe.with_representation(representation), probe.of_plain_rows()
        take = partial(_safe_indexing, X)
    else:
        ours, plain = probe.with_blocks(representation), probe.of_plain_rows()
        take = compute_blocks(estimator, inputs).take
    contenders = [Contender("representation", take, ours)]
    for name in baselines:
        is_raw = name == "raw"
        features = (
            as_rows(inputs) if is_raw else _untrained_features(estimator, inputs, seed)
        )
        take = partial(_safe_indexing, features)
        contenders.append(Contender(name, take, plain))
    return contenders


def sees_blocks(probe: Any) -> bool:
    """Whether a probe compares features with raw inputs; None is one that does."""
    return probe is None or hasattr(probe, "with_representation")


def check_probe(probe: Any, scoring: Any) -> None:
    """Refuse parameters of a probe, or a scorer, before anything is trained."""
    probe = LinearProbe() if probe is None else probe
    if hasattr(probe, "check_parameters"):
        probe.check_parameters()
    check_scoring(probe, scoring)


def _check_probe(probe: Any, representation: Any) -> None:
    """Refuse a probe with a representation of its own: it would act on features."""
    inner = probe.get_params().values() if hasattr(probe, "get_params") else ()
    own = [p.representation for p in inner if p is not None and sees_blocks(p)]
    if sees_blocks(probe):
        own = [None if probe.representation is representation else probe.representation]
    if any(held is not None for held in own):
        raise ValueError(
            f"probe={type(probe).__name__} holds a representation of its own, but the "
            "features to compare are those of the argument representation. Pass a "
            "LinearProbe without a representation, or another classifier."
        )


def _untrained_features(estimator: Any, X: Any, seed: int) -> np.ndarray:
    """Features of the same network, or of a ReLU layer as wide, that was never trained.

    Parameters
    ----------
    estimator : fitted transformer
    X : array-like
    seed : int
    """
    refuse_sparse(X)
    estimator = first_step(estimator)
    if hasattr(estimator, "untrained_features"):
        return estimator.untrained_features(X, seed)
    n_hidden = getattr(estimator, "n_hidden", OTHER_WIDTH)
    return random_features(as_rows(X), n_hidden, seed)


def score_contenders(
    contenders: list[Contender],
    signs: np.ndarray,
    names: list[Any],
    split: Split,
    *,
    shots: tuple[int, ...],
    n_draws: int,
    scoring: Any,
    seed: int,
    n_jobs: int | None,
    verbose: bool,
) -> Scores:
    """Scores of all contenders on all tasks, with the same rows.

    Parameters
    ----------
    contenders : list of Contender
    signs : ndarray of shape (n_samples, n_tasks)
        +1, -1, or 0 where nothing was observed.
    names : list of n_tasks names
    split : Split
    shots : tuple of int
    n_draws : int
    scoring : str or callable
    seed : int
        Each draw of each task has a random stream of its own.
    n_jobs : int or None
    verbose : bool
        Show a progress bar.
    """
    scorer = check_scoring(contenders[0].probe, scoring)
    jobs = (
        delayed(_score_task)(
            contenders,
            signs[:, task],
            name,
            split,
            shots,
            [[seed, task, draw] for draw in range(n_draws)],
            scorer,
        )
        for task, name in enumerate(names)
    )
    found = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    bar = tqdm(found, total=len(names), desc="tasks", disable=not verbose)
    parts = list(bar)
    return Scores(
        [record for part in parts for record in part.records],
        [entry for part in parts for entry in part.skipped],
    )


def _score_task(
    contenders: list[Contender],
    signs: np.ndarray,
    name: Any,
    split: Split,
    shots: tuple[int, ...],
    seeds: list[list[int]],
    scorer: Any,
) -> Scores:
    """Scores on one task; one thread, so that results do not depend on n_jobs."""
    records: list[dict[str, Any]] = []
    missing: dict[int, list[str]] = {}
    with threadpool_limits(1), alone():
        for draw, seed in enumerate(seeds):
            rows = draw_rows(signs, shots, split, np.random.default_rng(seed))
            for k, reason in rows.missing.items():
                missing.setdefault(k, []).append(reason)
            y_test = (signs[rows.test] > 0).astype(int)
            for contender in contenders:
                test = contender.take(rows.test)
                for k, few in rows.few.items():
                    model = clone(contender.probe)
                    y_few = (signs[few] > 0).astype(int)
                    model.fit(contender.take(few), y_few)
                    records.append(
                        {
                            "task": name,
                            "shots": k,
                            "draw": draw,
                            "features": contender.name,
                            "score": float(scorer(model, test, y_test)),
                        }
                    )
    skipped = [
        {"task": name, "shots": k, "draws": len(reasons), "reason": reasons[0]}
        for k, reasons in missing.items()
    ]
    return Scores(records, skipped)
