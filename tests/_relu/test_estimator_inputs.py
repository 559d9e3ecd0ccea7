"""Inputs and labels of other kinds: sparse, mapped, of small numbers, many tasks."""

import warnings

import numpy as np
import pytest
import torch
from memory import growth_of_memory, needs_status
from relu_cases import (
    ALGORITHMS,
    make,
    quick,
    subspace_rows,
    train_no_small_networks,
)
from scipy import sparse
from skorch.callbacks import Callback, GradientNormClipping

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn._arrays import precision as _precision
from mtrl_sklearn._labels import signs as _signs
from mtrl_sklearn._relu import descent as _relu_descent
from mtrl_sklearn._relu.input_scale import input_statistics
from mtrl_sklearn._training import adamw as _lazy_adamw

ARRAYS = ["hidden_weights_", "hidden_biases_", "task_coef_", "task_intercept_"]
EARLY = {"early_stopping": True, "validation_fraction": 0.3}


@pytest.fixture
def data():
    X, Y = subspace_rows()
    X[np.abs(X) < 1] = 0
    return X, Y


def assert_same(first, second, rtol=1e-7, atol=1e-9):
    for name in ARRAYS:
        a, b = getattr(first, name), getattr(second, name)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)
    np.testing.assert_allclose(first.loss_curve_, second.loss_curve_, rtol=rtol)


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix])
def test_sparse_inputs_give_what_dense_ones_give(data, algorithm, container):
    X, Y = data
    X += 2 * (X != 0)  # a mean that centring has to take away
    parameters = {"algorithm": algorithm, "batch_size": 40, **EARLY}
    dense, other = (make(**parameters).fit(rows, Y) for rows in (X, container(X)))
    assert_same(dense, other)
    if algorithm != "one_step":
        np.testing.assert_allclose(dense.validation_scores_, other.validation_scores_)
    for model in (dense, other):
        model.partial_fit(X[:50], Y[:50])
    assert_same(dense, other)
    for output in ("hidden", "projection", "scores"):
        dense.set_params(output=output)
        np.testing.assert_allclose(
            dense.transform(container(X)), dense.transform(X), rtol=1e-7, atol=1e-9
        )
    assert other.score(container(X), Y) == pytest.approx(dense.score(X, Y))


@quick
@needs_status
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sparse_inputs_are_never_densified(algorithm):
    n_samples, n_features = 2000, 100_000
    rng = np.random.default_rng(0)
    X = sparse.random_array(
        (n_samples, n_features), density=5e-4, format="csr", rng=rng, dtype=np.float32
    )
    Y = rng.integers(0, 2, (n_samples, 3))
    model = make(algorithm=algorithm, n_hidden=4, max_iter=1, batch_size=100)
    model.fit(X[:100], Y[:100])
    with growth_of_memory() as growth:
        model.fit(X, Y).transform(X)
    dense = 4 * n_samples * n_features
    assert growth.peak < dense / 8


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "float16"])
def test_small_numbers_are_read_as_they_are(data, algorithm, dtype):
    X, Y = data
    X = (X > 0).astype(dtype)
    model = make(algorithm=algorithm, **EARLY).fit(X, Y)
    expected = make(algorithm=algorithm, **EARLY).fit(X.astype(np.float32), Y)
    assert_same(model, expected, rtol=1e-5, atol=1e-6)
    assert model.transform(X).dtype == np.float32


@quick
@needs_status
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_memory_maps_are_not_copied(tmp_path, algorithm):
    n_samples = 200_000
    mapped = np.memmap(tmp_path / "X", np.uint8, "w+", shape=(n_samples, 256))
    rng = np.random.default_rng(0)
    mapped[:, ::16] = rng.integers(0, 2, (n_samples, 16))
    Y = rng.integers(0, 2, (n_samples, 2)).astype(np.int8)
    model = make(algorithm=algorithm, n_hidden=8, batch_size=5000, max_iter=1)
    model.set_params(early_stopping=True).fit(mapped[:1000], Y[:1000])
    with growth_of_memory() as growth:
        model.fit(mapped, Y)
    assert growth.peak < mapped.nbytes  # a copy in float32 is four times that


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_read_only_memory_maps_give_what_arrays_give(data, tmp_path, algorithm):
    X, Y = data
    for order in "CF":
        mapped = np.memmap(tmp_path / order, X.dtype, "w+", shape=X.shape, order=order)
        mapped[:] = X
        mapped.flush()
        mapped = np.memmap(tmp_path / order, X.dtype, "r", shape=X.shape, order=order)
        models = (make(algorithm=algorithm).fit(rows, Y) for rows in (X, mapped))
        assert_same(*models)


