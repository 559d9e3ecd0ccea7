"""AdamW on sparse gradients against torch's AdamW on dense ones."""

import copy
import math

import pytest
import torch
from torch import nn

from mtrl_sklearn._arrays import rows as _rows
from mtrl_sklearn._training import adamw as _lazy_adamw
from mtrl_sklearn._training.adamw import LazyAdamW

N_ROWS, N_STEPS = 60, 120
SHAPES = [(N_ROWS, 3), (N_ROWS,)]


@pytest.fixture(autouse=True)
def _all_parameters_may_lag(monkeypatch):
    monkeypatch.setattr(_lazy_adamw, "MIN_SIZE", 0)


def sparse(parameter, rows, values):
    return torch.sparse_coo_tensor(
        rows[None],
        values.to(parameter),
        parameter.shape,
        is_coalesced=True,
        check_invariants=False,
    )


def touches(shape, n_steps=N_STEPS):
    """Rows and gradients of each step: a third of the rows often, a third almost never.

    The last rows are not touched at all, row 1 has gradients of 0 only.
    """
    generator = torch.Generator().manual_seed(0)
    probability = torch.tensor([0.3, 0.02, 0.004]).repeat_interleave(N_ROWS // 3)
    probability[-5:] = 0
    for _ in range(n_steps):
        drawn = torch.rand(N_ROWS, generator=generator)
        rows = (drawn < probability).nonzero()[:, 0]
        size = (len(rows), *shape[1:])
        values = torch.randn(size, generator=generator, dtype=torch.float64)
        values[rows == 1] = 0
        yield rows, values


def weights(shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


class Pair:
    """A lazy and a dense optimiser of the same parameter."""

    def __init__(self, start, lr=0.01, decay=0.0):
        self.lazy, self.dense = nn.Parameter(start.clone()), nn.Parameter(start.clone())
        self.optimizer = LazyAdamW([self.lazy], lr=lr, weight_decay=decay)
        self.reference = torch.optim.AdamW([self.dense], lr=lr, weight_decay=decay)

    def step(self, rows, values, read=True):
        if read:
            self.assert_rows_close(rows)
        self.lazy.grad = sparse(self.lazy, rows, values)
        self.dense.grad = torch.zeros_like(self.dense)
        self.dense.grad[rows] = values.to(self.dense)
        self.optimizer.step()
        self.reference.step()

    def assert_rows_close(self, rows):
        lazy = self.optimizer.check_out(self.lazy, rows)
        assert torch.allclose(lazy, self.dense[rows], rtol=1e-9, atol=1e-12)

    def assert_close(self, rtol=1e-9, atol=1e-12):
        torch.testing.assert_close(self.lazy, self.dense, rtol=rtol, atol=atol)

    def assert_states_close(self, rtol=1e-10):
        lazy, dense = self.optimizer.state[self.lazy], self.reference.state[self.dense]
        assert lazy.keys() == dense.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for key, value in dense.items():
            torch.testing.assert_close(lazy[key], value, rtol=rtol, atol=1e-100)


def restored(state):
    """A state that went through arrays, which are contiguous."""
    order = torch.contiguous_format
    return {key: value.clone(memory_format=order) for key, value in state.items()}


@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("decay", [0, 10])
@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_gradients_stand_for_dense_ones(shape, decay, read):
    pair = Pair(weights(shape), decay=decay)
    for rows, values in touches(shape, n_steps=300):
        pair.step(rows, values, read)
    lagging = pair.lazy.clone()
    pair.optimizer.refresh(pair.lazy)
    assert (lagging != pair.lazy).any()
    pair.assert_close()
    pair.assert_states_close()


@pytest.mark.parametrize("scale", [1e-2, 1e-3, 1e-4, 1e-8, 1e-12])
def test_small_gradients_are_as_close_as_eps_permits(scale):
    pair = Pair(torch.zeros(N_ROWS, 3, dtype=torch.float64))
    for rows, values in touches((N_ROWS, 3)):
        pair.step(rows, scale * values.sign(), read=False)
    pair.optimizer.refresh(pair.lazy)
    error = (pair.lazy - pair.dense).abs().max() / pair.dense.abs().max()
    assert error < min((1e-8 / scale) ** 2 + 1e-14, 0.02)
    pair.assert_states_close()


def test_float32():
    pair = Pair(weights((N_ROWS, 3), torch.float32), decay=1)
    for rows, values in touches((N_ROWS, 3)):
        pair.step(rows, values, read=False)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close(rtol=1e-4, atol=1e-6)
    pair.assert_states_close(rtol=1e-4)


def test_rows_without_any_gradient_only_decay():
    pair = Pair(weights((N_ROWS, 3)), lr=0.01, decay=2)
    for rows, values in touches((N_ROWS, 3)):
        pair.step(rows, values)
    pair.optimizer.refresh(pair.lazy)
    idle = torch.cat([torch.arange(1, 2), torch.arange(N_ROWS - 5, N_ROWS)])
    expected = 0.98**N_STEPS * weights((N_ROWS, 3))[idle]
    torch.testing.assert_close(pair.lazy.detach()[idle], expected)


SCHEDULERS = {
    "warm-up from 0, cosine": lambda optimizer: torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(k / 30, 0.5 + 0.5 * math.cos(math.pi * k / N_STEPS))
    ),
    "steps": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 25, 0.2),
    "with momentum": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.05, total_steps=N_STEPS + 1
    ),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_learning_rates_may_be_scheduled(scheduler):
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    optimizers = pair.optimizer, pair.reference
    schedulers = [SCHEDULERS[scheduler](optimizer) for optimizer in optimizers]
    for rows, values in touches((N_ROWS, 3)):
        pair.step(rows, values)
        for schedule in schedulers:
            schedule.step()
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()


