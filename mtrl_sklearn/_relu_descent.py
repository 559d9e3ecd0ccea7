"""Mini-batch descent of the two-layer ReLU network: "alternating" and "joint"."""

from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import TensorDataset

from mtrl_sklearn._gradients import (
    dropout,
    head_gradients,
    representation_gradients,
)
from mtrl_sklearn._losses import MultiTaskLoss, TaskLoss, log_odds
from mtrl_sklearn._modules import TwoLayerReLU, input_statistics
from mtrl_sklearn._net import DescentNet, export_state, restore_state, train
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


class MultiTaskNet(DescentNet):
    """skorch net that trains a `TwoLayerReLU` with closed-form gradients.

    Parameters
    ----------
    module : TwoLayerReLU
    criterion : MultiTaskLoss
    algorithm : {"alternating", "joint"}
        Heads first and the representation against the updated heads, or both at once.
    head_steps : int
        Updates of the heads before each update of the representation.
    learning_rate, weight_decay, dropout : float
    batch_size, max_epochs : int
    generator : torch.Generator
        Source of row order and dropout.
    callbacks : list of skorch callbacks
    device : str
    """

    def __init__(
        self,
        module: TwoLayerReLU,
        criterion: MultiTaskLoss,
        *,
        algorithm: str,
        head_steps: int,
        learning_rate: float,
        weight_decay: float,
        dropout: float,
        batch_size: int,
        max_epochs: int,
        generator: torch.Generator,
        callbacks: list[Callback],
        device: str,
    ):
        self.algorithm = algorithm
        self.head_steps = head_steps
        self.dropout = dropout
        super().__init__(
            module,
            criterion,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            generator=generator,
            callbacks=callbacks,
            device=device,
        )

    def initialize_optimizer(self, triggered_directly: Any = None) -> "MultiTaskNet":
        """AdamW that decays matrices only: intercepts are to absorb base rates."""
        module = self.module_
        matrices = [module.hidden_weights, module.task_coef]
        biases = [module.hidden_biases, module.task_intercept]
        self.optimizer_ = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": self.weight_decay},
                {"params": biases, "weight_decay": 0.0},
            ],
            lr=self.learning_rate,
            fused=True,
        )
        return self

    @torch.no_grad()
    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Update heads and representation on one batch, in the order of `algorithm`."""
        X, signs = batch
        module, criterion = self.module_, self.criterion_
        heads = (module.task_coef, module.task_intercept)
        layer = (module.hidden_weights, module.hidden_biases)

        inputs = module.normalize(X)
        hidden = torch.addmm(layer[1], inputs, layer[0].T).relu_()
        hidden = dropout(hidden, self.dropout, self.generator)
        signs = signs.to(hidden.dtype)

        def evaluate() -> tuple[Tensor, TaskLoss]:
            scores = torch.addmm(heads[1], hidden, heads[0].T)
            return scores, criterion.with_gradient(scores, signs)

        scores, loss = evaluate()
        if self.algorithm == "alternating":
            for _ in range(self.head_steps):
                self.update(batch, heads, head_gradients(hidden, loss.gradient))
                scores, loss = evaluate()
        of_layer = representation_gradients(
            inputs, hidden, loss.gradient, heads[0], 1 - self.dropout
        )
        if self.algorithm == "alternating":
            self.update(batch, layer, of_layer)
        else:
            of_heads = head_gradients(hidden, loss.gradient)
            self.update(batch, heads + layer, of_heads + of_layer)
        return {"loss": loss.value, "y_pred": scores}


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
    operations = 2 * options.batch_size * options.n_hidden
    operations *= 2 * X.shape[1] + 4 * signs.shape[1]
    log = train(net, TensorDataset(X, signs), operations)
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
