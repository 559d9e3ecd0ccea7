"""Scorers of probes by the names that a table has for them."""

from collections.abc import Callable, Mapping
from typing import Any

from sklearn.metrics import check_scoring

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
    return {name: check_scoring(probe, one) for name, one in pairs}


def _name(scorer: Any) -> str:
    if isinstance(scorer, str):
        return scorer
    function = getattr(scorer, "_score_func", scorer)  # of what make_scorer makes
    return getattr(function, "__name__", type(function).__name__)