@pytest.mark.parametrize("lags", [False, True])
def test_only_large_parameters_lag(monkeypatch, lags):
    monkeypatch.setattr(_lazy_adamw, "MIN_SIZE", 3 * N_ROWS + (not lags))
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    for rows, values in touches((N_ROWS, 3), n_steps=50):
        pair.step(rows, values)
        pair.assert_rows_close(rows)
    assert torch.allclose(pair.lazy, pair.dense) != lags
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()


def test_betas_may_be_cycled_for_a_while():
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    for k, (rows, values) in enumerate(touches((N_ROWS, 3))):
        for optimizer in (pair.optimizer, pair.reference):
            optimizer.param_groups[0]["betas"] = (0.8 if k // 10 % 2 else 0.9, 0.999)
        pair.step(rows, values)
        pair.assert_rows_close(rows)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()


@pytest.mark.parametrize("decay", [50, 99, 100, 150])  # times a learning rate of 0.01
def test_the_strongest_decay(decay):
    pair = Pair(weights((N_ROWS, 3)), decay=decay)
    for rows, values in touches((N_ROWS, 3), n_steps=100):
        pair.step(rows, values)
    pair.optimizer.refresh(pair.lazy)
    assert pair.lazy.isfinite().all()
    pair.assert_close()


def test_weights_that_decay_below_all_numbers():
    pair = Pair(weights((N_ROWS, 3)), decay=50)
    pair.step(torch.arange(9), torch.ones(9, 3))
    for _ in range(1200):
        pair.step(torch.arange(0), torch.ones(0, 3), read=False)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()


def test_dense_gradients_between_sparse_ones():
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    for k, (rows, values) in enumerate(touches((N_ROWS, 3))):
        pair.step(rows, values)
        if k % 30 == 29:
            pair.lazy.grad = weights((N_ROWS, 3))
            pair.dense.grad = weights((N_ROWS, 3))
            pair.optimizer.step()
            pair.reference.step()
            pair.assert_close()
            pair.assert_states_close()


def test_lags_longer_than_what_is_kept(monkeypatch):
    monkeypatch.setattr(_lazy_adamw, "LONGEST_LAG", 7)
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    for rows, values in touches((N_ROWS, 3)):
        pair.step(rows, values)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()


def test_all_rows_in_several_blocks(monkeypatch):
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 25)
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    for rows, values in touches((N_ROWS, 3), n_steps=50):
        pair.step(rows, values)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()


def test_rows_may_be_read_without_a_step_and_more_than_once():
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    others = torch.arange(N_ROWS - 10, N_ROWS - 4), torch.arange(0, N_ROWS, 3)
    for rows, values in touches((N_ROWS, 3)):
        pair.assert_rows_close(rows)
        for other in others:
            for _ in range(2):
                pair.assert_rows_close(other)
        pair.step(rows, values, read=False)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_states_close()


