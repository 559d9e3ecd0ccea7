"""The training loop: skorch's NeuralNet for our train steps, an iterator of batches."""

import dis
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EpochScoring,
    EpochTimer,
    GradientNormClipping,
    LoadInitState,
    LRScheduler,
    ParamMapper,
    PassthroughScoring,
    TrainEndCheckpoint,
)
from skorch.utils import TeeGenerator
from torch import Tensor, nn

from mtrl_sklearn._arrays.precision import tf32_allowed
from mtrl_sklearn._arrays.products import as_dtype
from mtrl_sklearn._arrays.rows import RowDataset, to_numpy
from mtrl_sklearn._arrays.threads import torch_threads
from mtrl_sklearn._group import ALONE, BatchPart, Group

# Callbacks of skorch that can do nothing without batches, optimiser and parameters.
NEED_DESCENT = (
    BatchScoring,
    Checkpoint,
    EpochScoring,
    GradientNormClipping,
    LoadInitState,
    LRScheduler,
    ParamMapper,
    TrainEndCheckpoint,
)


class TrainingStopped(KeyboardInterrupt):
    """A callback ended training; the state so far is kept."""


class TrainingLog(NamedTuple):
    """What training reports beside the weights it leaves in the module."""

    loss_curve: np.ndarray  # (n_iter,)
    validation_scores: np.ndarray  # (n_iter,), or empty
    interrupted: bool


class Batch(tuple[Tensor, ...]):
    """A tensor from each matrix of a dataset, and which rows of a batch these are."""

    part: BatchPart

    def __new__(cls, tensors: tuple[Tensor, ...], part: BatchPart) -> "Batch":
        batch = super().__new__(cls, tensors)
        batch.part = part
        return batch