def long_form(n_samples=1200, n_tasks=600):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, 8))
    tasks = rng.integers(0, n_tasks, n_samples)
    tasks[:n_tasks] = np.arange(n_tasks)
    scores = (X[:, :2] * rng.standard_normal((n_tasks, 2))[tasks]).sum(1)
    y = np.where(scores > 0, "yes", "no")
    return X, y, tasks


@quick
@pytest.mark.filterwarnings("ignore:.*tasks show labels of at most 1 class")
@pytest.mark.parametrize(
    ("algorithm", "n_components"),
    [("alternating", None), ("alternating", 2), ("joint", None), ("one_step", 2)],
)
def test_few_labels_of_many_tasks_give_what_the_dense_form_gives(
    monkeypatch, algorithm, n_components
):
    X, y, tasks = long_form()
    monkeypatch.setattr(_lazy_adamw, "MIN_SIZE", 0)
    models = []
    for density in (0.0, 1.0):
        monkeypatch.setattr(_signs, "MAX_DENSITY", density)
        model = make(algorithm=algorithm, n_components=n_components)
        model.set_params(batch_size=100, **EARLY).fit(X, y, tasks)
        models.append(model.partial_fit(X[:200], y[:200], tasks[:200]))
    # no rounding: steps made up for later are exact up to (eps / gradient)^2 of them
    assert_same(*models, rtol=1e-5, atol=1e-6)
    scores = [model.score(X, y, tasks) for model in models]
    assert scores[0] == pytest.approx(scores[1])
    assert scores[0] > 0.6


@quick
@needs_status
@pytest.mark.filterwarnings("ignore:.*tasks show labels of at most 1 class")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_of_the_size_of_rows_times_tasks_exists(algorithm):
    n_samples, n_tasks = 40_000, 20_000
    X, y, tasks = long_form(n_samples, n_tasks)
    model = make(algorithm=algorithm, n_hidden=4, max_iter=1, batch_size=2000)
    model.fit(X[:50], y[:50], np.arange(50) % 3)
    with growth_of_memory() as growth:
        score = model.fit(X, y, tasks).score(X, y, tasks)
    assert 0.5 < score <= 1
    assert growth.peak < n_samples * n_tasks / 8


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_precision_is_that_of_the_weights(data, algorithm):
    X, Y = data
    whole = make(algorithm=algorithm).fit(X, Y)
    assert whole.hidden_weights_.dtype == np.float64
    for precision in ("float32", "tf32"):
        model = make(algorithm=algorithm, precision=precision).fit(X, Y)
        assert model.hidden_weights_.dtype == np.float32
        assert model.transform(X).dtype == np.float64
        expected = make(algorithm=algorithm).fit(X.astype(np.float32), Y)
        # the discriminants of one step amplify rounding
        assert_same(model, expected, rtol=1e-4, atol=1e-4)
        assert model.partial_fit(X, Y).hidden_weights_.dtype == np.float32


