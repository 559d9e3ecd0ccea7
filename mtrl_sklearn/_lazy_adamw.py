"""AdamW for parameters of which a step touches few rows, as the heads of many tasks.

A row w without a gradient still moves: moments fade, momentum drifts, weights decay.
From its last gradient, in step t, to step n::

    m_n = beta_1^(n-t) m_t        v_n = beta_2^(n-t) v_t
    w_n = D_n w_t - D_n sum_s a_s m_t / (sqrt(v_t) + e_s)

Here s runs over the missed steps t+1, ..., n, ``D_s`` is the product of ``1 - lr_u wd``
over the steps u = t+1, ..., s, and with the corrections ``c_i = 1 - beta_i^s``::

    a_s = lr_s sqrt(c_2) / c_1 (beta_1 / sqrt(beta_2))^(s-t) / D_s
    e_s = eps sqrt(c_2) / sqrt(beta_2)^(s-t)

All e_s are replaced by their mean e under the weights a_s, which changes the sum by
about ``var(e_s) / (sqrt(v_t) + e)^2`` of it. In the tests, whose gradients are g, that
is less than ``(eps / g)^2`` and less than a fiftieth for any g. So ``sum_s a_s`` and
``sum_s a_s e_s`` for each t are enough for all rows.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

BETAS = (0.9, 0.999)
N_DRIFTING = 400  # steps s of a sum; (beta_1 / sqrt(beta_2))^400 is 6e-19
LONGEST_LAG = 4096  # steps; bounds the memory of the sums
LARGEST_DECAY = 0.5  # of lr wd; 1 / D_s has to stay finite over N_DRIFTING steps
BLOCK_SIZE = 2**18  # entries that are brought up to date at a time
TINY = 1e-30  # stands for a drift of 0 where it is divided by

# Cost of a step on rows, in entries of a dense step, measured on one thread of a CPU
STEP_COST, ROW_COST, ENTRY_COST = 100_000, 20, 5

_LAGS = np.arange(N_DRIFTING, 0, -1)
POWERS = (  # of a_s, and of a_s e_s, for s - t in _LAGS
    (BETAS[0] / math.sqrt(BETAS[1])) ** _LAGS,
    (BETAS[0] / BETAS[1]) ** _LAGS,
)


class _Lag:
    """What rows of a parameter have missed since all were up to date, at step 0."""

    def __init__(self, state: dict[str, Tensor], n_rows: int):
        self.state = state
        self.start = int(state["step"])
        self.n_steps = 0
        self.seen = np.zeros(n_rows, dtype=np.int64)  # last step of each row
        self.log_decay = np.zeros(LONGEST_LAG + 1)  # log D_n from t = 0 for each n
        self.sums = np.empty((2, LONGEST_LAG + 1))  # of a_s and a_s e_s for each t
        self.sums[:] = [[TINY], [TINY * 1e-8]]
        # Rows and their moments, up to date, that a step is likely to change at once
        self.pending: tuple[Tensor, Tensor, Tensor] | None = None

    def add_step(self, lr: float, weight_decay: float, eps: float) -> None:
        """Count a step that no row has seen yet."""
        self.n_steps = n = self.n_steps + 1
        self.log_decay[n] = self.log_decay[n - 1] + math.log1p(-lr * weight_decay)
        correction = math.sqrt(1 - BETAS[1] ** (self.start + n))
        scale = lr * correction / (1 - BETAS[0] ** (self.start + n))
        drifting = slice(max(0, n - N_DRIFTING), n)
        weights = scale * np.exp(self.log_decay[drifting] - self.log_decay[n])
        self.sums[0, drifting] += weights * POWERS[0][-n:]
        self.sums[1, drifting] += weights * POWERS[1][-n:] * (eps * correction)

    def missed(self, rows: np.ndarray | slice) -> np.ndarray | None:
        """D_n, ``1 / (D_n sum_s a_s)``, e, fading of m and v; None if no row lags.

        Shape (5, number of rows).
        """
        seen = self.seen[rows]
        lag = self.n_steps - seen
        if not lag.any():
            return None
        decay = np.exp(self.log_decay[self.n_steps] - self.log_decay[seen])
        drift, weighted = self.sums.take(seen, axis=1)
        inverse = 1 / np.maximum(decay * drift, TINY)
        fading = np.exp(np.log(BETAS)[:, None] * lag)
        return np.stack([decay, inverse, weighted / drift, *fading])

    def write_pending(self) -> None:
        if self.pending is not None:
            rows, *moments = self.pending
            for tensor, values in zip(_moments(self.state), moments):
                _write(tensor, rows, values)
            self.pending = None


def _catch_up(
    weights: Tensor, mean: Tensor, square: Tensor, missed: np.ndarray
) -> None:
    """Move rows and their moments, each (n, ...), past the (5, n) they missed."""
    factors = torch.from_numpy(missed).to(weights)
    factors = factors.view(5, -1, *[1] * (weights.ndim - 1))
    decay, inverse, eps, mean_fading, square_fading = factors
    root = square.sqrt().add_(eps).mul_(inverse)
    weights.mul_(decay).addcdiv_(mean, root, value=-1)
    mean.mul_(mean_fading)
    square.mul_(square_fading)


def _write(tensor: Tensor, rows: Tensor, values: Tensor) -> None:
    if tensor.is_cpu:  # index_copy_ takes twice as long
        tensor.detach().numpy()[rows.numpy()] = values.numpy()
    else:
        tensor.index_copy_(0, rows, values)


def _with_strides_of(parameter: Tensor, tensor: Tensor) -> Tensor:
    if tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter).copy_(tensor)


def _is_worth_it(gradient: Tensor, group: dict[str, Any]) -> bool:
    if tuple(group["betas"]) != BETAS:  # some schedulers cycle them
        return False
    values = gradient.values()
    cost = STEP_COST + ROW_COST * len(values) + ENTRY_COST * values.numel()
    decay = group["lr"] * group["weight_decay"]
    return cost < gradient.numel() and decay <= LARGEST_DECAY


def _update(group: dict[str, Any], entries: list[tuple[Tensor, ...]]) -> None:
    """Update (weights, gradient, mean, square, step) of each entry in place.

    By AdamW's kernel: what AdamW does around it takes as long for small networks.
    """
    weights, gradients, means, squares, steps = map(list, zip(*entries))
    no_maxima: list[Tensor] = []
    keys = "lr", "weight_decay", "eps", "amsgrad", "maximize"
    options = {key: group[key] for key in keys}
    options["beta1"], options["beta2"] = group["betas"]
    torch._foreach_add_(steps, 1)
    torch._fused_adamw_(weights, gradients, means, squares, no_maxima, steps, **options)


def _moments(state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return state["exp_avg"], state["exp_avg_sq"]


class LazyAdamW(torch.optim.AdamW):
    """AdamW that moves rows without a gradient not before they are needed.

    A sparse gradient, with one sparse dimension, stands for a dense one that is 0 in
    all other rows. The result is that of dense AdamW once `refresh` has brought rows up
    to date: those that are to be read, and all before ``state`` is. Hooks on `step` are
    not called.

    Parameters
    ----------
    params : iterable of nn.Parameter, or of dict
        As for AdamW, with the same groups and the same state.
    lr, weight_decay : float
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, lr, BETAS, weight_decay=weight_decay, fused=True)
        self._lags: dict[Tensor, _Lag] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step, and return what the closure returned, if one is given.

        Parameters
        ----------
        closure : callable, optional
            Sets the gradients.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            dense: list[tuple[Tensor, ...]] = []
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter] or self._new_state(parameter)
                if gradient.is_sparse:
                    gradient = gradient.coalesce()
                    if _is_worth_it(gradient, group):
                        self._step_rows(parameter, gradient, group)
                        continue
                    gradient = gradient.to_dense()
                if parameter in self._lags:
                    self.refresh(parameter)
                # The kernel walks through memory and takes equal strides for granted
                gradient = _with_strides_of(parameter, gradient)
                for key in ("exp_avg", "exp_avg_sq"):
                    state[key] = _with_strides_of(parameter, state[key])
                dense.append((parameter, gradient, *_moments(state), state["step"]))
            if dense:
                _update(group, dense)
        return loss

    # torch would wrap `step` for hooks and profilers, a quarter of a small step's time
    step.hooked = True  # type: ignore[attr-defined]

    @torch.no_grad()
    def refresh(self, parameter: Tensor, rows: Tensor | None = None) -> None:
        """Bring rows of a parameter up to date; with all of them, ``state``, too.

        Parameters
        ----------
        parameter : Tensor of shape (n_rows, ...)
        rows : Tensor of shape (n,), dtype=int64, optional
            Distinct rows. All by default.
        """
        if (lag := self._lags.get(parameter)) is None:
            return
        state = self.state[parameter]
        if lag.state is not state:  # it was restored from outside
            del self._lags[parameter]
        elif rows is None:
            lag.write_pending()
            size = max(1, BLOCK_SIZE // parameter[0].numel())
            for start in range(0, len(parameter), size):
                block = slice(start, start + size)
                if (missed := lag.missed(block)) is not None:
                    mean, square = _moments(state)
                    _catch_up(parameter[block], mean[block], square[block], missed)
                    lag.seen[block] = lag.n_steps
            del self._lags[parameter]
        elif lag.pending is None or not torch.equal(lag.pending[0], rows):
            lag.write_pending()
            places = rows.numpy(force=True)
            if (missed := lag.missed(places)) is not None:
                weights = parameter.index_select(0, rows)
                mean, square = (m.index_select(0, rows) for m in _moments(state))
                _catch_up(weights, mean, square, missed)
                _write(parameter, rows, weights)
                lag.pending = rows.clone(), mean, square
                lag.seen[places] = lag.n_steps

    def _step_rows(
        self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]
    ) -> None:
        rows, values = gradient.indices()[0], gradient.values().contiguous()
        self.refresh(parameter, rows)
        lag, state = self._lags.get(parameter), self.state[parameter]
        if lag is None or lag.n_steps == LONGEST_LAG:
            self.refresh(parameter)
            lag = self._lags[parameter] = _Lag(state, len(parameter))
        if lag.pending is None:
            mean, square = (m.index_select(0, rows) for m in _moments(state))
            lag.pending = rows, mean, square
        _, mean, square = lag.pending
        weights = parameter.index_select(0, rows)
        _update(group, [(weights, values, mean, square, state["step"])])
        _write(parameter, rows, weights)
        lag.write_pending()
        lag.add_step(group["lr"], group["weight_decay"], group["eps"])
        lag.seen[rows.numpy(force=True)] = lag.n_steps

    def _new_state(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
