"""What every estimator of the package shares, whatever network it trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sklearn.base import BaseEstimator


@contextmanager
def last_good_state(estimator: BaseEstimator) -> Iterator[None]:
    """Give an estimator its fitted attributes back if the block raises.

    Fitted attributes are replaced, never changed in place, so a shallow copy is enough.
    """
    before = _fitted_attributes(estimator)
    try:
        yield
    except BaseException:
        for name in _fitted_attributes(estimator):
            delattr(estimator, name)
        vars(estimator).update(before)
        raise


def _fitted_attributes(estimator: BaseEstimator) -> dict[str, Any]:
    return {name: value for name, value in vars(estimator).items() if name[-1] == "_"}


def resolve_device(device: str) -> str:
    """Name of the torch device that ``device`` stands for.

    Raises
    ------
    ValueError
        If torch does not know the device, or this machine lacks it.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={device!r} cannot be used here ({reason}). Pass 'auto' or 'cpu'."
        ) from None
    return device