def test_rows_are_read_after_each_of_several_steps():
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    for rows, values in touches((N_ROWS, 3), n_steps=50):
        for k in range(3):
            pair.step(rows, values * (k - 1), read=False)
            pair.assert_rows_close(rows)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()


def test_gradients_need_not_be_sorted_nor_of_distinct_rows():
    pair = Pair(weights((N_ROWS, 3)))
    for rows, values in touches((N_ROWS, 3), n_steps=50):
        pair.assert_rows_close(rows)
        twice, halves = rows.flip(0).repeat(2), values.flip(0).repeat(2, 1) / 2
        gradient = torch.sparse_coo_tensor(
            twice[None], halves, pair.lazy.shape, check_invariants=True
        )
        pair.lazy.grad = gradient
        pair.dense.grad = gradient.to_dense()
        pair.optimizer.step()
        pair.reference.step()
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()


def test_check_out_does_not_keep_a_hand_on_the_rows_it_was_given():
    pair = Pair(weights((N_ROWS, 3)))
    for rows, values in touches((N_ROWS, 3), n_steps=50):
        buffer = rows.clone()
        pair.optimizer.check_out(pair.lazy, buffer)
        buffer.zero_()
        pair.step(rows, values, read=False)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()


def test_rows_are_copied_and_written_once_for_steps_on_the_same_ones(monkeypatch):
    calls = []
    catch_up, write = _lazy_adamw._Lag.catch_up, _lazy_adamw._write

    def count(name, function):
        return lambda *args: (calls.append(name), function(*args))

    monkeypatch.setattr(_lazy_adamw._Lag, "catch_up", count("read", catch_up))
    monkeypatch.setattr(_lazy_adamw, "_write", count("write", write))
    pair = Pair(weights((N_ROWS, 3)))
    rows, values = torch.arange(0, N_ROWS, 7), torch.ones(9, 3)
    for _ in range(3):
        pair.step(rows, values)
        pair.assert_rows_close(rows)
    assert calls == ["read"]
    pair.step(torch.tensor([1]), torch.ones(1, 3))
    assert calls == ["read"] + ["write"] * 3 + ["read"]


