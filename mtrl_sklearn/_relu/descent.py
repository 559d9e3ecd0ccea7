"""Mini-batch descent of the two-layer ReLU network: "alternating" and "joint"."""

from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from scipy.special import expit
from skorch.callbacks import Callback
from torch import Tensor

from mtrl_sklearn._arrays.products import as_dtype, cast, is_sparse, row_indices
from mtrl_sklearn._arrays.rows import to_numpy
from mtrl_sklearn._group import ALONE, Group
from mtrl_sklearn._relu.gradients import (
    dropout_,
    hidden_layer,
    representation_gradients,
    task_scores,
)
from mtrl_sklearn._relu.heads import select_heads
from mtrl_sklearn._relu.input_scale import relu_scale
from mtrl_sklearn._relu.network import TwoLayerReLU, find_full_columns
from mtrl_sklearn._relu.options import LARGEST_STEP, ReLUOptions
from mtrl_sklearn._relu.solution import Heads, Prepared, SolverNet, Trained
from mtrl_sklearn._relu.task_data import TaskData
from mtrl_sklearn._training.adamw import LazyAdamW
from mtrl_sklearn._training.gradients import head_gradients
from mtrl_sklearn._training.job import FitJob
from mtrl_sklearn._training.losses import MultiTaskLoss, log_odds
from mtrl_sklearn._training.net import (
    Batch,
)
from mtrl_sklearn._training.state import State, cast_state


class MultiTaskNet(SolverNet):
    """skorch net that trains a `TwoLayerReLU` with closed-form gradients.

    Parameters
    ----------
    module : TwoLayerReLU
    criterion : MultiTaskLoss
    algorithm : {"alternating", "joint"}
        Heads first and the representation against the updated heads, or both at once.
    learning_rate, weight_decay, dropout : float
    batch_size, max_epochs : int
    generator : torch.Generator
        Source of row order and dropout.
    callbacks : list of skorch callbacks
    device : str
    group : Group
    product_dtype : torch.dtype or None, default=None
        What matrix products are computed in, if not in the dtype of the parameters.
    head_decay : float, default=1.0
        Decay of the heads, in multiples of `weight_decay`; less where a step would take
        away more than half of them, unless that of `weight_decay` does.
    """

    def __init__(
        self,
        module: TwoLayerReLU,
        criterion: MultiTaskLoss,
        *,
        algorithm: str,
        learning_rate: float,
        weight_decay: float,
        dropout: float,
        batch_size: int,
        max_epochs: int,
        generator: torch.Generator,
        callbacks: list[Callback],
        device: str,
        group: Group = ALONE,
        product_dtype: torch.dtype | None = None,
        head_decay: float = 1.0,
    ):
        self.algorithm = algorithm
        self.dropout = dropout
        self.head_decay = head_decay
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
            group=group,
            product_dtype=product_dtype,
        )

    def initialize_optimizer(self, triggered_directly: Any = None) -> "MultiTaskNet":
        """AdamW that decays matrices only: intercepts are to absorb base rates."""
        module = self.module_
        biases = [module.hidden_biases, module.task_intercept]
        decays = (
            ([module.hidden_weights], self.weight_decay),
            ([module.task_coef], self.head_decay * self.weight_decay),
            (biases, 0.0),
        )
        groups = [{"params": p, "weight_decay": decay} for p, decay in decays]
        self.optimizer_ = LazyAdamW(groups, lr=self.learning_rate)
        return self

    def _bound_decay_of_heads(self) -> None:
        """Set it for the learning rate at hand, which a scheduler may have changed."""
        heads = self.optimizer_.param_groups[1]
        decay = self.head_decay * self.weight_decay
        if heads["lr"] * decay > LARGEST_STEP:
            decay = max(LARGEST_STEP / heads["lr"], self.weight_decay)
        heads["weight_decay"] = decay

    @torch.no_grad()
    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Update heads and representation on one batch, in the order of `algorithm`."""
        X, signs = batch
        module, dtype = self.module_, self.product_dtype or X.dtype
        self._bound_decay_of_heads()
        layer = (module.hidden_weights, module.hidden_biases)
        heads = select_heads(
            module, self.optimizer_, signs, self.is_watched, self.group
        )

        inputs = cast(module.normalize(X), dtype)
        hidden = hidden_layer(inputs, *(as_dtype(p, dtype) for p in layer))
        hidden = dropout_(hidden, self.dropout, self.generator, batch.part)
        labels = self.criterion_.read(heads.signs, heads.tasks, batch.part.n_rows)

        def evaluate() -> tuple[Tensor, Tensor, Tensor]:
            coef, intercept = (as_dtype(p, dtype) for p in heads.current())
            scores = task_scores(hidden, coef, intercept, heads.signs)
            return coef, scores, cast(self.criterion_.gradient(scores, labels), dtype)

        coef, scores, gradient = evaluate()
        if self.algorithm == "alternating":
            of_heads = self.group.sum(*head_gradients(hidden, gradient))
            self.update(batch, heads.whole, heads.expand(of_heads))
            coef, scores, gradient = evaluate()
        loss = self.criterion_.value(scores, labels)
        of_layer = representation_gradients(
            inputs, hidden, gradient, coef, 1 - self.dropout
        )
        if self.algorithm == "alternating":
            loss, *gradients = self.group.sum(loss, *of_layer)
            self.update(batch, layer, tuple(gradients))
        else:
            of_heads = head_gradients(hidden, gradient)
            loss, *gradients = self.group.sum(loss, *of_heads, *of_layer)
            whole = heads.expand(tuple(gradients[:2])) + tuple(gradients[2:])
            self.update(batch, heads.whole + layer, whole)
        return {"loss": loss, "y_pred": scores}

    def show_batch(self, batch: Batch) -> Batch:
        """Signs as labels: 0 and 1, or NaN where nothing was observed."""
        X, signs = batch
        signs = signs.to_dense() if is_sparse(signs) else signs
        labels = torch.where(signs == 0, torch.nan, (signs > 0).to(signs.dtype))
        return Batch((X, labels), batch.part)

    def show_scores(self, batch: Batch, scores: Tensor) -> Tensor:
        """Scores (n_samples, n_tasks), 0 for missing labels that none was found for."""
        signs = batch[1]
        if is_sparse(signs):
            dense = scores.new_zeros(signs.shape)
            dense[row_indices(signs), signs.col_indices().long()] = scores
            scores = dense
        return scores.to(signs.dtype)

    def predict(self, X: Any) -> np.ndarray:
        """Labels of 0 and 1 that the scores stand for."""
        return (self.decision_function(X) > 0).astype(float)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of label 1 of each task."""
        return expit(self.decision_function(X))

    def on_epoch_end(self, net: "MultiTaskNet", **kwargs: Any) -> None:
        """Bring heads up to date that were without labels, before anyone reads them."""
        for parameter in (self.module_.task_coef, self.module_.task_intercept):
            self.optimizer_.refresh(parameter)

    on_train_end = on_epoch_end  # an interrupted epoch has no end of its own

    @torch.no_grad()
    def take_network(self, data: TaskData) -> Trained:
        """Both layers; tasks that lack a class score their log-odds."""
        module = self.module_
        odds = log_odds(data.n_positive, data.n_negative)
        intercept = to_numpy(module.task_intercept)
        intercept = np.where(data.weights, intercept, odds).astype(intercept.dtype)
        return Trained(
            module.hidden_weights,
            module.hidden_biases,
            module.input_mean,
            module.input_scale,
            Heads(to_numpy(module.task_coef), intercept),
        )