class BatchIterator:
    """Mini-batches of a RowDataset, taken from its matrices as a whole.

    All batches of an epoch have the same size up to one row. A single batch is the
    data itself, in its own order. With several ranks these are batches of the rows of
    all: each yields what it has of them, and which these are. Where the dataset says
    that rows are copies, they are in a batch together, and count as one.

    Parameters
    ----------
    dataset : RowDataset
    batch_size : int
        Upper bound of the distinct rows in a batch, of all ranks.
    generator : torch.Generator
        Draws the order of the rows, anew in each epoch; the same on all ranks.
    """

    def __init__(
        self, dataset: RowDataset, batch_size: int, generator: torch.Generator
    ):
        self.dataset = dataset
        self.batch_size = batch_size
        self.generator = generator

    def __len__(self) -> int:
        return -(-self.dataset.inputs.n_rows // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        start, n_here, _ = self.dataset.shard
        n_rows, inputs = self.dataset.inputs
        if len(self) == 1:
            yield Batch(self.dataset.take(slice(None)), self.dataset.inputs)
            return
        generator = self.generator
        order = torch.randperm(n_rows, generator=generator, device=generator.device)
        for rows in order.tensor_split(len(self)):
            part = BatchPart(len(rows))
            if isinstance(inputs, Tensor):
                places = torch.full_like(order, -1)
                places[rows] = torch.arange(len(rows), device=order.device)
                places = places[inputs]
                rows = (places >= 0).nonzero()[:, 0]
                yield Batch(self.dataset.take(rows), part._replace(places=places[rows]))
                continue
            if n_here < n_rows:
                is_here = (rows >= start) & (rows < start + n_here)
                part = BatchPart(len(rows), is_here.nonzero()[:, 0])
                rows = rows[part.places] - start
            yield Batch(self.dataset.take(rows), part)


class DescentNet(NeuralNet):
    """skorch net with closed-form gradients: a subclass gives ``train_step``.

    Parameters
    ----------
    module : nn.Module
    criterion : nn.Module
    learning_rate, weight_decay : float
    batch_size, max_epochs : int
    generator : torch.Generator
        Source of row order and dropout.
    callbacks : list of skorch callbacks
    device : str
    group : Group
    product_dtype : torch.dtype or None, default=None
        What matrix products are computed in, if not in the dtype of the parameters.

    Attributes
    ----------
    unit : str
        What an epoch is called where progress is shown.
    n_moments : int
        How often the optimiser will hold the size of the weights.
    stop_requested : bool
        Set by a callback to end training after the current epoch.
    is_watched : bool
        Whether a callback of any rank is called at batches, and may look at parameters
        there.
    """

    unit = "epoch"
    n_moments = 2  # of the optimiser, for each weight

    def __init__(
        self,
        module: nn.Module,
        criterion: nn.Module,
        *,
        learning_rate: float,
        weight_decay: float,
        batch_size: int,
        max_epochs: int,
        generator: torch.Generator,
        callbacks: list[Callback],
        device: str,
        group: Group = ALONE,
        product_dtype: torch.dtype | None = None,
    ):
        self.group = group
        self.product_dtype = product_dtype
        self.is_watched = any(group.gather(any(map(watches_batches, callbacks))))
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.generator = generator
        self.stop_requested = False
        super().__init__(
            module,
            criterion=criterion,
            lr=learning_rate,
            max_epochs=max_epochs,
            batch_size=batch_size,
            iterator_train=BatchIterator,
            iterator_train__generator=generator,
            train_split=None,
            callbacks=callbacks,
            verbose=0,
            device=device,
        )

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
        ]

    def update(
        self, batch: Any, parameters: tuple[Tensor, ...], gradients: tuple[Tensor, ...]
    ) -> None:
        """One step of the optimiser on these parameters alone, but for frozen ones."""
        for parameter, gradient in zip(parameters, gradients):
            if parameter.requires_grad:
                parameter.grad = as_dtype(gradient, parameter.dtype)
        self.show_gradients(batch)
        self.optimizer_.step()
        for parameter in parameters:
            parameter.grad = None

    def show_gradients(self, batch: Any) -> None:
        """Let callbacks see, and change, the gradients that a step is to take."""
        self.notify(
            "on_grad_computed",
            named_parameters=TeeGenerator(self.get_all_learnable_params()),
            batch=batch,
            training=True,
        )

    def on_batch_end(
        self, net: NeuralNet, batch: Any = None, training: bool = False, **step: Any
    ) -> None:
        self.history.record_batch("train_batch_size", batch.part.n_rows)
        if not math.isfinite(step["loss"].item()):
            epoch = len(self.history)
            raise ValueError(
                f"The loss became {step['loss'].item()} in step "
                f"{len(self.history[-1, 'batches'])} of epoch {epoch}, with "
                f"learning_rate={self.learning_rate}. Lower learning_rate, or look "
                "for extreme values in X. Nothing of this fit is kept."
            )

    def can_stop(self) -> bool:
        """Whether there is a network, where training is interrupted."""
        return True

    def export(self) -> dict[str, np.ndarray]:
        """All that continuing needs: weights, optimiser moments, generator."""
        arrays = {
            name: to_numpy(value) for name, value in self.module_.state_dict().items()
        }
        for name, parameter in self.module_.named_parameters():
            for key, value in self.optimizer_.state[parameter].items():
                arrays[f"optimizer.{name}.{key}"] = to_numpy(value)
        arrays["generator"] = to_numpy(self.generator.get_state())
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put an initialised net back into an exported state.

        Random streams of a CPU and a GPU cannot be told from one another's state: a
        net on the other device goes on with the stream it has.
        """
        device = next(self.module_.parameters()).device
        module_keys = self.module_.state_dict().keys()
        self.module_.load_state_dict({k: torch.tensor(arrays[k]) for k in module_keys})
        for name, parameter in self.module_.named_parameters():
            prefix = f"optimizer.{name}."
            moments = {
                key.removeprefix(prefix): torch.tensor(value, device=device)
                for key, value in arrays.items()
                if key.startswith(prefix)
            }
            if moments:
                self.optimizer_.state[parameter] = moments
        if len(arrays["generator"]) == len(self.generator.get_state()):
            self.generator.set_state(torch.tensor(arrays["generator"]))

    def show_batch(self, batch: Batch) -> Batch:
        """Inputs and labels, as callbacks that score a batch expect them."""
        return Batch(batch[:2], batch.part)

    def show_scores(self, batch: Batch, scores: Tensor) -> Tensor:
        """Scores of a batch for callbacks, from what ``train_step`` returns."""
        raise NotImplementedError

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores for a scorer: in a scoring callback, those of the epoch."""
        return np.concatenate([to_numpy(scores) for scores in self.forward_iter(X)])

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """As in skorch, where callbacks may end training by KeyboardInterrupt."""
        getattr(self, method_name)(self, **cb_kwargs)
        if method_name == "on_batch_end" and self.is_watched:
            batch = cb_kwargs["batch"]
            cb_kwargs["batch"] = self.show_batch(batch)
            cb_kwargs["y_pred"] = self.show_scores(batch, cb_kwargs["y_pred"])
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except KeyboardInterrupt as stop:
                is_ours = type(callback).__module__.startswith("mtrl_sklearn.")
                if is_ours or not _comes_from_a_statement(stop):
                    raise  # it is Ctrl-C
                self.stop_requested = True
                is_outside = method_name in ("on_train_begin", "on_train_end")
                waits = self.group.n_ranks > 1 and method_name == "on_epoch_end"
                if not (is_outside or waits):
                    raise TrainingStopped from stop
        if method_name == "on_epoch_end" and any(
            self.group.gather(self.stop_requested)
        ):
            raise TrainingStopped


