"""Training by mini-batch gradient descent: "alternating" and "joint"."""

from typing import NamedTuple

import numpy as np
import torch
from skorch.callbacks import Callback

from mtrl_sklearn._losses import MultiTaskLoss, log_odds
from mtrl_sklearn._modules import TwoLayerReLU, input_statistics
from mtrl_sklearn._net import MultiTaskNet, export_state, restore_state, train
from mtrl_sklearn._solution import (
    FirstLayer,
    Heads,
    Solution,
    State,
    TaskData,
    export_moments,
    finish_first_layer,
    has_moments,
    solve_heads,
    to_numpy,
    to_tensor,
    update_moments,
)


class DescentOptions(NamedTuple):
    """Settings of `descend`; names and meaning as in the estimator."""

    n_hidden: int
    algorithm: str
    loss: str
    head_steps: int
    learning_rate: float
    weight_decay: float
    dropout: float
    max_epochs: int
    batch_size: int


def descend(
    data: TaskData,
    state: State | None,
    options: DescentOptions,
    *,
    n_components: int | str | None,
    callbacks: list[Callback],
    accumulate: bool,
    seed: int,
    device: str,
) -> Solution:
    """Train both layers on mini-batches.

    Parameters
    ----------
    data : TaskData
    state : dict of ndarrays or None
        Where an earlier call stopped; None starts from ``seed``.
    options : DescentOptions
    n_components : int, "auto" or None
        See `_spectral.truncate`.
    callbacks : list of skorch callbacks
        One whose ``converged_`` is true says that the loss had settled.
    accumulate : bool
        Remember the rows behind ``state`` where heads are solved for in the end.
    seed : int
    device : str
    """
    X, signs = to_tensor(data.X, device), to_tensor(data.signs, device)
    module = TwoLayerReLU(X.shape[1], options.n_hidden, signs.shape[1], X.dtype)
    module.to(device)
    weights = torch.as_tensor(data.weights * len(X), dtype=X.dtype, device=device)
    generator = torch.Generator(device).manual_seed(seed)
    net = MultiTaskNet(
        module,
        MultiTaskLoss(options.loss, weights),
        algorithm=options.algorithm,
        head_steps=options.head_steps,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        dropout=options.dropout,
        batch_size=options.batch_size,
        max_epochs=options.max_epochs,
        generator=generator,
        callbacks=callbacks,
        device=device,
    ).initialize()
    if state is None:
        _start(module, data, options.loss, generator)
    else:
        restore_state(net, state)
    log = train(net, X, signs)
    earlier = state if accumulate else None
    first_layer, heads, moments = finish_network(module, data, n_components, earlier)
    return Solution(
        first_layer,
        heads,
        export_state(net) | moments,
        log.loss_curve,
        log.validation_scores,
        any(getattr(callback, "converged_", False) for callback in callbacks),
        log.interrupted,
    )


@torch.no_grad()
def _start(
    module: TwoLayerReLU, data: TaskData, loss: str, generator: torch.Generator
) -> None:
    """Random first layer, heads at the base rates, inputs centred and scaled.

    Intercepts at the log-odds are the many-step form of centring the labels: the first
    layer sees what is left of the labels once base rates are explained. A task that
    lacks a class so far has no base rate to start from. The hinge loss has no use for
    scores beyond its margin: cut to [-1, 1].
    """
    module.reset_parameters(generator)
    intercepts = np.where(data.weights, log_odds(data.n_positive, data.n_negative), 0)
    if loss == "hinge":
        intercepts = np.clip(intercepts, -1, 1)
    module.task_intercept.copy_(torch.from_numpy(intercepts))
    mean, scale = input_statistics(data.X, data.signs)
    module.input_mean.copy_(torch.from_numpy(mean))
    module.input_scale.fill_(scale)


@torch.no_grad()
def finish_network(
    module: TwoLayerReLU,
    data: TaskData,
    n_components: int | str | None,
    state: State | None = None,
) -> tuple[FirstLayer, Heads, State]:
    """Both layers as arrays, the first one cut to its rank, and moments to keep.

    Heads that were trained on the whole first layer do not fit a truncated one: they
    are then replaced by discriminants on its features, of the given rows and, with less
    weight, of those that ``state`` remembers. Tasks that lack a class were not trained:
    they score their log-odds.
    """
    first_layer = finish_first_layer(
        module.hidden_weights,
        module.hidden_biases,
        module.input_mean,
        module.input_scale,
        n_components,
    )
    odds = log_odds(data.n_positive, data.n_negative)
    intercept = to_numpy(module.task_intercept)
    intercept = np.where(data.weights, intercept, odds).astype(intercept.dtype)
    heads = Heads(to_numpy(module.task_coef), intercept)
    if not (first_layer.is_truncated or has_moments(state)):
        return first_layer, heads, {}
    moments = update_moments(state, first_layer, data, module.input_mean.device)
    if first_layer.is_truncated:
        heads = solve_heads(moments, data)
    return first_layer, heads, export_moments(moments)
