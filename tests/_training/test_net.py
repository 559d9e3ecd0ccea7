"""One update against autograd and torch's AdamW; stopping; state."""

import numpy as np
import pytest
import torch

from mtrl_sklearn._arrays.rows import RowDataset, Rows
from mtrl_sklearn._group import BatchPart
from mtrl_sklearn._relu import descent as _relu_descent
from mtrl_sklearn._relu.descent import MultiTaskNet
from mtrl_sklearn._relu.gradients import dropout_
from mtrl_sklearn._relu.network import TwoLayerReLU
from mtrl_sklearn._training.callbacks import StopOnPlateau, ValidationScore
from mtrl_sklearn._training.losses import MultiTaskLoss
from mtrl_sklearn._training.net import BatchIterator, train

LEARNING_RATE, WEIGHT_DECAY = 0.01, 0.7


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    signs = torch.randint(-1, 2, (40, 3), generator=generator, dtype=torch.int8)
    return RowDataset(Rows(X), Rows(signs))


def make_module():
    module = TwoLayerReLU(5, 8, 3, torch.float64)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)
        module.input_mean.fill_(0.1)
        module.input_scale.fill_(2.0)
    return module


def make_net(module, algorithm="alternating", dropout=0.0, **settings):
    defaults = {"batch_size": 100, "max_epochs": 1, "callbacks": []}
    return MultiTaskNet(
        module,
        MultiTaskLoss("logistic", torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)),
        algorithm=algorithm,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        dropout=dropout,
        generator=torch.Generator().manual_seed(2),
        device="cpu",
        **{**defaults, **settings},
    ).initialize()


def reference(module, X, signs, groups, mask):
    """Update groups of parameters in turn, by autograd."""
    matrices = [module.hidden_weights, module.task_coef]
    biases = [module.hidden_biases, module.task_intercept]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": WEIGHT_DECAY},
            {"params": biases, "weight_decay": 0.0},
        ],
        lr=LEARNING_RATE,
    )
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    hidden = None
    for names in groups:
        if hidden is None or "hidden_weights" in names:
            hidden = module.hidden(X) * mask
        scores = hidden @ module.task_coef.T + module.task_intercept
        losses = torch.nn.functional.softplus(-signs * scores) * signs.abs() * weights
        optimizer.zero_grad()
        (losses.sum() / len(X)).backward(retain_graph=True)
        for name, parameter in module.named_parameters():
            if name not in names:
                parameter.grad = None
        optimizer.step()
    return module


HEADS = ("task_coef", "task_intercept")
LAYER = ("hidden_weights", "hidden_biases")


@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize(
    ("algorithm", "groups"),
    [
        ("joint", [HEADS + LAYER]),
        ("alternating", [HEADS, LAYER]),
    ],
)
def test_an_update_is_that_of_autograd_and_adamw(
    data, monkeypatch, algorithm, groups, rate
):
    X, signs = data.take(slice(None))
    kept = torch.rand(40, 8, generator=torch.Generator().manual_seed(3)) > rate
    mask = kept / (1 - rate)
    monkeypatch.setattr(
        _relu_descent, "dropout_", lambda hidden, *others: hidden * mask
    )
    net = make_net(make_module(), algorithm, rate)
    train(net, data, 0)
    expected = reference(make_module(), X, signs, groups, mask)
    for (name, a), b in zip(net.module_.named_parameters(), expected.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=name)


def test_rows_are_shuffled_anew_in_each_epoch_and_all_are_visited():
    rows = torch.arange(23)
    dataset = RowDataset(Rows(rows))
    slices = BatchIterator(dataset, 5, torch.Generator().manual_seed(0))
    epochs = [[batch for (batch,) in slices] for _ in range(2)]
    for batches in epochs:
        assert len(batches) == len(slices) == 5
        assert {len(batch) for batch in batches} == {4, 5}
        assert torch.equal(torch.cat(batches).sort().values, rows)
    first, second = (torch.cat(batches) for batches in epochs)
    assert not torch.equal(first, second)
    assert not torch.equal(first, rows)


def test_one_batch_is_the_data_in_its_own_order():
    rows = torch.arange(7)
    slices = BatchIterator(RowDataset(Rows(rows)), 7, torch.Generator())
    ((batch,),) = slices
    assert batch.data_ptr() == rows.data_ptr()
    assert torch.equal(batch, rows)


