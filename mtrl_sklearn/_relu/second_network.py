"""A small network on part of the rows, to be judged on the others."""

from mtrl_sklearn._relu.network import ReLUNetwork
from mtrl_sklearn._relu.options import ReLUOptions
from mtrl_sklearn._relu.solvers import solve
from mtrl_sklearn._relu.task_data import TaskData
from mtrl_sklearn._training.job import FitJob

# Its hidden units at most.
MOST_UNITS = 128


def train_small(
    data: TaskData,
    options: ReLUOptions,
    seed: int,
    device: str,
    share_of_epochs: float,
    rank: int | None = None,
    pace: int = 1,
) -> ReLUNetwork:
    """Train a small network from draws of its own.

    Parameters
    ----------
    data : TaskData
        Of which rows are held out.
    options : ReLUOptions
        Of the large network.
    seed : int
        Of the large network.
    device : str
    share_of_epochs : float
        Its epochs, of those in the options.
    rank : int or None, default=None
        Where its first layer is cut; None keeps it whole.
    pace : int, default=1
        Its batches and learning rate are so many times, and so many times the square
        of it, those in the options, within the rows that there are.

    Raises
    ------
    KeyboardInterrupt
        If the training was interrupted.
    """
    n_hidden = min(options.n_hidden, MOST_UNITS)
    if rank is not None:  # cut like the large one, even if that has a higher rank
        rank = min(rank, min(n_hidden, data.X.shape[1]) - 1)
    small = options._replace(
        n_hidden=n_hidden,
        n_components=rank,
        max_epochs=max(1, round(share_of_epochs * options.max_epochs)),
        batch_size=min(pace * options.batch_size, data.n_inputs),
        learning_rate=pace**2 * options.learning_rate,
    )
    found = solve(FitJob(data, None, (seed + 1) % 2**31, device, []), small)
    if found.interrupted:
        raise KeyboardInterrupt
    return ReLUNetwork(*found.first_layer[:2], *found.heads)
