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

import inspect
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtrl_sklearn._arrays.rows import block_slices

BETAS = (0.9, 0.999)
N_DRIFTING = 400  # steps s of a sum; (beta_1 / sqrt(beta_2))^400 is 6e-19
LONGEST_LAG = 4096  # steps; bounds the memory of the sums
LARGEST_DECAY = 0.5  # of lr wd; 1 / D_s has to stay finite over N_DRIFTING steps
TINY = 1e-30  # stands for a drift of 0 where it is divided by
MIN_SIZE = 2**19  # entries of a parameter; smaller ones take dense steps, sooner done

LOG_BETAS = np.log(BETAS)[:, None]
_RATIOS = BETAS[0] / math.sqrt(BETAS[1]), BETAS[0] / BETAS[1]
_LAGS = np.arange(N_DRIFTING, 0, -1)
POWERS = np.power.outer(_RATIOS, _LAGS)  # of a_s, and of a_s e_s, for s - t in _LAGS


def check_decay(learning_rate: float, weight_decay: float) -> None:
    """Refuse a decay that takes away more than all of a weight, and turns its sign.

    Raises
    ------
    ValueError
        If their product is more than 1.
    """
    share = learning_rate * weight_decay
    if share > 1:
        raise ValueError(
            f"learning_rate={learning_rate:g} times weight_decay={weight_decay:g} is "
            f"{share:.3g}: a step would take away more than all of a weight. Lower "
            "learning_rate or weight_decay, to a product well below 1."
        )


