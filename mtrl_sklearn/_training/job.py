"""What every solver is handed: data, where to start, and who is to be told."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from mtrl_sklearn._group import BatchPart
from mtrl_sklearn._training.checkpoint import Progress
from mtrl_sklearn._training.state import State


class FitJob(NamedTuple):
    """One call of `fit` or `partial_fit`, once its input was read."""

    data: Any  # rows and labels with the group that has them, as the network takes them
    state: State | None  # where an earlier call stopped; None starts from the seed
    seed: int
    device: str
    callbacks: list[Callback]  # of skorch, in the order in which they are called
    progress: Progress | None = None  # where this call was when it was interrupted
    is_partial: bool = False  # more rows of the same training, as in partial_fit


def hold_out(inputs: BatchPart, share: float, seed: int) -> list[np.ndarray]:
    """Positions of the rows that are here to train on, and of those to hold out.

    Parameters
    ----------
    inputs : BatchPart
        Which inputs the rows are that are here; those of one stay together.
    share : float
        Of the inputs, to hold out.
    seed : int
    """
    everything = np.arange(inputs.n_rows)
    parts = train_test_split(everything, test_size=share, random_state=seed)
    here = everything[inputs.places]
    return [np.flatnonzero(np.isin(here, part)) for part in parts]