class Descent:
    """A solver that trains on mini-batches, as "alternating" and "joint" do.

    Parameters
    ----------
    net_class : type, default=MultiTaskNet
        What takes its steps.
    """

    is_descent = True
    auto_epochs = None

    def __init__(self, net_class: type[MultiTaskNet] = MultiTaskNet):
        self.net_class = net_class

    def can_resume(self, state: State) -> bool:
        """Whether a state has the weights of a descent."""
        return "hidden_weights" in state

    def prepare(self, job: FitJob, options: ReLUOptions) -> Prepared:
        """A net at a random start, or where the state of an earlier call is."""
        data, device, precision = job.data, job.device, options.precision
        state = cast_state(job.state, precision.parameters)
        module = TwoLayerReLU(
            data.X.shape[1],
            options.n_hidden,
            data.signs.shape[1],
            precision.parameters,
        ).to(device)
        weights = torch.from_numpy(data.weights * data.n_inputs)
        weights = weights.to(device, precision.parameters)
        generator = torch.Generator(device).manual_seed(job.seed)
        net = self.net_class(
            module,
            MultiTaskLoss(options.loss, weights, data.signs.dtype.kind == "f"),
            algorithm=options.algorithm,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            dropout=options.dropout,
            product_dtype=precision.products,
            head_decay=options.head_decay,
            batch_size=options.batch_size,
            max_epochs=options.max_epochs,
            generator=generator,
            callbacks=job.callbacks,
            device=device,
            group=data.group,
        ).initialize()
        if state is None:
            _start(module, data, options.loss, generator)
        else:
            net.restore(state)
        mean, scale, waiting, is_heavy = relu_scale(state, data)
        module.input_mean.copy_(torch.as_tensor(mean))
        module.input_scale.fill_(scale)
        with torch.no_grad():
            module.hidden_weights[:, torch.as_tensor(is_heavy)] = 0
        module.full_columns = find_full_columns(data.X, device)
        rows = data.on_device(device, precision.parameters)
        return Prepared(net, rows, _operations(data, options), waiting)


def _operations(data: TaskData, options: ReLUOptions) -> float:
    """Number of operations of an update on one batch."""
    matrices: tuple[Any, Any] = data.X, data.signs
    X, signs = (
        matrix.nnz / matrix.shape[0] if issparse(matrix) else matrix.shape[1]
        for matrix in matrices
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