class _Lag:
    """What rows of a parameter have missed since all were up to date, at step 0."""

    def __init__(self, parameter: Tensor, state: dict[str, Tensor]):
        self.state = state
        self.whole = parameter.detach(), *_moments(state)
        self.start = int(state["step"])
        self.n_steps = 0
        self.seen = np.zeros(len(parameter), dtype=np.int64)  # last step of each row
        # For each t: log D_t, from t = 0, and the sums of a_s and of a_s e_s
        self.table = np.zeros((3, LONGEST_LAG + 1))
        self.table[1:] = [[TINY], [TINY * 1e-8]]
        # Rows that are worked on, and copies of them in `whole` that miss nothing
        self.work: tuple[Tensor, tuple[Tensor, ...]] | None = None

    def check_out(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Weights and moments of rows, up to date, to be changed in place."""
        if self.work is None or not torch.equal(self.work[0], rows):
            self.write_back()
            copies = tuple(tensor.index_select(0, rows) for tensor in self.whole)
            self.catch_up(copies, rows.numpy(force=True))
            self.work = rows.clone(), copies
        return self.work[1]

    def write_back(self) -> None:
        """Put the rows that are worked on where they belong."""
        if self.work is not None:
            rows, copies = self.work
            for tensor, values in zip(self.whole, copies):
                _write(tensor, rows, values)
            self.seen[rows.numpy(force=True)] = self.n_steps
            self.work = None

    def refresh(self) -> None:
        """Bring all rows up to date."""
        self.write_back()
        for block in block_slices(len(self.seen), self.whole[0][0].numel()):
            self.catch_up([tensor[block] for tensor in self.whole], block)
            self.seen[block] = self.n_steps

    def add_step(self, lr: float, weight_decay: float, eps: float) -> None:
        """Count a step that no row has seen yet."""
        self.n_steps = n = self.n_steps + 1
        log_decay, sums = self.table[0], self.table[1:]
        log_decay[n] = log_decay[n - 1] + math.log1p(-lr * weight_decay)
        correction = math.sqrt(1 - BETAS[1] ** (self.start + n))
        scale = lr * correction / (1 - BETAS[0] ** (self.start + n))
        scales = np.array([[scale], [scale * eps * correction]])
        drifting = slice(max(0, n - N_DRIFTING), n)
        inverse_decay = np.exp(log_decay[drifting] - log_decay[n])
        sums[:, drifting] += scales * POWERS[:, -n:] * inverse_decay

    def catch_up(self, tensors: Sequence[Tensor], rows: np.ndarray | slice) -> None:
        """Move weights and moments of these rows, each (n, ...), past all steps."""
        seen = self.seen[rows]
        lag = self.n_steps - seen
        if not lag.any():
            return
        log_decay, drift, weighted = self.table.take(seen, axis=1)
        decay = np.exp(self.table[0, self.n_steps] - log_decay)
        fading = np.exp(LOG_BETAS * lag)
        missed = np.stack([decay, decay * drift, weighted / drift, *fading])
        weights, mean, square = tensors
        factors = torch.from_numpy(missed).to(weights)
        factors = factors.view(5, -1, *[1] * (weights.ndim - 1))
        decay, drift, eps, mean_fading, square_fading = factors
        smallest = torch.finfo(square.dtype).tiny  # torch takes long over the root of 0
        root = square.clamp(min=smallest).sqrt_().add_(eps).div_(drift)  # may be inf
        weights.mul_(decay).addcdiv_(mean, root, value=-1)
        mean.mul_(mean_fading)
        square.mul_(square_fading)


def _write(tensor: Tensor, rows: Tensor, values: Tensor) -> None:
    if tensor.is_cpu:  # index_copy_ takes twice as long
        tensor.numpy()[rows.numpy()] = values.numpy()
    else:
        tensor.index_copy_(0, rows, values)


def _with_strides_of(parameter: Tensor, tensor: Tensor) -> Tensor:
    if tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter).copy_(tensor)


def _contiguous(tensor: Tensor) -> Tensor:
    """The tensor, or its transpose, which the kernel does not have to copy."""
    return tensor if tensor.is_contiguous() else tensor.T


def _can_lag(parameter: Tensor, group: dict[str, Any]) -> bool:
    return (
        parameter.numel() >= MIN_SIZE
        and tuple(group["betas"]) == BETAS  # some schedulers cycle them
        and group["lr"] * group["weight_decay"] <= LARGEST_DECAY
    )


def _update(group: dict[str, Any], entries: list[tuple[Tensor, ...]]) -> None:
    """Update (weights, gradient, mean, square, step) of each entry in place.

    By AdamW's kernel: what AdamW does around it takes as long for small networks.
    """
    columns = zip(*(map(_contiguous, entry) for entry in entries))
    weights, gradients, means, squares, steps = map(list, columns)
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
    all other rows. The result is that of dense AdamW: read rows by `check_out`, and the
    parameter or its ``state`` after `refresh`. Hooks on `step` are not called.

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

    # torch would import its compiler, which takes a second and is not used here
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)

    # torch's takes a closure; gradients are there when it is called here
    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take one step, with the gradients that parameters have."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                _update(group, [self._entry(p, group) for p in parameters])

    # torch would wrap `step` for hooks and profilers, a quarter of a small step's time,
    # unless it has this mark, which its types do not know
    step.hooked = True  # type: ignore[attr-defined]

    def check_out(self, parameter: Tensor, rows: Tensor) -> Tensor:
        """A copy of rows of a parameter, up to date, to be read until the next step.

        Steps change the copy: the parameter has these rows once others, or all, are
        asked for.

        Parameters
        ----------
        parameter : Tensor of shape (n_rows, ...)
        rows : Tensor of shape (n,), dtype=int64
            Distinct ones.

        Returns
        -------
        Tensor of shape (n, ...)
        """
        if parameter.numel() < MIN_SIZE:
            return parameter.detach().index_select(0, rows)
        return self._lag(parameter).check_out(rows)[0]

    def refresh(self, parameter: Tensor) -> None:
        """Bring all rows of a parameter and its ``state`` up to date.

        Parameters
        ----------
        parameter : Tensor of shape (n_rows, ...)
        """
        if parameter in self._lags:
            lag = self._lags[parameter]
            if lag.state is self.state[parameter]:  # not restored from outside
                lag.refresh()
            del self._lags[parameter]

    def _lag(self, parameter: Tensor) -> _Lag:
        state = self.state[parameter] or self._new_state(parameter)
        lag = self._lags.get(parameter)
        if lag is None or lag.state is not state:
            lag = self._lags[parameter] = _Lag(parameter, state)
        return lag

    def _entry(self, parameter: Tensor, group: dict[str, Any]) -> tuple[Tensor, ...]:
        """What `_update` is to change: the parameter, or rows that are worked on."""
        gradient = parameter.grad
        assert gradient is not None
        if gradient.is_sparse and _can_lag(parameter, group):
            gradient = gradient.coalesce()
            if self._lag(parameter).n_steps == LONGEST_LAG:
                self.refresh(parameter)
            lag = self._lag(parameter)
            weights, *moments = lag.check_out(gradient.indices()[0])
            lag.add_step(group["lr"], group["weight_decay"], group["eps"])
            return weights, gradient.values().contiguous(), *moments, lag.state["step"]
        self.refresh(parameter)
        state = self.state[parameter] or self._new_state(parameter)
        # The kernel walks through memory and takes equal strides for granted
        gradient = _with_strides_of(parameter, gradient.to_dense())
        for key in ("exp_avg", "exp_avg_sq"):
            state[key] = _with_strides_of(parameter, state[key])
        return parameter, gradient, *_moments(state), state["step"]

    def _new_state(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
