"""Gradient descent whose step size finds itself."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from mtrl_sklearn._training.step_rule import AdaptiveGradientDescent

QUADRATIC = torch.tensor([1.0, 3.0, 10.0, 0.1], dtype=torch.float64)


class Descent:
    """The optimiser on a function of two parameters, and what it evaluates."""

    def __init__(self, function, start, lr=1.0):
        start = torch.tensor(start, dtype=torch.float64)
        halves = start.split(len(start) // 2)
        self.parameters = [nn.Parameter(half.clone()) for half in halves]
        self.optimizer = AdaptiveGradientDescent(self.parameters, lr=lr)
        self.function = function
        self.trials = []

    def closure(self):
        with torch.enable_grad():
            point = torch.cat([p.detach() for p in self.parameters]).requires_grad_()
            loss = self.function(point)
            (gradient,) = torch.autograd.grad(loss, point)
        halves = gradient.split(len(self.parameters[0]))
        for parameter, half in zip(self.parameters, halves):
            parameter.grad = half.clone()
        self.trials.append(point.detach().clone())
        return loss.item()

    def step(self):
        return self.optimizer.step(self.closure)

    @property
    def point(self):
        return torch.cat([p.detach() for p in self.parameters])

    @property
    def step_size(self):
        return self.optimizer.state[self.parameters[0]]["step_size"].item()


def quadratic(point):
    return (QUADRATIC * point**2).sum() / 2


def ragged(point):
    """Valleys beside valleys."""
    return (point**2).sum() + torch.cos(7 * point).sum()


def wall(point):
    """Falls ever faster up to 1, where it is not defined."""
    return -torch.expm1(point.sum()) + torch.where(point.sum() > 1, math.nan, 0)


def test_a_quadratic_is_minimised():
    descent = Descent(quadratic, [1.0, -1.0, 1.0, 2.0])
    losses = [descent.step() for _ in range(500)]
    assert losses[-1] < 1e-6
    assert losses[-1] == quadratic(descent.point).item()


@pytest.mark.parametrize("lr", [1e-3, 1.0, 1e9])
@pytest.mark.parametrize("function", [quadratic, ragged])
def test_the_loss_never_rises_and_steps_are_short(function, lr):
    descent = Descent(function, [2.0, -1.5, 1.0, 3.0], lr)
    before, losses = descent.point, [function(descent.point).item()]
    for _ in range(100):
        losses.append(descent.step())
        assert (descent.trials[-1] - before).norm() <= 0.3 + 1e-12
        assert losses[-1] == function(descent.point).item()
        before = descent.point
    assert all(later <= earlier for earlier, later in pairwise(losses))
    assert losses[-1] < 0.9 * losses[0]


def test_the_step_is_eta_times_the_gradient():
    descent = Descent(quadratic, [0.1, 0.1, 0.1, 0.1], lr=0.02)
    start = descent.point
    descent.step()
    torch.testing.assert_close(descent.point, start - 0.02 * QUADRATIC * start)
    assert descent.step_size == pytest.approx(0.022)


def test_a_long_step_is_cut_to_its_bound():
    descent = Descent(quadratic, [3.0, 0, 0, 0], lr=1.0)
    descent.step()
    torch.testing.assert_close(descent.point[0].item(), 2.7)
    assert descent.step_size == pytest.approx(0.4)  # 4 times the step of 0.3 / 3


def test_a_step_that_raises_the_loss_is_taken_back_and_halved():
    descent = Descent(quadratic, [0.01, 0.01, 0.01, 0.01], lr=1.0)
    start, loss = descent.point, quadratic(descent.point).item()
    assert descent.step() == loss
    assert torch.equal(descent.point, start)
    assert not torch.equal(descent.trials[-1], start)
    assert descent.step_size == 0.5
    descent.step()
    assert descent.step_size == 0.25
    assert torch.equal(descent.point, start)


def test_half_of_a_step_that_was_cut_is_half_of_what_was_taken():
    descent = Descent(lambda point: point.abs().sum(), [0.01, 0, 0, 0], lr=100.0)
    descent.step()
    assert descent.step_size == pytest.approx(0.15)


def test_a_step_to_nan_is_taken_back():
    descent = Descent(wall, [0.2, 0.2, 0.2, 0.2], lr=10.0)
    losses = [descent.step() for _ in range(50)]
    assert all(math.isfinite(loss) for loss in losses)
    assert any(trial.sum() > 1 for trial in descent.trials)
    assert 0.99 < descent.point.sum() <= 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_from_the_start_is_returned(value):
    descent = Descent(lambda point: point.sum() * value, [1.0, 1.0])
    assert not math.isfinite(descent.step())
    assert torch.equal(descent.point, torch.ones(2, dtype=torch.float64))


def test_a_step_evaluates_the_loss_once():
    descent = Descent(quadratic, [1.0, 1.0, 1.0, 1.0], lr=0.01)
    for _ in range(10):
        descent.step()
    assert len(descent.trials) == 11


def test_growth_is_a_tenth_and_ends_at_a_million():
    descent = Descent(lambda point: 1e-12 * point.sum(), [0.0, 0.0], lr=1.0)
    for k in range(1, 5):
        descent.step()
        assert descent.step_size == pytest.approx(1.1**k)
    for _ in range(200):
        descent.step()
    assert descent.step_size == 1e6


def test_a_gradient_of_zero_changes_nothing():
    descent = Descent(lambda point: 0 * point.sum(), [1.0, 2.0])
    assert descent.step() == 0
    assert descent.point.tolist() == [1, 2]


def test_the_step_size_survives_in_the_state():
    whole = Descent(quadratic, [1.0, -1.0, 1.0, 2.0], lr=0.05)
    for _ in range(7):
        whole.step()
    resumed = Descent(quadratic, whole.point.tolist(), lr=100.0)
    state = whole.optimizer.state[whole.parameters[0]]
    resumed.optimizer.state[resumed.parameters[0]] = {
        name: value.clone() for name, value in state.items()
    }
    for _ in range(7):
        assert whole.step() == resumed.step()
    assert torch.equal(whole.point, resumed.point)


def test_an_interrupted_step_is_taken_back():
    descent = Descent(quadratic, [1.0, -2.0, 3.0, 0.5])
    descent.step()
    before = descent.point

    def interrupt(point):
        raise KeyboardInterrupt

    descent.function = interrupt
    with pytest.raises(KeyboardInterrupt):
        descent.step()
    assert torch.equal(descent.point, before)
