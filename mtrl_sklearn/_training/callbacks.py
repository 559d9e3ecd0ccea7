"""skorch callbacks of a fit: stopping, validation, progress, checkpoints.

A callback ends training by setting ``net.stop_requested``: all callbacks of that epoch
are still called.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tqdm
from skorch import NeuralNet
from skorch.callbacks import Callback

from mtrl_sklearn._training.checkpoint import Checkpoint, Progress
from mtrl_sklearn._training.net import (
    DescentNet,
    loss_curve,
    validation_scores,
)

# Of arrays of a checkpoint: the state of the best epoch; which parameters are trained.
BEST = "best."
TRAINED = "is_trained."


class CosineSchedule(Callback):
    """Let learning rates fall along a cosine, from epoch to epoch, to end at 0.

    The epoch says it all: a fit that goes on in its midst needs no more.
    """

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        n_done = len(net.history) - 1
        for group in net.optimizer_.param_groups:
            rate = group.setdefault("initial_lr", group["lr"])
            group["lr"] = rate * (1 + math.cos(math.pi * n_done / net.max_epochs)) / 2


class StopOnPlateau(Callback):
    """End training when a loss has stopped falling.

    It counts as settled once its best value of the last ``n_iter_no_change`` epochs is
    less than a share ``tol`` below the best value before them.

    Parameters
    ----------
    monitor : str
        Entry of the history, lower is better.
    tol : float
    n_iter_no_change : int
    min_fall : float, default=0
        Share of its first value by which the loss has to fall before it can settle:
        small weights start on a plateau.
    """

    def __init__(
        self, monitor: str, tol: float, n_iter_no_change: int, min_fall: float = 0.0
    ):
        self.min_fall = min_fall
        self.monitor = monitor
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change

    def initialize(self) -> "StopOnPlateau":
        self.converged_ = False
        return self

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        if net.history:  # a fit that goes on may have settled already
            self.on_epoch_end(net)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        losses = net.history[:, self.monitor]
        if len(losses) <= self.n_iter_no_change:
            return
        before = min(losses[: -self.n_iter_no_change])
        recent = min(losses[-self.n_iter_no_change :])
        has_fallen = before <= (1 - self.min_fall) * losses[0]
        self.converged_ = has_fallen and recent >= (1 - self.tol) * before
        net.stop_requested |= self.converged_


class ValidationScore(Callback):
    """Score held-out rows after each epoch and end in the state of the best one.

    Records "validation_score" and "validation_error", which is 1 minus the score, and
    the latter as "valid_loss", with "valid_loss_best", for callbacks of skorch.

    Parameters
    ----------
    score : callable
        Called with the torch module; higher is better.
    """

    def __init__(self, score: Callable[[Any], float]):
        self.score = score

    def initialize(self) -> "ValidationScore":
        self.best_score_ = -np.inf
        self.best_state_: dict[str, Any] = {}
        return self

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        score = self.score(net.module_)
        _record_validation(net, score)
        if score > self.best_score_:
            self.best_score_ = score
            self.best_state_ = net.export()

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if self.best_state_:
            net.restore(self.best_state_)


class EpochProgress(Callback):
    """A progress bar over epochs that shows the loss."""

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.bar_ = tqdm.tqdm(
            total=net.max_epochs, initial=len(net.history), unit=net.unit
        )

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        shown = {"loss": net.history[-1]["train_loss"]}
        if "validation_score" in net.history[-1]:
            shown["validation"] = net.history[-1]["validation_score"]
        self.bar_.set_postfix(shown, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self.bar_.close()


class SaveProgress(Callback):
    """Save after each epoch what a fit needs to go on from there.

    It comes after all others, which may change the state or ask to stop.

    Parameters
    ----------
    checkpoint : Checkpoint
    validation : ValidationScore or None
    """

    def __init__(self, checkpoint: Checkpoint, validation: ValidationScore | None):
        self.checkpoint = checkpoint
        self.validation = validation

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.is_over_ = net.stop_requested  # of a fit that had ended
        n_bytes = sum(array.nbytes for array in net.export().values())
        n_states = 1 if self.validation is None else 2
        self.checkpoint.reserve(n_bytes * (1 + net.n_moments) * n_states)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        is_over = net.stop_requested or len(net.history) == net.max_epochs
        self._save(net, is_over)

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if net.stop_requested and not self.is_over_:  # before it was its turn
            self._save(net, is_over=True)

    def _save(self, net: NeuralNet, is_over: bool) -> None:
        self.is_over_ = is_over
        curves = loss_curve(net), validation_scores(net)
        self.checkpoint.save(lambda: self._state(net), *curves, is_over)

    def _state(self, net: NeuralNet) -> dict[str, np.ndarray]:
        best = {} if self.validation is None else self.validation.best_state_
        trained = {
            TRAINED + name: np.array(parameter.requires_grad, dtype=np.uint8)
            for name, parameter in net.module_.named_parameters()
        }
        best = {BEST + name: array for name, array in best.items()}
        return net.export() | trained | best


def resume(net: DescentNet, progress: Progress) -> None:
    """Bring an initialised net and its callbacks to where a fit was."""
    best = {k[len(BEST) :]: v for k, v in progress.state.items() if k.startswith(BEST)}
    net.restore(progress.state)
    for name, parameter in net.module_.named_parameters():
        is_trained = progress.state.get(TRAINED + name, parameter.requires_grad)
        parameter.requires_grad_(bool(is_trained))
    for k, loss in enumerate(progress.loss_curve.tolist()):
        net.history.new_epoch()
        net.history.record("epoch", k + 1)
        net.history.record("train_loss", loss)
        if k < len(progress.validation_scores):
            _record_validation(net, float(progress.validation_scores[k]))
    for _, callback in net.callbacks_:
        if isinstance(callback, ValidationScore):
            scores = progress.validation_scores  # NaN is no best one
            callback.best_score_ = np.fmax.reduce(scores, initial=-np.inf)
            callback.best_state_ = best
    net.stop_requested = progress.is_over


def _record_validation(net: NeuralNet, score: float) -> None:
    """Under our own names, and under those that skorch's callbacks monitor."""
    error = 1 - score
    earlier = [epoch["valid_loss"] for epoch in net.history[:-1]]
    net.history.record("validation_score", score)
    net.history.record("validation_error", error)
    net.history.record("valid_loss", error)
    net.history.record("valid_loss_best", error < min(earlier, default=np.inf))
