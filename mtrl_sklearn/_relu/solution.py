"""What comes out of a solver, and how all of them end.

A solver gets a `FitJob` with `TaskData`, and its options; see `_relu.solvers`. It knows
nothing of estimators.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor

from mtrl_sklearn._arrays.products import by_feature
from mtrl_sklearn._arrays.rows import (
    RowDataset,
    block_slices,
    to_numpy,
    to_tensor,
    torch_dtype,
)
from mtrl_sklearn._relu.discriminant import (
    ClassMoments,
    add_labels,
    centre_of_all,
    complete_moments,
    discriminant_heads,
    no_moments,
)
from mtrl_sklearn._relu.gradients import hidden_layer
from mtrl_sklearn._relu.spectral import truncate
from mtrl_sklearn._relu.task_data import TaskData, draw_labelled_rows
from mtrl_sklearn._training.losses import log_odds
from mtrl_sklearn._training.net import DescentNet
from mtrl_sklearn._training.state import MOMENTS, State

# Weight of an earlier batch of rows in the heads, per batch since.
FADING = 0.9

# Rows per hidden unit that tell how features scatter around the centres of classes.
# With so many, AUC of heads was within .0003 of that with four times as many.
ROWS_PER_UNIT = 128

# And rows at least: up to so many all tell it.
LEAST_ROWS = 50_000


class FirstLayer(NamedTuple):
    """A first layer that acts on raw inputs, cut to its rank."""

    hidden_weights: np.ndarray  # (n_hidden, n_features)
    hidden_biases: np.ndarray  # (n_hidden,)
    components: np.ndarray  # (n_components, n_features), orthonormal rows
    singular_values: np.ndarray  # all of them, descending, before the cut

    @property
    def is_truncated(self) -> bool:
        return len(self.components) < len(self.singular_values)


class Heads(NamedTuple):
    """Linear heads of all tasks on the hidden features."""

    task_coef: np.ndarray  # (n_tasks, n_hidden)
    task_intercept: np.ndarray  # (n_tasks,)


class Solution(NamedTuple):
    """What a solver found, and what it needs to go on from there."""

    first_layer: FirstLayer
    heads: Heads
    state: State
    loss_curve: np.ndarray  # (n_iter,)
    validation_scores: np.ndarray  # (n_iter,), or empty
    converged: bool
    interrupted: bool


def finish_first_layer(
    weights: Tensor,
    biases: Tensor,
    input_mean: Tensor,
    input_scale: Tensor,
    rank: int | None,
) -> FirstLayer:
    """Cut trained weights to their rank and fold the scaling of inputs into them.

    Parameters
    ----------
    weights : Tensor of shape (n_hidden, n_features)
        They act on ``(x - input_mean) / input_scale``.
    biases : Tensor of shape (n_hidden,)
    input_mean : Tensor of shape (n_features,)
    input_scale : Tensor, scalar
    rank : int or None
        None keeps all weights.

    Raises
    ------
    ValueError
        If a weight is not finite.
    """
    if not (weights.isfinite().all() and biases.isfinite().all()):
        raise ValueError(
            "The trained weights are not finite. Look for extreme values in X, or "
            "lower learning_rate. Nothing of this fit is kept."
        )
    scale = to_numpy(input_scale)
    cut = truncate(to_numpy(weights), rank)
    folded = cut.weights / scale
    shift = folded @ to_numpy(input_mean).astype(np.float64)
    return FirstLayer(
        folded,
        (to_numpy(biases) - shift).astype(folded.dtype),
        cut.components,
        cut.singular_values / scale,
    )


def update_moments(
    state: State | None,
    layer: FirstLayer,
    data: TaskData,
    device: torch.device | str,
    rows: RowDataset | None = None,
) -> ClassMoments:
    """Class moments of the hidden features of all labels.

    Those of an earlier batch of rows, if ``state`` has any, were taken with an earlier
    first layer: they fade by a factor with each batch. Few rows are summed up in
    float64. Of many, products are in the dtype of the weights, and some of the rows
    tell how features scatter around the centres of classes, see `ROWS_PER_UNIT` and
    `LEAST_ROWS`.
    """
    weights, biases = (to_tensor(array, device) for array in layer[:2])
    weights, n_hidden = by_feature(weights), len(weights)
    if rows is None:
        rows = data.on_device(str(device), weights.dtype)
    width = sum(column.width for column in rows.columns) + n_hidden

    def add_up(
        see: Callable[[Tensor], Tensor],
        places: Tensor | None = None,
        with_second: bool = True,
    ) -> ClassMoments:
        moments = no_moments(data.signs.shape[1], n_hidden, device)
        for block in block_slices(len(rows if places is None else places), width):
            X, signs = rows.take(block if places is None else places[block])
            hidden = see(hidden_layer(X, weights, biases))
            add_labels(moments, hidden, signs, with_second)
        return ClassMoments(*data.group.sum(*moments))

    drawn = draw_labelled_rows(data, max(ROWS_PER_UNIT * n_hidden, LEAST_ROWS))
    if drawn is None:
        moments = add_up(Tensor.double)
    else:
        moments = add_up(lambda hidden: hidden, with_second=False)
        origin = centre_of_all(moments).to(weights.dtype)
        places = to_tensor(drawn, device)
        sample = add_up(lambda hidden: hidden.sub_(origin), places)
        moments = complete_moments(moments, sample, origin)
    if has_moments(state):
        kept = (to_tensor(state[f"{MOMENTS}{k}"], device) for k in ClassMoments._fields)
        pairs = zip(moments, kept)
        moments = ClassMoments(*(new.add_(old, alpha=FADING) for new, old in pairs))
    return moments


def has_moments(state: State | None) -> TypeGuard[State]:
    """Whether a state remembers earlier rows."""
    return state is not None and f"{MOMENTS}{ClassMoments._fields[0]}" in state


def export_moments(moments: ClassMoments) -> State:
    """Moments as part of a state, for `update_moments`."""
    return {f"{MOMENTS}{name}": to_numpy(t) for name, t in moments._asdict().items()}


def solve_heads(moments: ClassMoments, data: TaskData, like: np.ndarray) -> Heads:
    """Discriminant heads as arrays, of the dtype of the first layer's weights."""
    odds = torch.as_tensor(log_odds(data.n_positive, data.n_negative))
    odds = odds.to(moments.second.device, torch_dtype(like.dtype))
    heads = discriminant_heads(moments, odds)
    return Heads(*map(to_numpy, heads))


