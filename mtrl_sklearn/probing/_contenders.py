"""Kinds of features that compete in a probe, and their scores."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import has_fit_parameter
from tqdm import tqdm

from mtrl_sklearn._arrays.threads import one_thread
from mtrl_sklearn._group import alone
from mtrl_sklearn._labels.signs import Signs, sign_columns
from mtrl_sklearn._training.random_features import random_features
from mtrl_sklearn.probing._blocks import (
    as_rows,
    compute_blocks,
    first_step,
    has_source_tasks,
    open_representation,
)
from mtrl_sklearn.probing._draws import Draw, Split, draw_rows
from mtrl_sklearn.probing._linear_probe import LinearProbe
from mtrl_sklearn.probing._plain_probes import MeanProbability, SameForAll
from mtrl_sklearn.probing._scoring import Scorer, read_scorers

NO_LABELS = "no labels"
BASELINES = ("raw", "random", NO_LABELS)
OURS = "representation"

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
    representation: Any,
    X: Any,
    probe: Any,
    baselines: dict[str, Any],
    seed: int,
    places: np.ndarray | None = None,
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
    baselines : dict of str to classifier or None
        As `read_baselines` returns it.
    seed : int
        Of random features.
    places : ndarray of shape (n_entries,), default=None
        Rows of X that entries belong to, which then are what is taken.
    """
    probe = LinearProbe() if probe is None else probe
    _check_probe(probe, representation)
    take: Callable[[np.ndarray], Any]
    estimator, inputs = open_representation(representation, X)
    ours, plain = probe, probe
    if not sees_blocks(probe):
        take = partial(_safe_indexing, as_rows(estimator.transform(inputs)))
    elif probe.fine_tune:
        ours, plain = probe.with_signs(representation), probe.of_plain_rows()
        rows = (
            X if hasattr(X, "shape") else np.asarray(X)
        )  # a list of none has no width
        take = partial(_safe_indexing, rows)
    else:
        ours, plain = probe.with_blocks(representation), probe.of_plain_rows()
        take = compute_blocks(estimator, inputs).take
    contenders = [Contender(OURS, take, ours)]
    for name, other in baselines.items():
        if name == NO_LABELS and not has_source_tasks(first_step(estimator)):
            continue
        if name == NO_LABELS:
            features = first_step(estimator).source_probabilities(inputs)
            features = features.mean(axis=1, keepdims=True, dtype=np.float64)
            other = MeanProbability()
        elif name == "random":
            features = _untrained_features(estimator, inputs, seed)
        else:
            features = as_rows(inputs)
        take = partial(_safe_indexing, features)
        contenders.append(Contender(name, take, plain if other is None else other))
    if places is not None:
        contenders = [
            one._replace(take=partial(_take_places, one.take, places))
            for one in contenders
        ]
    return contenders


def _take_places(
    take: Callable[[np.ndarray], Any], places: np.ndarray, entries: np.ndarray
) -> Any:
    """What a probe sees of the rows that some entries belong to."""
    return take(places[entries])


def read_baselines(baselines: Any) -> dict[str, Any]:
    """Kinds of features, each with a classifier of raw inputs or None.

    Parameters
    ----------
    baselines : str, iterable of str, dict of str to classifier, or None
        Classifiers come beside all built-in baselines.

    Raises
    ------
    ValueError
        For a name that is unknown, or taken.
    TypeError
        For something else than a classifier.
    """
    if isinstance(baselines, Mapping):
        taken = [name for name in (OURS, *BASELINES) if name in baselines]
        if taken or not all(isinstance(name, str) for name in baselines):
            raise ValueError(
                f"baselines={baselines!r} should map names to classifiers, and none of "
                f"these names: {(OURS, *BASELINES)}. Choose others."
            )
        for name, classifier in baselines.items():
            if isinstance(classifier, type) or not hasattr(classifier, "fit"):
                raise TypeError(
                    f"baselines[{name!r}] should be a classifier to fit on raw inputs, "
                    f"got {classifier!r}."
                )
        return dict.fromkeys(BASELINES) | dict(baselines)
    if baselines is None:
        baselines = ()
    if isinstance(baselines, str) or not np.iterable(baselines):
        baselines = (baselines,)
    names = tuple(dict.fromkeys(baselines))
    if not set(names) <= set(BASELINES):
        raise ValueError(
            f"baselines={baselines!r} should be some of {BASELINES}, or (), or a dict "
            "of classifiers by name."
        )
    return dict.fromkeys(names)


