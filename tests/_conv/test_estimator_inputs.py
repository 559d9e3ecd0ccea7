"""Memory maps and precision of ConvMultiTaskClassifier."""

import numpy as np
import pytest
import torch
from conv_cases import NETWORK, SOLVERS, images_of_bars, make
from memory import growth_of_memory, needs_status

from mtrl_sklearn._arrays import precision as _precision

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def images():
    return images_of_bars()


def assert_same(first, second, rtol):
    for name in NETWORK:
        a, b = getattr(first, name), getattr(second, name)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=name)


@needs_status
@pytest.mark.parametrize("early_stopping", [False, True])
def test_memory_maps_of_images_are_not_copied(tmp_path, early_stopping):
    shape = (20_000, 3, 32, 32)
    mapped = np.memmap(tmp_path / "X", np.uint8, "w+", shape=shape)
    y = np.arange(len(mapped)) % 2
    mapped[:, 0, 5:7, 5:7] = 200 * y[:, None, None]
    model = make(
        n_filters=2,
        kernel_size=8,
        stride=8,
        solver="adam",
        max_iter=1,
        early_stopping=early_stopping,
    )
    model.fit(mapped[:500], y[:500])
    with growth_of_memory() as growth:
        model.fit(mapped, y)
    assert growth.peak < mapped.nbytes  # a copy in float32 is four times that
    assert model.score(mapped[:500], y[:500]) > 0.9


@pytest.mark.parametrize("solver", SOLVERS)
def test_precision_is_that_of_the_filters(images, solver):
    X, y, tasks = images
    X = X.astype(np.float64)
    whole = make(solver=solver).fit(X, y, tasks)
    assert whole.filters_.dtype == np.float64
    low = make(solver=solver, precision="float32").fit(X, y, tasks)
    assert low.filters_.dtype == np.float32
    assert low.transform(X).dtype == np.float64
    assert_same(low, make(solver=solver).fit(X.astype(np.float32), y, tasks), 1e-3)
    assert low.partial_fit(X, y, tasks).filters_.dtype == np.float32


@pytest.mark.parametrize("head", ["shared", "per_task"])
def test_bfloat16_learns_what_float32_learns(images, monkeypatch, head):
    X, y, tasks = images
    monkeypatch.setattr(_precision, "has_bfloat16_products", lambda device: True)
    scores, losses = [], []
    for precision in ("float32", "bfloat16"):
        model = make(solver="adam", head=head, precision=precision, max_iter=60)
        model.fit(X, y, tasks)
        assert model.filters_.dtype == np.float32
        losses.append(model.loss_curve_)
        scores.append(model.score(X, y, tasks))
    np.testing.assert_allclose(losses[1][0], losses[0][0], rtol=0.02)
    assert not np.array_equal(losses[0], losses[1])
    assert min(scores) > 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["auto", "tf32", "bfloat16"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_gpu_learns_what_the_cpu_learns(images, solver, precision):
    X, y, tasks = images
    scores = [
        make(solver=solver, device=device, precision=precision, max_iter=60)
        .fit(X, y, tasks)
        .score(X, y, tasks)
        for device in ("cpu", "cuda")
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.1)
