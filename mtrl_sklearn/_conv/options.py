"""Settings of the convolutional network, and what "auto" stands for."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from mtrl_sklearn._arrays.precision import Precision
from mtrl_sklearn._conv.patches import PatchGrid

# solver="auto" is "gd" for rows of patches with at most this many patches in all.
FULL_BATCH_PATCHES = 20_000

# max_iter="auto" is this many steps of "gd", or as many epochs as make about this many
# updates of "adam"; batch_size="auto" is a tenth of the rows. Both within bounds.
FULL_BATCH_STEPS = 300
AUTO_UPDATES = 500
AUTO_EPOCHS = (10, 200)
AUTO_BATCH_SIZE = (64, 128)
# Images that are drawn anew in each epoch take so many times the updates and epochs.
AUGMENTED_TIMES = 3


class SolverDefaults(Protocol):
    """What "auto" stands for with a solver."""

    is_full_batch: bool
    default_learning_rate: float
    default_weight_decay: float


class ConvOptions(NamedTuple):
    """Settings of `descend_conv`; names and meaning as in the estimator."""

    n_filters: int
    power: float
    head: str
    solver: str
    learning_rate: float
    weight_decay: float
    init_scale: float
    max_epochs: int
    batch_size: int
    precision: Precision
    augment: tuple[str, ...] = ()


def resolve_power(power: float | str, grid: PatchGrid) -> float:
    """Exponent of the responses: that of the theory for rows of patches."""
    if isinstance(power, str):
        return 3.0 if grid.is_row else 1.0
    return float(power)


def resolve_solver(solver: str, grid: PatchGrid, n_samples: int) -> str:
    """All rows at once where they are few and are rows of patches."""
    if solver != "auto":
        return solver
    is_small = n_samples * grid.n_positions <= FULL_BATCH_PATCHES
    return "gd" if grid.is_row and is_small else "adam"


def resolve_options(
    parameters: Mapping[str, Any],
    power: float,
    solver: str,
    defaults: SolverDefaults,
    n_samples: int,
    precision: Precision,
    augment: tuple[str, ...] = (),
) -> ConvOptions:
    """Settings of a fit to rows of a number.

    Parameters
    ----------
    parameters : mapping
        Parameters of the estimator.
    power : float
    solver : str
    defaults : SolverDefaults
        Those of the solver.
    n_samples : int
    precision : Precision
    augment : tuple of str, default=()
        Names of the changes of images.
    """
    auto = {
        "learning_rate": defaults.default_learning_rate,
        "weight_decay": defaults.default_weight_decay,
        "init_scale": 0.03 if power > 1 else 1 / math.sqrt(3),
        "batch_size": int(np.clip(n_samples // 10, *AUTO_BATCH_SIZE)),
    }
    given = {name: parameters[name] for name in auto}
    chosen = auto | {name: v for name, v in given.items() if v != "auto"}
    chosen["batch_size"] = min(chosen["batch_size"], n_samples)
    max_epochs = parameters["max_iter"]
    if max_epochs == "auto":
        updates_per_epoch = -(-n_samples // chosen["batch_size"])
        epochs = int(np.clip(-(-AUTO_UPDATES // updates_per_epoch), *AUTO_EPOCHS))
        epochs *= AUGMENTED_TIMES if augment else 1
        max_epochs = FULL_BATCH_STEPS if defaults.is_full_batch else epochs
    return ConvOptions(
        n_filters=parameters["n_filters"],
        head=parameters["head"],
        power=power,
        solver=solver,
        max_epochs=max_epochs,
        precision=precision,
        augment=augment,
        **chosen,
    )
