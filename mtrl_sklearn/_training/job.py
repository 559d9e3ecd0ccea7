"""What every solver is handed: data, where to start, and who is to be told."""

from typing import Any, NamedTuple

from skorch.callbacks import Callback

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