def sees_blocks(probe: Any) -> bool:
    """Whether a probe compares features with raw inputs; None is one that does."""
    return probe is None or hasattr(probe, "with_representation")


def check_probe(probe: Any, scoring: Any) -> None:
    """Refuse parameters of a probe, or a scorer, before anything is trained."""
    probe = LinearProbe() if probe is None else probe
    if hasattr(probe, "check_parameters"):
        probe.check_parameters()
    read_scorers(scoring, probe)


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
    estimator = first_step(estimator)
    if hasattr(estimator, "untrained_features"):
        return estimator.untrained_features(X, seed)
    n_hidden = getattr(estimator, "n_hidden", OTHER_WIDTH)
    return random_features(as_rows(X), n_hidden, seed)


def score_contenders(
    contenders: list[Contender],
    signs: Signs,
    names: list[Any],
    split: Split,
    *,
    shots: tuple[int, ...],
    sampling: str,
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
    signs : ndarray, Indicator or CSC array of shape (n_samples, n_tasks)
        +1, -1, or 0 where nothing was observed.
    names : list of n_tasks names
    split : Split
    shots : tuple of int
    sampling : {"random", "balanced"}
    n_draws : int
    scoring : str, callable, list, tuple or dict of these
    seed : int
        Each draw of each task has a random stream of its own.
    n_jobs : int or None
    verbose : bool
        Show a progress bar.
    """
    scorers = read_scorers(scoring, contenders[0].probe)
    jobs = (
        delayed(_score_task)(
            contenders,
            of_task,
            name,
            partial(draw_rows, shots=shots, split=split, sampling=sampling),
            [[seed, task, draw] for draw in range(n_draws)],
            scorers,
        )
        for task, (name, of_task) in enumerate(zip(names, sign_columns(signs)))
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
    draw_rows: Callable[..., Draw],
    seeds: list[list[int]],
    scorers: dict[str, Scorer],
) -> Scores:
    """Scores on one task; one thread, so that results do not depend on n_jobs."""
    records: list[dict[str, Any]] = []
    missing: dict[int, list[str]] = {}
    with one_thread(), alone():
        for draw, seed in enumerate(seeds):
            rows = draw_rows(signs, rng=np.random.default_rng(seed))
            for k, reason in rows.missing.items():
                missing.setdefault(k, []).append(reason)
            y_test = (signs[rows.test] > 0).astype(int)
            for contender in contenders:
                test = contender.take(rows.test)
                for k, few in rows.few.items():
                    y_few = (signs[few] > 0).astype(int)
                    model = _fit(contender.probe, contender.take(few), y_few)
                    of_model = {"shots": k, "draw": draw, "features": contender.name}
                    records += [
                        {"task": name}
                        | of_model
                        | {"metric": metric, "score": float(score(model, test, y_test))}
                        for metric, score in scorers.items()
                    ]
    skipped = [
        {"task": name, "shots": k, "draws": len(reasons), "reason": reasons[0]}
        for k, reasons in missing.items()
    ]
    return Scores(records, skipped)


def _fit(probe: Any, X: Any, y: np.ndarray) -> Any:
    """A clone fitted on labels 0 and 1, of which there may be one class only, or none.

    A classifier that has to see both classes then predicts what the labels alone say.
    """
    model = clone(probe)
    if has_fit_parameter(model, "classes"):
        return model.fit(X, y, classes=[0, 1])
    if len(np.unique(y)) < 2:
        return SameForAll().fit(X, y)
    return model.fit(X, y)