def test_an_interrupted_refresh_goes_on_where_it_stopped(monkeypatch):
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 25)
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    for rows, values in touches((N_ROWS, 3), n_steps=20):
        pair.step(rows, values)
    catch_up = _lazy_adamw._Lag.catch_up

    def interrupt(lag, tensors, rows):
        if rows == slice(16, 24):
            raise KeyboardInterrupt
        catch_up(lag, tensors, rows)

    with monkeypatch.context() as context:
        context.setattr(_lazy_adamw._Lag, "catch_up", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pair.optimizer.refresh(pair.lazy)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()


def test_a_step_leaves_other_rows_alone_and_a_refresh_nothing_to_do():
    pair = Pair(weights((N_ROWS, 3)), decay=1)
    rows = torch.tensor([3, 5])
    pair.step(rows, torch.ones(2, 3))
    others = torch.ones(N_ROWS, dtype=torch.bool)
    others[rows] = False
    assert torch.equal(pair.lazy[others], weights((N_ROWS, 3))[others])
    pair.optimizer.refresh(pair.lazy)
    assert (pair.lazy != weights((N_ROWS, 3))).all()
    after = pair.lazy.detach().clone()
    pair.optimizer.refresh(pair.lazy)
    assert torch.equal(pair.optimizer.check_out(pair.lazy, rows), after[rows])
    assert torch.equal(pair.lazy, after)


def test_a_gradient_without_rows_is_a_step():
    pair = Pair(weights((N_ROWS, 3)), decay=1)
    pair.step(torch.arange(9), torch.ones(9, 3))
    for _ in range(3):
        pair.step(torch.arange(0), torch.ones(0, 3))
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()


@pytest.mark.parametrize("way", ["entry", "state_dict"])
@pytest.mark.parametrize("other", [LazyAdamW, torch.optim.AdamW])
def test_training_goes_on_from_an_exported_state(other, way):
    whole = Pair(weights((N_ROWS, 3)), decay=3)
    steps = list(touches((N_ROWS, 3)))
    for rows, values in steps[:60]:
        whole.step(rows, values)
    whole.optimizer.refresh(whole.lazy)

    resumed = Pair(whole.lazy.detach(), decay=3)
    resumed.optimizer = other([resumed.lazy], lr=0.01, weight_decay=3)
    for rows, values in steps[:20]:  # to be forgotten
        if other is LazyAdamW:
            resumed.step(rows, values)
    with torch.no_grad():
        resumed.lazy.copy_(whole.lazy)
    if way == "entry":
        state = restored(whole.optimizer.state[whole.lazy])
        resumed.optimizer.state[resumed.lazy] = state
    else:
        state = copy.deepcopy(whole.optimizer.state_dict())
        resumed.optimizer.load_state_dict(state)

    for rows, values in steps[60:]:
        whole.step(rows, values)
        if other is LazyAdamW:
            resumed.lazy.grad = sparse(resumed.lazy, rows, values)
        else:
            resumed.lazy.grad = sparse(resumed.lazy, rows, values).to_dense()
        resumed.optimizer.step()
    whole.optimizer.refresh(whole.lazy)
    if other is LazyAdamW:
        resumed.optimizer.refresh(resumed.lazy)
    torch.testing.assert_close(resumed.lazy, whole.lazy, rtol=1e-9, atol=1e-12)
    whole.assert_close()


def network(dtype=torch.float32):
    """Two matrices that decay and two vectors that do not, as in the estimators."""
    shapes = [(16, 9), (5, 16), (16,), (5,)]
    parameters = [nn.Parameter(weights(shape, dtype)) for shape in shapes]
    return parameters, [
        {"params": parameters[:2], "weight_decay": 0.5},
        {"params": parameters[2:], "weight_decay": 0},
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dense_gradients_give_the_same_bits_as_torch(dtype):
    ours, our_groups = network(dtype)
    theirs, their_groups = network(dtype)
    optimizer = LazyAdamW(our_groups, lr=0.01)
    reference = torch.optim.AdamW(their_groups, lr=0.01, fused=True)
    generator = torch.Generator().manual_seed(0)
    for k in range(20):
        for i, (mine, other) in enumerate(zip(ours, theirs)):
            gradient = torch.randn(mine.shape, generator=generator, dtype=dtype)
            mine.grad = other.grad = None if i == k % 5 else gradient
        optimizer.step()
        reference.step()
    for mine, other in zip(ours, theirs):
        assert torch.equal(mine, other)
        state, expected = optimizer.state[mine], reference.state[other]
        assert state.keys() == expected.keys()
        for key in state:
            assert torch.equal(state[key], expected[key])
            assert state[key].dtype == expected[key].dtype
    assert [group.keys() for group in optimizer.param_groups] == [
        group.keys() for group in reference.param_groups
    ]


@pytest.mark.parametrize("gradients", ["strided", "contiguous", "sparse", "mixed"])
def test_strided_parameters(gradients):
    start = weights((N_ROWS, 3)).T.contiguous().T
    pair = Pair(start)
    pair.lazy = nn.Parameter(torch.empty(3, N_ROWS, dtype=torch.float64).T)
    with torch.no_grad():
        pair.lazy.copy_(start)
    assert pair.lazy.stride() == (1, N_ROWS)
    pair.dense = nn.Parameter(start.contiguous())
    pair.optimizer = LazyAdamW([pair.lazy], lr=0.01, weight_decay=1)
    pair.reference = torch.optim.AdamW([pair.dense], lr=0.01, weight_decay=1)
    for k, (rows, values) in enumerate(touches((N_ROWS, 3), n_steps=60)):
        if gradients == "sparse" or (gradients == "mixed" and k % 3):
            pair.step(rows, values.T.contiguous().T)
            continue
        gradient = weights((N_ROWS, 3)).cos() + k
        pair.dense.grad = gradient
        if gradients == "strided":
            gradient = gradient.T.contiguous().T
        pair.lazy.grad = gradient
        pair.optimizer.step()
        pair.reference.step()
        if k == 30:
            pair.optimizer.refresh(pair.lazy)
            state = pair.optimizer.state[pair.lazy] = restored(
                pair.optimizer.state[pair.lazy]
            )
            assert state["exp_avg"].is_contiguous()
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()
