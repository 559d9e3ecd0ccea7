"""Fits that several processes share are those of one process on all rows."""

import fcntl
import os
import pickle
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from rank_cases import BAD, FITS, Shard, fit_twice, measure, relu, scores_of_labels
from relu_cases import quick, subspace_rows

HERE = Path(__file__).parent
# What two ranks send is a sum of two, the same in either order: three ask for more. Two
# are those that go on from a checkpoint and that measure.
N_RANKS = 3


def start(n_ranks, *command):
    """Start a command with its rank as an argument, once for each rank."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    return [
        subprocess.Popen(
            [sys.executable, *(str(c).replace("RANK", str(rank)) for c in command)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n_ranks)
    ]


def finish(processes, timeout=100):
    errors = []
    try:
        errors = [process.communicate(timeout=timeout)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()  # closes its pipe
    return errors


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    """What each rank finds; whichever worker of xdist comes first starts them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of this session, which all its workers share
    folder /= "ranks"
    folder.mkdir(exist_ok=True)
    errors = folder / "errors.txt"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the first one is done, or is killed
        if not errors.exists():
            command = HERE / "rank_cases.py", "together", "RANK", N_RANKS, folder
            try:
                told = finish(start(N_RANKS, *command))
            except subprocess.TimeoutExpired as error:
                told = [str(error)]
            errors.write_text("\n".join(told))
    paths = [folder / f"{rank}.pickle" for rank in range(N_RANKS)]
    assert all(path.exists() for path in paths), errors.read_text()
    return [pickle.loads(path.read_bytes()) for path in paths]


def arrays(model):
    found = {k: v for k, v in vars(model).items() if isinstance(v, np.ndarray)}
    return found | model._state_


@quick
@pytest.mark.parametrize("name", FITS)
def test_a_shared_fit_is_that_of_one_process(found, name):
    once = fit_twice(name, Shard(0, 1))
    is_float64 = once.transform(FITS[name][1]()[0][:1]).dtype == np.float64
    first, *others = (result["fits"][name] for result in found)
    for key, value in arrays(once).items():
        shared = arrays(first)[key]
        if value.dtype.kind == "f":
            scale = max(1.0, np.abs(value).max(initial=0))
            atol = (1e-8 if is_float64 else 1e-5) * scale
            np.testing.assert_allclose(shared, value, rtol=0, atol=atol, err_msg=key)
        else:
            np.testing.assert_array_equal(shared, value, err_msg=key)
        for other in others:
            np.testing.assert_array_equal(arrays(other)[key], shared, err_msg=key)
    assert once.n_iter_ == first.n_iter_
    known, shared = (
        [list(c) for c in m.classes_] if isinstance(m.classes_, list) else [*m.classes_]
        for m in (once, first)
    )
    assert known == shared


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
def test_what_is_bad_on_one_rank_is_refused_on_all(found, kind):
    messages = [result["errors"][kind] for result in found]
    assert all(message and MESSAGES[kind] in message for message in messages), messages


def test_ranks_go_on_from_the_same_fit_or_none(found):
    for result in found:
        assert len(result["starts"]) == 4
        assert all("the earlier fit" in message for message in result["starts"])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_measures_wait_for_no_other_rank(tmp_path):
    """One rank measures while the other one is in a fit, and all comes out as ever."""
    representation = relu().fit(*subspace_rows())
    (tmp_path / "fitted.pickle").write_bytes(pickle.dumps(representation))
    command = HERE / "rank_cases.py", "alone", "RANK", 2, tmp_path
    errors = finish(start(2, *command), timeout=60)
    assert not any(errors), errors
    found = pickle.loads((tmp_path / "measured.pickle").read_bytes())
    expected = [*measure(representation), *scores_of_labels()]
    for ours, alone in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, alone, rtol=1e-9)


DIES = """
import os, signal, sys
import numpy as np
from datetime import timedelta
from torch import distributed
from skorch.callbacks import Callback
from mtrl_sklearn import MultiTaskReLURepresentation

rank, n_ranks, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=n_ranks,
    timeout=timedelta(seconds=30),
)

class Die(Callback):
    def on_batch_end(self, net, **kwargs):
        if rank == 1 and len(net.history) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

rng = np.random.default_rng(rank)
X = rng.standard_normal((100, 5))
model = MultiTaskReLURepresentation(
    8, max_iter=1000, tol=0, random_state=0, callbacks=[Die()]
)
try:
    model.fit(X, X > 0)
except ConnectionError as error:
    assert not hasattr(model, "n_iter_")
    sys.exit(f"ConnectionError {error}")
"""


def test_a_rank_that_dies_ends_the_others(tmp_path):
    begin = time.monotonic()
    errors = finish(start(3, "-c", textwrap.dedent(DIES), "RANK", 3, tmp_path), 60)
    assert time.monotonic() - begin < 55
    assert errors[1] == ""
    for rank in (0, 2):
        message = f"ConnectionError Rank {rank} of 3 lost contact"
        assert message in errors[rank], errors[rank]


GOES_ON = """
import sys, warnings
import numpy as np
from torch import distributed
from skorch.callbacks import Callback
from mtrl_sklearn import MultiTaskReLURepresentation, _checkpoint, save

warnings.simplefilter("ignore")
_checkpoint.SHARE_OF_WRITING = 1
rank, n_ranks, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=n_ranks
)

class Killed(BaseException):
    pass

class Kill(Callback):
    is_armed = True

    def on_epoch_end(self, net, **kwargs):
        if self.is_armed and len(net.history) == 4:
            raise Killed

def make(**parameters):
    return MultiTaskReLURepresentation(
        8, max_iter=6, random_state=None, early_stopping=True, callbacks=[Kill()],
        **parameters
    )

rng = np.random.default_rng(rank)
X = rng.standard_normal((60, 5))
checkpoint = f"{folder}/fit"
try:
    make(checkpoint=checkpoint).fit(X, X > 0)
except Killed:
    Kill.is_armed = False
first = make(checkpoint=checkpoint).fit(X, X > 0)
again = make(checkpoint=checkpoint).fit(X, X > 0)
for name, array in first._state_.items():
    np.testing.assert_array_equal(array, again._state_[name])
save(first.set_params(checkpoint=None, callbacks=None), f"{folder}/{rank}.model")
distributed.destroy_process_group()
"""


def test_ranks_go_on_from_one_checkpoint(tmp_path):
    from mtrl_sklearn import load

    errors = finish(start(2, "-c", textwrap.dedent(GOES_ON), "RANK", 2, tmp_path))
    assert not any(errors), errors
    models = [load(tmp_path / f"{rank}.model") for rank in range(2)]
    assert models[0].n_iter_ == 6
    for name, array in arrays(models[0]).items():
        np.testing.assert_array_equal(array, arrays(models[1])[name], err_msg=name)
