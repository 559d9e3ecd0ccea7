"""AdamW on sparse gradients against torch's AdamW on dense ones."""

import copy
import math

import pytest
import torch
from torch import nn

from mtrl_sklearn import _lazy_adamw
from mtrl_sklearn._lazy_adamw import LazyAdamW

N_ROWS, N_STEPS = 60, 120
SHAPES = [(N_ROWS, 3), (N_ROWS,)]


@pytest.fixture(autouse=True)
def _rows_always_pay(monkeypatch):
    monkeypatch.setattr(_lazy_adamw, "STEP_COST", -math.inf)


def densify(monkeypatch):
    monkeypatch.setattr(_lazy_adamw, "STEP_COST", math.inf)


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

    def step(self, rows, values, refresh=True):
        if refresh:
            self.optimizer.refresh(self.lazy, rows)
            lazy, dense = self.lazy[rows], self.dense[rows]
            assert torch.allclose(lazy, dense, rtol=1e-9, atol=1e-12)
        self.lazy.grad = sparse(self.lazy, rows, values)
        self.dense.grad = torch.zeros_like(self.dense)
        self.dense.grad[rows] = values.to(self.dense)
        self.optimizer.step()
        self.reference.step()

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


@pytest.mark.parametrize("refresh", [True, False])
@pytest.mark.parametrize("decay", [0, 10])
@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_gradients_stand_for_dense_ones(shape, decay, refresh):
    pair = Pair(weights(shape), decay=decay)
    for rows, values in touches(shape, n_steps=300):
        pair.step(rows, values, refresh)
    lagging = pair.lazy.clone()
    pair.optimizer.refresh(pair.lazy)
    assert (lagging != pair.lazy).any()
    pair.assert_close()
    pair.assert_states_close()


@pytest.mark.parametrize("scale", [1e-2, 1e-3, 1e-4, 1e-8, 1e-12])
def test_small_gradients_are_as_close_as_eps_permits(scale):
    pair = Pair(torch.zeros(N_ROWS, 3, dtype=torch.float64))
    for rows, values in touches((N_ROWS, 3)):
        pair.step(rows, scale * values.sign(), refresh=False)
    pair.optimizer.refresh(pair.lazy)
    error = (pair.lazy - pair.dense).abs().max() / pair.dense.abs().max()
    assert error < min((1e-8 / scale) ** 2 + 1e-14, 0.02)
    pair.assert_states_close()


def test_float32():
    pair = Pair(weights((N_ROWS, 3), torch.float32), decay=1)
    for rows, values in touches((N_ROWS, 3)):
        pair.step(rows, values, refresh=False)
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


def test_the_cheaper_way_changes_nothing(monkeypatch):
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    for k, (rows, values) in enumerate(touches((N_ROWS, 3))):
        with monkeypatch.context() as context:
            if k // 10 % 2:
                densify(context)
            pair.step(rows, values)
            if k // 10 % 2:
                pair.assert_close()
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
        pair.step(torch.arange(0), torch.ones(0, 3), refresh=False)
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
    monkeypatch.setattr(_lazy_adamw, "BLOCK_SIZE", 25)
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
        pair.optimizer.refresh(pair.lazy, rows)
        for other in others:
            for _ in range(2):
                pair.optimizer.refresh(pair.lazy, other)
                assert torch.allclose(pair.lazy[other], pair.dense[other], 1e-9)
        pair.step(rows, values, refresh=False)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_states_close()


def test_refresh_does_not_keep_a_hand_on_the_rows_it_was_given():
    pair = Pair(weights((N_ROWS, 3)))
    for rows, values in touches((N_ROWS, 3), n_steps=50):
        buffer = rows.clone()
        pair.optimizer.refresh(pair.lazy, buffer)
        buffer.zero_()
        pair.step(rows, values, refresh=False)
    pair.optimizer.refresh(pair.lazy)
    pair.assert_close()
    pair.assert_states_close()


def test_rows_are_brought_up_to_date_once_per_step(monkeypatch):
    calls = []
    catch_up = _lazy_adamw._catch_up
    monkeypatch.setattr(
        _lazy_adamw, "_catch_up", lambda *args: (calls.append(1), catch_up(*args))
    )
    pair = Pair(weights((N_ROWS, 3)))
    rows, values = torch.arange(0, N_ROWS, 7), torch.ones(9, 3)
    pair.step(torch.tensor([1]), torch.ones(1, 3))
    assert len(calls) == 0
    pair.optimizer.refresh(pair.lazy, rows)
    for _ in range(3):
        pair.step(rows, values)
    assert len(calls) == 1


def test_an_interrupted_refresh_goes_on_where_it_stopped(monkeypatch):
    monkeypatch.setattr(_lazy_adamw, "BLOCK_SIZE", 25)
    pair = Pair(weights((N_ROWS, 3)), decay=3)
    for rows, values in touches((N_ROWS, 3), n_steps=20):
        pair.step(rows, values)
    catch_up = _lazy_adamw._catch_up

    def interrupt(rows, *args):
        if torch.equal(rows, pair.lazy[16:24]):
            raise KeyboardInterrupt
        catch_up(rows, *args)

    with monkeypatch.context() as context:
        context.setattr(_lazy_adamw, "_catch_up", interrupt)
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
    pair.optimizer.refresh(pair.lazy, rows)
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


def test_a_closure_sets_the_gradient():
    parameter = nn.Parameter(torch.ones(3))
    optimizer = LazyAdamW([parameter], lr=0.1, weight_decay=0)

    def closure():
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(5)]
    assert losses[0] == 3
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("shape", "n_touched", "rows_pay"),
    [
        ((100_000, 128), 512, True),
        ((100_000, 128), 50_000, False),
        ((100, 16), 1, False),
        ((10_000,), 100, False),
    ],
)
def test_the_cheaper_way_is_taken(monkeypatch, shape, n_touched, rows_pay):
    monkeypatch.undo()
    parameter = nn.Parameter(torch.empty(shape))
    values = torch.empty(n_touched, *shape[1:])
    gradient = sparse(parameter, torch.arange(n_touched), values)
    group = LazyAdamW([parameter]).param_groups[0]
    assert _lazy_adamw._is_worth_it(gradient, group) == rows_pay
