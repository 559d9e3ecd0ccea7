"""Settings of a fit of the ReLU network, and what "auto" stands for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mtrl_sklearn._arrays.precision import Precision

# batch_size="auto" is a tenth of the rows within the first bounds, and a hundredth of
# them where that is more; max_iter="auto" makes about this many updates, in a number of
# epochs within these bounds.
AUTO_BATCH_SIZE = (8, 128)
LARGEST_AUTO_BATCH = 8192
AUTO_UPDATES = 1000
AUTO_EPOCHS = (10, 200)

# Share of a weight that the decay of a step takes away at most, where its pace is not
# the caller's choice: weights are to fade, not to swing.
LARGEST_STEP = 0.5


class ReLUOptions(NamedTuple):
    """Names and meaning as in the estimator, resolved."""

    n_hidden: int
    n_components: int | str | None
    algorithm: str
    loss: str
    learning_rate: float
    weight_decay: float
    dropout: float
    max_epochs: int
    batch_size: int
    precision: Precision
    head_decay: float = 1.0  # of the heads, in multiples of that of the first layer


# Parameters of the estimator that are taken as they are.
AS_GIVEN = (
    "n_hidden",
    "n_components",
    "algorithm",
    "loss",
    "learning_rate",
    "weight_decay",
    "dropout",
)


def resolve_options(
    parameters: Mapping[str, Any],
    n_inputs: int,
    precision: Precision,
    auto_epochs: int | None = None,
) -> ReLUOptions:
    """Settings of a fit to a number of rows, in which copies may count as one.

    Parameters
    ----------
    parameters : mapping
        Parameters of the estimator.
    n_inputs : int
    precision : Precision
    auto_epochs : int or None, default=None
        What ``max_iter="auto"`` is for the solver; None lets batches decide.
    """
    batch_size, max_epochs = resolve_epochs(parameters, n_inputs, auto_epochs)
    given = {name: parameters[name] for name in AS_GIVEN}
    return ReLUOptions(
        **given, max_epochs=max_epochs, batch_size=batch_size, precision=precision
    )


def resolve_epochs(
    parameters: Mapping[str, Any], n_inputs: int, auto_epochs: int | None
) -> tuple[int, int]:
    """Rows of a batch, and epochs at most; arguments as for `resolve_options`."""
    batch_size = parameters["batch_size"]
    if batch_size == "auto":
        small = int(np.clip(n_inputs // 10, *AUTO_BATCH_SIZE))
        batch_size = max(small, min(n_inputs // 100, LARGEST_AUTO_BATCH))
    batch_size = min(batch_size, n_inputs)
    max_epochs = parameters["max_iter"]
    if max_epochs == "auto":
        updates = -(-n_inputs // batch_size)
        epochs = int(np.clip(-(-AUTO_UPDATES // updates), *AUTO_EPOCHS))
        max_epochs = auto_epochs or epochs
    return batch_size, max_epochs
