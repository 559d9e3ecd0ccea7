"""Fits in threads and in processes disturb neither each other nor anything else."""

import os
import random
import re
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from processes import METHODS, TIMEOUT, run

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.probing import LinearProbe

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Python 3.12 warns of any fork beside threads, which is what is tested here
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 6)).astype(np.float32)
Y = (X @ RNG.standard_normal((6, 4)) > 0).astype(float)
Y[RNG.random(Y.shape) < 0.2] = np.nan
y = (X[:, 0] > 0).astype(int)

RELU = {"n_hidden": 8, "max_iter": 3}
CONV = {"n_filters": 4, "max_iter": 3}
EARLY = {"early_stopping": True, "validation_fraction": 0.3}
KINDS = {
    "alternating": (MultiTaskReLURepresentation, RELU | {"algorithm": "alternating"}),
    "joint": (MultiTaskReLURepresentation, RELU | EARLY | {"algorithm": "joint"}),
    "one_step": (MultiTaskReLURepresentation, RELU | {"algorithm": "one_step"}),
    "gd": (ConvMultiTaskClassifier, CONV | {"solver": "gd"}),
    "adam": (ConvMultiTaskClassifier, CONV | EARLY | {"solver": "adam"}),
}


def fit(kind, seed=0):
    """A fitted estimator."""
    make, parameters = KINDS[kind]
    labels = Y if make is MultiTaskReLURepresentation else y
    return make(**parameters, random_state=seed).fit(X, labels)


def content(model):
    """What a fit has learned, bit for bit."""
    learned = {k: v for k, v in vars(model).items() if k.endswith("_")}
    state = learned.pop("_state_")
    return {name: bits(value) for name, value in (learned | state).items()}


def bits(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return [bits(v) for v in value] if isinstance(value, list) else repr(value)


@pytest.fixture(scope="module")
def alone():
    return {(kind, seed): content(fit(kind, seed)) for kind in KINDS for seed in (0, 1)}


def state_of_process():
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002, the old stream too
        "random": random.getstate(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "errors of numpy": np.geterr(),
        "warnings": list(warnings.filters),
    }


@pytest.fixture(autouse=True)
def process_is_left_alone():
    """Neither random numbers nor settings of the process change."""
    before = state_of_process()
    yield
    after = state_of_process()
    for name, value in before.items():
        assert after[name] == value, name


@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_two_fits_at_once_are_those_alone(alone, kind, other):
    start = threading.Barrier(2)

    def fit_together(kind, seed):
        start.wait(TIMEOUT)
        return content(fit(kind, seed))

    with ThreadPoolExecutor(2) as threads:
        fits = [threads.submit(fit_together, k, s) for k, s in ((kind, 0), (other, 1))]
        first, second = (fit.result(TIMEOUT) for fit in fits)
    assert first == alone[kind, 0]
    assert second == alone[other, 1]


def test_many_fits_and_predictions_at_once(alone):
    model, probe = fit("alternating"), LinearProbe(fit("gd")).fit(X, y)
    expected = model.transform(X), probe.decision_function(X)

    def work(k):
        if k % 3 == 0:
            kind = list(KINDS)[k % len(KINDS)]
            assert content(fit(kind)) == alone[kind, 0]
        np.testing.assert_array_equal(model.transform(X), expected[0])
        np.testing.assert_array_equal(probe.decision_function(X), expected[1])

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, k) for k in range(24)]:
            done.result(TIMEOUT)