def _comes_from_a_statement(error: BaseException) -> bool:
    """Whether code raised it by name; Ctrl-C comes in the midst of something else."""
    last = error.__traceback__
    assert last is not None
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code.co_code
    return dis.opname[code[last.tb_lasti]] == "RAISE_VARARGS"


def kind_of_callback(given: Any) -> type:
    """Class of what skorch takes for a callback: one, its class, or with a name."""
    callback = given[-1] if isinstance(given, tuple) and given else given
    return callback if isinstance(callback, type) else type(callback)


def watches_batches(callback: Any) -> bool:
    """Whether a callback is called at batches."""
    kind = kind_of_callback(callback)
    methods = "on_batch_begin", "on_batch_end", "on_grad_computed"
    return any(getattr(kind, m) is not getattr(Callback, m) for m in methods)


def needs_descent(callback: Any) -> bool:
    """Whether a callback of skorch needs batches, an optimiser or torch parameters."""
    own = callback[-1] if isinstance(callback, tuple) else callback
    is_one = issubclass(kind_of_callback(callback), NEED_DESCENT)
    return is_one or bool(getattr(own, "load_best", False))


def train(
    net: DescentNet, data: RowDataset, operations: float, allow_tf32: bool = False
) -> TrainingLog:
    """Run an initialised net for its epochs, or until a callback or Ctrl-C stops it.

    Epochs that its history has already count, and so does a stop that was requested.

    Parameters
    ----------
    net : DescentNet
    data : RowDataset
        ``train_step`` gets batches of its rows.
    operations : float
        What an update costs, which decides on the number of threads.
    allow_tf32 : bool, default=False
        Whether products on a GPU may round their factors.
    """
    interrupted = False
    net.notify("on_train_begin", X=data, y=None)
    try:
        if not any(net.group.gather(net.stop_requested)):
            with torch_threads(operations), tf32_allowed(allow_tf32, net.device):
                net.fit_loop(data, epochs=net.max_epochs - len(net.history))
    except TrainingStopped:
        pass
    except KeyboardInterrupt:
        if net.group.n_ranks > 1 or not net.can_stop():  # ranks stop apart
            raise
        interrupted = True
    if not net.can_stop():
        raise ValueError(
            f"A callback ended training before its first {net.unit}, so there is no "
            "network. Let callbacks= stop at its end, or later."
        )
    net.notify("on_train_end", X=data, y=None)
    losses, scores = loss_curve(net), validation_scores(net)
    if len(scores):  # Ctrl-C may have come in the midst of scoring
        losses = losses[: len(scores)]
    return TrainingLog(losses, scores, interrupted)


def loss_curve(net: DescentNet) -> np.ndarray:
    """Training losses of the epochs that were run to their end, (n_iter,)."""
    return _read_history(net, "train_loss")


def validation_scores(net: DescentNet) -> np.ndarray:
    """Validation scores of epochs, (n_iter,), or empty."""
    return _read_history(net, "validation_score")


def _read_history(net: DescentNet, name: str) -> np.ndarray:
    return np.array([epoch[name] for epoch in net.history if name in epoch])
