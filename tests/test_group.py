"""Fits that several processes share are those of one process on all rows."""

import fcntl
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from rank_cases import BAD, FITS, Shard, fit_twice, measure, relu, scores_of_labels
from relu_cases import quick, subspace_rows

from mtrl_sklearn import load

HERE = Path(__file__).parent
N_RANKS = 3  # what two of them add up is the same in either order


def run_ranks(folder):
    """Run `rank_cases.py` once for each rank, and return what they complain of."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    script = HERE / "rank_cases.py"
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(N_RANKS), folder],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(N_RANKS)
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
        return "\n".join(errors)
    except subprocess.TimeoutExpired as error:
        return str(error)
    finally:
        for process in processes:
            process.kill()
            process.communicate()  # closes its pipe


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where ranks left what they found; one worker of xdist starts them for all."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of this session, which all its workers share
    folder /= "ranks"
    folder.mkdir(exist_ok=True)
    errors = folder / "errors.txt"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the first one is done, or is killed
        if not errors.exists():
            with warnings.catch_warnings(action="ignore"):
                fitted = relu().fit(*subspace_rows())
            (folder / "fitted.pickle").write_bytes(pickle.dumps(fitted))
            errors.write_text(run_ranks(folder))
    return folder


def read(folder, name):
    """What ranks wrote in a file, or what they complained of."""
    path = folder / name
    assert path.exists(), (folder / "errors.txt").read_text()
    return pickle.loads(path.read_bytes())


@pytest.fixture(scope="session")
def of_ranks(folder):
    """What each rank found of fits and errors."""
    return [read(folder, f"{rank}.pickle") for rank in range(N_RANKS)]


def arrays(model):
    found = {k: v for k, v in vars(model).items() if isinstance(v, np.ndarray)}
    return found | model._state_


def assert_same_directions(components, known, weights, atol):
    """Rows are right singular vectors of weights, in known order and of known signs.

    How far they move with the weights depends on the gaps between singular values, and
    so, where these are small, on the processor. By how much they miss their equation
    does not: a singular vector of W + E is one of W up to 2 |E| |W|.
    """
    weights = weights.astype(np.float64)
    weights /= np.linalg.norm(weights, 2)
    squares = weights.T @ weights
    values = np.diag(known @ squares @ known.T)
    residuals = components @ squares - values[:, None] * components
    np.testing.assert_allclose(residuals, 0, rtol=0, atol=atol)
    cosines = (components * known).sum(axis=1)  # off by the square of an angle
    np.testing.assert_allclose(cosines, 1, rtol=0, atol=atol)


@quick
@pytest.mark.parametrize("name", FITS)
def test_a_shared_fit_is_that_of_one_process(of_ranks, name):
    once = fit_twice(name, Shard(0, 1))
    is_float64 = once.transform(FITS[name][1]()[0][:1]).dtype == np.float64
    first, *others = (result["fits"][name] for result in of_ranks)
    for key, value in arrays(once).items():
        shared = arrays(first)[key]
        if key == "components_":
            assert shared.shape == value.shape
            atol = 1e-8 if is_float64 else 1e-5
            assert_same_directions(shared, value, once.hidden_weights_, atol)
        elif value.dtype.kind == "f":
            scale = max(1.0, np.abs(value).max(initial=0))
            # 1e-5 is 84 eps; LAPACK knows a singular value to eps times their number
            atol = (1e-8 if is_float64 else 1e-5) * scale
            np.testing.assert_allclose(shared, value, rtol=0, atol=atol, err_msg=key)
        else:
            np.testing.assert_array_equal(shared, value, err_msg=key)
        for other in others:
            np.testing.assert_array_equal(arrays(other)[key], shared, err_msg=key)
    assert once.n_iter_ == first.n_iter_
    decays = [getattr(m, "head_decay_", None) for m in (once, first, *others)]
    assert len(set(decays)) == 1
    assert (decays[0] in (10.0, 30.0)) == (name == "heads that decay faster")
    known, found = (
        [list(c) for c in m.classes_] if isinstance(m.classes_, list) else [*m.classes_]
        for m in (once, first)
    )
    assert known == found


MESSAGES = {
    "nan": "X contains NaN",
    "features": "number of features of X, got 12 on rank 0 and 11 on rank 1",
    "columns": "the columns of y",
    "form": "the form of y, got 'wide' on rank 0 and 'single' on rank 1",
    "lengths": "inconsistent numbers of samples",
    "types": "mix strings and numbers",
    "parameter": "'learning_rate' parameter",
    "other parameter": "n_hidden, got 16 on rank 0 and 17 on rank 1",
    "one class": "no usable task",
    "components": "n_components=100 exceeds",
    "checkpoint": "missing/folder/fit",
    "device": "device='nowhere' cannot be used here",
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_bad_on_one_rank_is_refused_on_all(of_ranks, kind):
    messages = [result["errors"][kind] for result in of_ranks]
    assert all(message and MESSAGES[kind] in message for message in messages), messages


def test_ranks_go_on_from_the_same_fit_or_none(of_ranks):
    for result in of_ranks:
        assert len(result["starts"]) == 4
        assert all("the earlier fit" in message for message in result["starts"])


def test_measures_wait_for_no_other_rank(folder):
    """One rank measures while others are in a fit, and all comes out as ever."""
    representation = read(folder, "fitted.pickle")
    with warnings.catch_warnings(action="ignore"):
        expected = [*measure(representation), *scores_of_labels()]
    found = read(folder, "measured.pickle")
    for ours, alone in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, alone, rtol=1e-9)


def test_ranks_go_on_from_one_checkpoint(folder):
    paths = [folder / f"{rank}.model" for rank in range(N_RANKS)]
    assert all(path.exists() for path in paths), (folder / "errors.txt").read_text()
    first, *others = map(load, paths)
    assert first.n_iter_ == 6
    for other in others:
        for name, array in arrays(first).items():
            np.testing.assert_array_equal(array, arrays(other)[name], err_msg=name)


def test_a_rank_that_dies_ends_the_others(folder):
    for rank in (0, 2):
        message, seconds = read(folder, f"{rank}.lost")
        assert f"ConnectionError Rank {rank} of 3 lost contact" in message
        assert seconds < 25
    assert not (folder / "1.lost").exists()
    assert (folder / "errors.txt").read_text().split() == []
