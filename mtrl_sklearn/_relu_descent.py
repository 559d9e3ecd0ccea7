"""Mini-batch descent of the two-layer ReLU network: "alternating" and "joint"."""

from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor

from mtrl_sklearn._callbacks import resume
from mtrl_sklearn._checkpoint import Progress
from mtrl_sklearn._gradients import (
    dropout_,
    head_gradients,
    hidden_layer,
    representation_gradients,
    task_scores,
)
from mtrl_sklearn._heads import select_heads
from mtrl_sklearn._input_scale import relu_scale
from mtrl_sklearn._lazy_adamw import LazyAdamW
from mtrl_sklearn._losses import MultiTaskLoss, log_odds
from mtrl_sklearn._modules import TwoLayerReLU
from mtrl_sklearn._net import DescentNet, export_state, restore_state, train
from mtrl_sklearn._precision import Precision
from mtrl_sklearn._products import as_dtype, cast
from mtrl_sklearn._ranks import from_first, sum_over_ranks
from mtrl_sklearn._rows import to_numpy
from mtrl_sklearn._solution import (
    FirstLayer,
    Heads,
    Solution,
    State,
    TaskData,
    cast_state,
    export_moments,
    finish_first_layer,
    has_moments,
    solve_heads,
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
    product_dtype : torch.dtype or None, default=None
        What matrix products are computed in, if not in the dtype of the parameters.
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
        product_dtype: torch.dtype | None = None,
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
            product_dtype=product_dtype,
        )

    def initialize_optimizer(self, triggered_directly: Any = None) -> "MultiTaskNet":
        """AdamW that decays matrices only: intercepts are to absorb base rates."""
        module = self.module_
        matrices = [module.hidden_weights, module.task_coef]
        biases = [module.hidden_biases, module.task_intercept]
        self.optimizer_ = LazyAdamW(
            [
                {"params": matrices, "weight_decay": self.weight_decay},
                {"params": biases, "weight_decay": 0.0},
            ],
            lr=self.learning_rate,
        )
        return self

    @torch.no_grad()
    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Update heads and representation on one batch, in the order of `algorithm`."""
        X, signs = batch
        module, dtype = self.module_, self.product_dtype or X.dtype
        layer = (module.hidden_weights, module.hidden_biases)
        heads = select_heads(module, self.optimizer_, signs, self.is_watched)

        inputs = cast(module.normalize(X), dtype)
        hidden = hidden_layer(inputs, *(as_dtype(p, dtype) for p in layer))
        hidden = dropout_(hidden, self.dropout, self.generator, batch.share)
        labels = self.criterion_.read(heads.signs, heads.tasks, batch.share.n_rows)

        def evaluate() -> tuple[Tensor, Tensor, Tensor]:
            coef, intercept = (as_dtype(p, dtype) for p in heads.current())
            scores = task_scores(hidden, coef, intercept, heads.signs)
            return coef, scores, cast(self.criterion_.gradient(scores, labels), dtype)

        coef, scores, gradient = evaluate()
        if self.algorithm == "alternating":
            for _ in range(self.head_steps):
                of_heads = sum_over_ranks(*head_gradients(hidden, gradient))
                self.update(batch, heads.whole, heads.expand(of_heads))
                coef, scores, gradient = evaluate()
        loss = self.criterion_.value(scores, labels)
        of_layer = representation_gradients(
            inputs, hidden, gradient, coef, 1 - self.dropout
        )
        if self.algorithm == "alternating":
            loss, *gradients = sum_over_ranks(loss, *of_layer)
            self.update(batch, layer, tuple(gradients))
        else:
            of_heads = head_gradients(hidden, gradient)
            loss, *gradients = sum_over_ranks(loss, *of_heads, *of_layer)
            whole = heads.expand(tuple(gradients[:2])) + tuple(gradients[2:])
            self.update(batch, heads.whole + layer, whole)
        return {"loss": loss, "y_pred": scores}

    def on_epoch_end(self, net: "MultiTaskNet", **kwargs: Any) -> None:
        """Bring heads up to date that were without labels, before anyone reads them."""
        for parameter in (self.module_.task_coef, self.module_.task_intercept):
            self.optimizer_.refresh(parameter)

    on_train_end = on_epoch_end  # an interrupted epoch has no end of its own


class DescentOptions(NamedTuple):
    """Settings of `descend`; names and meaning as in the estimator, resolved."""

    n_hidden: int
    algorithm: str
    loss: str
    head_steps: int
    learning_rate: float
    weight_decay: float
    dropout: float
    max_epochs: int
    batch_size: int
    precision: Precision


def descend(
    data: TaskData,
    state: State | None,
    options: DescentOptions,
    *,
    n_components: int | str | None,
    callbacks: list[Callback],
    accumulate: bool,
    progress: Progress | None = None,
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
    progress : Progress or None
        Where this call was when it was interrupted.
    seed : int
    device : str
    """
    precision = options.precision
    state = cast_state(state, precision.parameters)
    rows = data.on_device(device, precision.parameters)
    module = TwoLayerReLU(
        data.X.shape[1],
        options.n_hidden,
        data.signs.shape[1],
        precision.parameters,
    ).to(device)
    weights = torch.from_numpy(data.weights * data.n_rows)
    weights = weights.to(device, precision.parameters)
    generator = torch.Generator(device).manual_seed(seed)
    net = MultiTaskNet(
        module,
        MultiTaskLoss(options.loss, weights),
        algorithm=options.algorithm,
        head_steps=options.head_steps,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        dropout=options.dropout,
        product_dtype=precision.products,
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
    mean, scale, waiting = relu_scale(state, data)
    module.input_mean.copy_(torch.as_tensor(mean))
    module.input_scale.fill_(scale)
    if progress is not None:
        resume(net, progress)
    log = train(net, rows, _operations(data, options), precision.allow_tf32)
    earlier = state if accumulate else None
    first_layer, heads, moments = finish_network(module, data, n_components, earlier)
    return Solution(
        first_layer,
        heads,
        export_state(net) | moments | waiting,
        log.loss_curve,
        log.validation_scores,
        any(getattr(callback, "converged_", False) for callback in callbacks),
        log.interrupted,
    )


def _operations(data: TaskData, options: DescentOptions) -> float:
    """Number of operations of an update on one batch."""
    X, signs = (
        matrix.shape[1]
        if isinstance(matrix, np.ndarray)
        else matrix.nnz / matrix.shape[0]
        for matrix in (data.X, data.signs)
    )
    return 2 * options.batch_size * options.n_hidden * (2 * X + 4 * signs)


@torch.no_grad()
def _start(
    module: TwoLayerReLU, data: TaskData, loss: str, generator: torch.Generator
) -> None:
    """Random first layer, heads at the base rates.

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
    # ranks on machines that differ may round differently
    first_layer, heads = from_first((first_layer, heads))
    if not (first_layer.is_truncated or has_moments(state)):
        return first_layer, heads, {}
    moments = update_moments(state, first_layer, data, module.input_mean.device)
    if first_layer.is_truncated:
        heads = from_first(solve_heads(moments, data))
    return first_layer, heads, export_moments(moments)