class Trained(NamedTuple):
    """What training ends with, before the first layer is cut."""

    weights: Tensor  # (n_hidden, n_features), for inputs that are centred and scaled
    biases: Tensor  # (n_hidden,)
    input_mean: Tensor  # (n_features,)
    input_scale: Tensor  # scalar
    heads: Heads | None  # None: discriminants are solved for
    rows: RowDataset | None = None  # the training rows, where they are on the device


class Finished(NamedTuple):
    """A network that acts on raw inputs, and the moments behind its heads."""

    first_layer: FirstLayer
    heads: Heads
    moments: State


def finish(
    trained: Trained, data: TaskData, rank: int | None, state: State | None = None
) -> Finished:
    """Cut the first layer to a rank, and give it heads that fit.

    Heads that were trained on the whole first layer do not fit a truncated one: they
    are then replaced by discriminants on its features, of the given rows and, with less
    weight, of those that ``state`` remembers.

    Parameters
    ----------
    trained : Trained
    data : TaskData
    rank : int or None
        None keeps the whole first layer.
    state : dict of ndarrays or None
        Of an earlier call, whose moments count.
    """
    weights, biases, mean, scale, heads, rows = trained
    layer = finish_first_layer(weights, biases, mean, scale, rank)
    # ranks on machines that differ may round differently
    layer, heads = data.group.from_first((layer, heads))
    if heads is not None and not (layer.is_truncated or has_moments(state)):
        return Finished(layer, heads, {})
    moments = update_moments(state, layer, data, weights.device, rows)
    if heads is None or layer.is_truncated:
        heads = data.group.from_first(solve_heads(moments, data, layer.hidden_weights))
    return Finished(layer, heads, export_moments(moments))


class SolverNet(DescentNet):
    """A net of a solver: it can hand the network out that it has trained so far."""

    def take_network(self, data: TaskData) -> Trained:
        """Both layers; without heads, discriminants are solved for."""
        raise NotImplementedError


class Prepared(NamedTuple):
    """What a solver hands to the driver."""

    net: SolverNet  # initialised, its parameters at their start
    rows: RowDataset
    operations: float  # of an update, which decides on the number of threads
    waiting: State  # what the state remembers while all rows were equal