def test_importing_the_package_changes_nothing():
    script = Path(__file__).with_name("import_cases.py")
    command = [sys.executable, "-W", "ignore", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


# ------------------------------------------------------------------------- processes


def fit_all():
    """Contents of fits of all kinds."""
    return {kind: content(fit(kind)) for kind in KINDS}


@pytest.mark.parametrize("method", METHODS)
def test_fits_in_another_process_are_those_of_the_parent(alone, method):
    assert run(method, fit_all) == {kind: alone[kind, 0] for kind in KINDS}


def go_on(model, probe):
    """Predictions, and the model after one more batch."""
    labels = Y if isinstance(model, MultiTaskReLURepresentation) else y
    scores = model.decision_function(X), probe.predict_proba(X)
    return scores, model.partial_fit(X, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_estimators_travel_to_a_process_and_back(kind):
    model = fit(kind)
    before, probe = content(model), LinearProbe(model).fit(X, y)
    scores, further = run("fork" if "fork" in METHODS else "spawn", go_on, model, probe)
    np.testing.assert_array_equal(scores[0], model.decision_function(X))
    np.testing.assert_array_equal(scores[1], probe.predict_proba(X))
    assert content(model) == before
    assert content(further) == content(go_on(fit(kind), probe)[1])


def test_fits_of_joblib_are_those_of_the_parent(alone):
    jobs = [delayed(fit)(kind, seed) for kind in KINDS for seed in (0, 1)]
    models = Parallel(n_jobs=2, backend="loky", timeout=TIMEOUT)(jobs)
    assert list(map(content, models)) == list(alone.values())
    expected = [model.transform(X) for model in models]
    back = (delayed(type(model).transform)(model, X) for model in models)
    for got, wanted in zip(
        Parallel(2, backend="loky", timeout=TIMEOUT)(back), expected
    ):
        np.testing.assert_array_equal(got, wanted)


# ------------------------------------------------- a fork after torch has used threads

LARGE = np.random.default_rng(0).standard_normal((3000, 100)).astype(np.float32)


def fit_large(kind):
    """A fit that is worth more than one thread."""
    make, parameters = KINDS[kind]
    size = {"n_hidden": 400} if make is MultiTaskReLURepresentation else {}
    model = make(**parameters | size | {"max_iter": 1, "batch_size": 1500})
    labels = LARGE[:, :4] > 0 if size else LARGE[:, 0] > 0
    return model.set_params(random_state=0).fit(LARGE, labels)


def large_features(kind):
    return fit_large(kind).transform(LARGE)


@pytest.fixture
def threads_of_torch():
    """torch has started threads, which a fork does not copy."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.ones(1_000_000).tanh().sum()
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
@pytest.mark.usefixtures("threads_of_torch")
@pytest.mark.parametrize("kind", ["alternating", "one_step", "gd"])
def test_a_fork_does_not_wait_for_threads_of_its_parent(kind):
    """OpenMP hangs where a forked process asks for threads that its parent had."""
    expected = large_features(kind)
    found = run("fork", large_features, kind, timeout=8)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def work_of_all_kinds():
    """Fits, predictions and probes; the number of threads of torch afterwards."""
    few = LARGE[:200]
    for kind in ("alternating", "one_step", "gd"):
        model = fit_large(kind)
        model.predict(LARGE)
        probe = LinearProbe(model, C=0.01, fine_tune=kind in ("gd", "one_step"))
        probe.fit(few, few[:, 0] > 0).predict(LARGE)
        labels = LARGE[:, :4] > 0 if hasattr(model, "task_coef_") else LARGE[:, 0] > 0
        model.partial_fit(LARGE, labels).transform(LARGE)
    return torch.get_num_threads()


def fork_beside_threads():
    """To run in a process whose numbers of threads nothing has set."""
    torch.set_num_threads(2)
    (torch.ones(1000, 1000) @ torch.ones(1000, 1000)).tanh().sum()
    assert run("fork", torch.get_num_threads) == 2  # it does not concern us
    assert run("fork", work_of_all_kinds) == 2
    assert torch.get_num_threads() == 2


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
def test_a_fork_keeps_its_threads_and_fits_do_not_wait_for_them():
    code = "import test_processes; test_processes.fork_beside_threads()"
    is_number = re.compile(r".*_NUM_THREADS").fullmatch
    environment = {k: v for k, v in os.environ.items() if not is_number(k)}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    command = [sys.executable, "-W", "ignore", "-c", code]
    subprocess.run(command, check=True, timeout=TIMEOUT, env=environment)


IMPORTED_LATE = """
import multiprocessing, sys, torch

def fit():
    assert "mtrl_sklearn" not in sys.modules  # which is what this is about
    torch.set_num_threads(1)
    import test_processes
    assert test_processes.large_features("alternating").shape[0] == 3000

torch.set_num_threads(2)
(torch.ones(1000, 1000) @ torch.ones(1000, 1000)).tanh().sum()
process = multiprocessing.get_context("fork").Process(target=fit)
process.start()
process.join(30)
process.kill()
sys.exit(process.exitcode)
"""


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
def test_a_fork_that_imports_the_package_can_be_told_of_one_thread():
    """What `fork_safe` advises."""
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parent))
    command = [sys.executable, "-W", "ignore", "-c", IMPORTED_LATE]
    subprocess.run(command, check=True, timeout=TIMEOUT, env=environment)


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
@pytest.mark.usefixtures("threads_of_torch")
def test_a_fork_beside_a_fit_does_not_hang(alone):
    stop = threading.Event()

    def fit_on():
        while not stop.is_set():
            fit("one_step")

    busy = threading.Thread(target=fit_on)
    busy.start()
    try:
        for _ in range(5):
            assert (
                run("fork", content_of, "one_step", timeout=8) == alone["one_step", 0]
            )
    finally:
        stop.set()
        busy.join()


def content_of(kind):
    """Content of a fit."""
    return content(fit(kind))