def test_copies_of_a_row_are_in_one_batch_and_count_as_one():
    inputs = torch.tensor([2, 0, 5, 2, 1, 1, 3, 4, 2, 6, 0])
    dataset = RowDataset(Rows(torch.arange(11)), inputs=BatchPart(7, inputs))
    slices = BatchIterator(dataset, 3, torch.Generator().manual_seed(0))
    for _ in range(2):
        batches = list(slices)
        assert len(batches) == len(slices) == 3
        assert sorted(batch.part.n_rows for batch in batches) == [2, 2, 3]
        assert sorted(torch.cat([rows for (rows,) in batches]).tolist()) == [*range(11)]
        for batch in batches:
            (rows,) = batch
            pairs = {*zip(inputs[rows].tolist(), batch.part.places.tolist())}
            assert sorted(place for _, place in pairs) == [*range(batch.part.n_rows)]
            assert len({number for number, _ in pairs}) == batch.part.n_rows
    (whole,) = BatchIterator(dataset, 7, torch.Generator())
    assert whole.part.n_rows == 7
    assert torch.equal(whole.part.places, inputs)


def test_copies_of_a_row_are_dropped_alike():
    generator = torch.Generator().manual_seed(0)
    part = BatchPart(3, torch.tensor([2, 0, 2, 1, 0]))
    dropped = dropout_(torch.ones(5, 200), 0.5, generator, part)
    assert torch.equal(dropped[0], dropped[2])
    assert torch.equal(dropped[1], dropped[4])
    generator.manual_seed(0)
    alone = dropout_(torch.ones(3, 200), 0.5, generator)
    assert torch.equal(dropped, alone[part.places])
    assert not torch.equal(alone[0], alone[1])


def test_dropout_takes_part_in_training(data):
    module, with_dropout = make_module(), make_module()
    train(make_net(module), data, 0)
    train(make_net(with_dropout, dropout=0.5), data, 0)
    assert not torch.equal(module.hidden_weights, with_dropout.hidden_weights)


@pytest.mark.parametrize(("tol", "n_epochs"), [(0.1, 5), (0.0, 9)])
def test_plateau_is_relative_to_tol(data, monkeypatch, tol, n_epochs):
    losses = iter([1.0, 0.5, 0.49, 0.48, 0.47, 0.46, 0.46, 0.46, 0.46, 0.46])
    plateau = StopOnPlateau("stub", tol, 3)
    record = type("Record", (StopOnPlateau,), {})("train_loss", 0, 10**6)
    record.on_epoch_end = lambda net, **kwargs: net.history.record("stub", next(losses))
    net = make_net(make_module(), max_epochs=10, callbacks=[record, plateau])
    log = train(net, data, 0)
    assert plateau.converged_
    assert len(log.loss_curve) == n_epochs


def test_a_loss_of_zero_has_settled(data):
    plateau = StopOnPlateau("validation_error", 0.01, 2)
    callbacks = [ValidationScore(lambda module: 1.0), plateau]
    log = train(make_net(make_module(), max_epochs=9, callbacks=callbacks), data, 0)
    assert len(log.loss_curve) == 3


def test_training_ends_in_the_state_of_the_best_epoch(data):
    scores = iter([0.5, 0.9, 0.7, 0.8])
    snapshots = []

    def score(module):
        snapshots.append(module.hidden_weights.detach().clone())
        return next(scores)

    net = make_net(make_module(), max_epochs=4, callbacks=[ValidationScore(score)])
    log = train(net, data, 0)
    assert torch.equal(net.module_.hidden_weights, snapshots[1])
    np.testing.assert_array_equal(log.validation_scores, [0.5, 0.9, 0.7, 0.8])
    steps = [int(s["step"]) for s in net.optimizer_.state.values()]
    assert steps == [2] * 4


def test_state_survives_as_arrays(data):
    net = make_net(make_module(), dropout=0.5, batch_size=10)
    train(net, data, 0)
    arrays = net.export()
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    other = make_net(TwoLayerReLU(5, 8, 3, torch.float64), dropout=0.5, batch_size=10)
    other.restore(arrays)
    net.max_epochs += 1  # those in its history count
    train(net, data, 0)
    train(other, data, 0)
    for a, b in zip(net.module_.parameters(), other.module_.parameters()):
        assert torch.equal(a, b)


def test_random_state_of_another_device_is_left_out(data):
    net = make_net(make_module())
    train(net, data, 0)
    arrays = net.export() | {"generator": np.zeros(16, dtype=np.uint8)}
    net.restore(arrays)
