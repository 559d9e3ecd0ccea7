"""Gradient descent on all data whose step size finds itself."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

LONGEST_UPDATE = 0.3
GROWTH = 1.1
LARGEST_GROWTH = 4.0  # of the step size over the step that was taken
LARGEST_STEP_SIZE = 1e6


class AdaptiveGradientDescent(torch.optim.Optimizer):
    """Gradient descent that never lets the loss rise.

    Parameters that do not require a gradient stay where they are.

    The step along the gradient g is ``min(eta, 0.3 / ||g||)``. After a decrease of the
    loss eta grows by a tenth, to at most 4 times the step taken and 1e6. After an
    increase the step is taken back, and eta is half of it.

    Parameters
    ----------
    params : iterable of nn.Parameter
    lr : float
        First value of eta. The current one is ``state[first parameter]["step_size"]``.
    """

    def __init__(self, params: Iterable[Tensor], lr: float):
        super().__init__(params, {"lr": lr})
        self._loss: float | None = None
        self._gradients: list[Tensor] = []
        self._trained: list[Tensor] = []

    # torch lets callers leave the closure out; nothing can be stepped without it here
    @torch.no_grad()
    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override]
        """Take one step and return the loss where it ends.

        Parameters
        ----------
        closure : callable
            Returns the loss and sets the gradients to new tensors. It has to be the
            same function in each call.
        """
        known = [p for group in self.param_groups for p in group["params"]]
        parameters = [p for p in known if p.requires_grad]
        state = self.state[known[0]]
        if not parameters:
            self._loss = None
            return float(closure())
        if self._loss is None or [*map(id, parameters)] != [*map(id, self._trained)]:
            self._trained = parameters
            self._loss, self._gradients = self._evaluate(closure, parameters)
            start = torch.tensor(self.param_groups[0]["lr"], dtype=torch.float64)
            state.setdefault("step_size", start)
        norm = torch.stack([g.norm() for g in self._gradients]).norm().item()
        step = min(state["step_size"].item(), LONGEST_UPDATE / max(norm, 1e-300))
        before = [p.clone() for p in parameters]
        try:
            for parameter, gradient in zip(parameters, self._gradients):
                parameter -= step * gradient
            loss, gradients = self._evaluate(closure, parameters)
        except BaseException:  # Ctrl-C: do not end where nothing was evaluated
            self._restore(parameters, before)
            raise
        if loss <= self._loss:
            self._loss, self._gradients = loss, gradients
            step_size = min(
                GROWTH * state["step_size"].item(),
                LARGEST_GROWTH * step,
                LARGEST_STEP_SIZE,
            )
        else:  # also where the loss is NaN
            step_size = step / 2
            self._restore(parameters, before)
        state["step_size"].fill_(step_size)
        return self._loss

    @staticmethod
    def _restore(parameters: list[Tensor], values: list[Tensor]) -> None:
        for parameter, value in zip(parameters, values):
            parameter.copy_(value)

    @staticmethod
    def _evaluate(
        closure: Callable[[], float], parameters: list[Tensor]
    ) -> tuple[float, list[Tensor]]:
        loss = float(closure())
        return loss, [p.grad for p in parameters if p.grad is not None]