@quick
def test_bfloat16_learns_what_float32_learns(data, monkeypatch):
    X, Y = data
    monkeypatch.setattr(_precision, "has_bfloat16_products", lambda device: True)
    float32, bfloat16 = (
        make(precision=precision, max_iter=60, tol=0).fit(X, Y)
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(float32.loss_curve_, bfloat16.loss_curve_)
    assert bfloat16.score(X, Y) == pytest.approx(float32.score(X, Y), abs=0.01)
    assert bfloat16.score(X, Y) > 0.75
    low = make(precision="bfloat16").fit(sparse.csr_array(X), Y)
    assert low.hidden_weights_.dtype == np.float32
    np.testing.assert_allclose(
        low.loss_curve_, make(precision="float32").fit(X, Y).loss_curve_, rtol=0.02
    )


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_a_fit_goes_on_in_another_precision(data, monkeypatch, algorithm, kind):
    X, Y = data
    monkeypatch.setattr(_precision, "has_bfloat16_products", lambda device: True)
    model = make(algorithm=algorithm, warm_start=True, n_components=2).fit(X, Y)
    for precision, dtype in (
        ("float32", np.float32),
        ("bfloat16", np.float32),
        ("auto", np.float32),
    ):
        model.set_params(precision=precision).fit(kind(X), Y)
        assert model.hidden_weights_.dtype == dtype
        model.partial_fit(kind(X), Y)
    assert model.score(X, Y) > 0.6


@quick
@pytest.mark.parametrize("value", [1.0, 0.1, 1e-3, 123.4])
def test_sparse_inputs_that_do_not_vary_are_no_obstacle(value):
    X = np.full((37, 5), value) * (np.arange(5) > 1)
    signs = np.random.default_rng(0).integers(0, 2, (37, 2))
    for rows in (X, X[:1].repeat(7, axis=0)):
        labels, csr = signs[: len(rows)], sparse.csr_array(rows)
        mean, scale, _ = input_statistics(csr, labels)
        np.testing.assert_array_equal(mean, rows[0])
        assert scale == input_statistics(rows, labels).scale == 0
        assert np.isfinite(make(max_iter=2).fit(csr, labels).transform(csr)).all()


@quick
def test_entries_that_are_stored_twice_add_up(data):
    X, Y = data
    halves = sparse.csr_array(X)
    parts = [np.repeat(halves.data / 2, 2), np.repeat(halves.indices, 2)]
    twice = sparse.csr_array((*parts, 2 * halves.indptr), shape=X.shape)
    nnz = twice.nnz
    assert_same(make().fit(twice, Y), make().fit(X, Y))
    assert twice.nnz == nnz  # the caller's own


@quick
def test_views_of_memory_maps_that_torch_has_not(data, tmp_path):
    X, Y = data
    record = np.dtype([("flag", "i1"), ("X", X.dtype, X.shape[1])])
    records = np.memmap(tmp_path / "records", record, "w+", shape=len(X))
    records["X"] = X
    plain = np.memmap(tmp_path / "plain", X.dtype, "w+", shape=X.shape)
    plain[:] = X[::-1]
    for rows in (records["X"], plain[::-1]):
        assert_same(make().fit(rows, Y), make().fit(X, Y))


@quick
@pytest.mark.filterwarnings("ignore:.*tasks show labels of at most 1 class")
def test_callbacks_see_heads_and_gradients_of_each_batch(monkeypatch):
    class Watch(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            gradients = {name: p.grad for name, p in named_parameters}
            if gradients["task_coef"] is not None:
                self.gradient = gradients["task_coef"]

        def on_batch_end(self, net, **kwargs):
            seen.append(net.module_.task_coef.detach().clone())

    monkeypatch.setattr(_lazy_adamw, "MIN_SIZE", 0)
    X, y, tasks = long_form()
    runs = []
    for density in (0.0, 1.0):
        monkeypatch.setattr(_signs, "MAX_DENSITY", density)
        seen = []
        callbacks = [Watch(), GradientNormClipping(1.0)]
        make(batch_size=100, callbacks=callbacks).fit(X, y, tasks)
        assert callbacks[0].gradient.layout == torch.strided
        runs.append(torch.stack(seen))
    torch.testing.assert_close(*runs)


@quick
@pytest.mark.filterwarnings("ignore:.*tasks show labels of at most 1 class")
def test_ctrl_c_leaves_no_head_behind(monkeypatch):
    monkeypatch.setattr(_lazy_adamw, "MIN_SIZE", 0)
    train_no_small_networks(monkeypatch)
    X, y, tasks = long_form()
    original, states = _relu_descent.dropout_, []
    for density in (0.0, 1.0):
        calls = iter(range(1000))

        def interrupt(*arguments, calls=calls):
            if next(calls) == 30:  # in the middle of the second epoch
                raise KeyboardInterrupt
            return original(*arguments)

        monkeypatch.setattr(_signs, "MAX_DENSITY", density)
        monkeypatch.setattr(_relu_descent, "dropout_", interrupt)
        with pytest.warns(UserWarning, match="interrupted"):
            states.append(make(batch_size=100).fit(X, y, tasks))
    assert_same(*states, rtol=1e-5, atol=1e-6)


@quick
def test_bfloat16_falls_back_where_it_would_be_slow(data, monkeypatch):
    X, Y = data
    monkeypatch.setattr(_precision, "has_bfloat16_products", lambda device: False)
    with pytest.warns(UserWarning, match=r"precision='bfloat16' would be slow here"):
        model = make(precision="bfloat16").fit(X, Y)
    assert_same(model, make(precision="float32").fit(X, Y))


@quick
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["auto", "tf32", "bfloat16"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_gpu_learns_what_the_cpu_learns(data, algorithm, precision):
    X, Y = data
    X = X.astype(np.float32)
    parameters = {"algorithm": algorithm, "max_iter": 30, "tol": 0}
    on_cpu = make(device="cpu", **parameters).fit(X, Y)
    for rows in (X, sparse.csr_array(X)):
        model = make(device="cuda", precision=precision, **parameters).fit(rows, Y)
        assert model.score(X, Y) == pytest.approx(on_cpu.score(X, Y), abs=0.05)


def test_defaults_do_not_warn_of_precision(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MultiTaskReLURepresentation(8, random_state=0).fit(*data)
