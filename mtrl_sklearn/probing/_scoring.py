"""Scorers of probes by the names that a table has for them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring

from mtrl_sklearn._labels.roc_auc import table_roc_auc

Scorer = Callable[[Any, Any, Any], float]


def read_scorers(scoring: Any, probe: Any) -> dict[str, Scorer]:
    """Scorers by name.

    Parameters
    ----------
    scoring : str, callable, list, tuple or dict of these
        A scorer that is no string has the name of its function, or of its class.
    probe : classifier
        What is scored.

    Raises
    ------
    ValueError
        If there are none, one is unknown, or two have one name.
    """
    if isinstance(scoring, Mapping):
        pairs = list(scoring.items())
    else:
        several = isinstance(scoring, (list, tuple))
        pairs = [(_name(one), one) for one in (scoring if several else [scoring])]
    names = [name for name, _ in pairs]
    is_named = all(isinstance(name, str) for name in names)
    if not pairs or not is_named or len(set(names)) < len(names):
        raise ValueError(
            f"scoring={scoring!r} should be one or several different scorers of "
            "scikit-learn, such as ['roc_auc', 'neg_log_loss'], or a dict of scorers "
            "by name."
        )
    for name, one in pairs:
        if not (isinstance(one, str) or callable(one)):
            raise ValueError(
                f"scoring holds {one!r} under {name!r}, which is neither the name of a "
                "scorer of scikit-learn nor a callable."
            )
    scorers = {name: check_scoring(probe, one) for name, one in pairs}
    for name, one in pairs:
        if isinstance(one, str) and one == "roc_auc":
            scorers[name] = partial(score_roc_auc, scorers[name])
    return scorers


def score_roc_auc(scorer: Scorer, model: Any, X: Any, y: np.ndarray) -> float:
    """What scikit-learn's "roc_auc" gives, up to rounding, in a tenth of the time.

    Most of it checks labels and scores of a few hundred rows. What it might refuse, it
    gets.

    Parameters
    ----------
    scorer : callable
        The one of scikit-learn.
    model : fitted classifier
        Of classes 0 and 1.
    X : array-like of n_samples rows
    y : ndarray of shape (n_samples,)
        Labels 0 and 1.
    """
    if hasattr(model, "decision_function"):
        scores = np.asarray(model.decision_function(X))
    elif hasattr(model, "predict_proba"):
        scores = np.asarray(model.predict_proba(X))
        scores = scores[:, 1] if scores.ndim == 2 and scores.shape[1] == 2 else scores
    else:
        return scorer(model, X, y)
    is_plain = scores.shape == y.shape and scores.dtype.kind == "f"
    if not (is_plain and np.isfinite(scores).all() and 0 < y.sum() < len(y)):
        return scorer(model, X, y)
    signs = np.where(y > 0, np.int8(1), np.int8(-1))
    return float(table_roc_auc(signs[:, None], scores[:, None])[0])


def _name(scorer: Any) -> str:
    if isinstance(scorer, str):
        return scorer
    function = getattr(scorer, "_score_func", scorer)  # of what make_scorer makes
    return getattr(function, "__name__", type(function).__name__)
