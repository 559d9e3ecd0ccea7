"""What `test_group.py` lets processes do; run as a script, it is one of them."""

import os
import pickle
import signal
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from conv_cases import images_of_bars, rows_of_patches
from relu_cases import rare_bits, subspace_rows, to_long
from scipy import sparse
from skorch.callbacks import Callback

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation, save
from mtrl_sklearn._group import Group
from mtrl_sklearn._training import checkpoint as _checkpoint
from mtrl_sklearn.metrics import multitask_accuracy_score, multitask_roc_auc_score
from mtrl_sklearn.probing import (
    LinearProbe,
    calibrate,
    label_agreement,
    probe_new_tasks,
    source_task_transfer,
    task_affinity,
)

# Shares of the rows of each rank, by the number of ranks.
SHARES = {1: [1.0], 2: [0.23, 0.77], 3: [0.1, 0.55, 0.35]}


class Shard:
    """Takes the rows of one rank."""

    def __init__(self, rank, n_ranks):
        self.rank, self.n_ranks = rank, n_ranks

    def __call__(self, *arrays):
        bounds = np.cumsum([0.0, *SHARES[self.n_ranks]])
        start, stop = np.round(
            bounds[self.rank : self.rank + 2] * arrays[0].shape[0]
        ).astype(int)
        return [array[start:stop] for array in arrays]


def relu(**parameters):
    """Without decay no small networks are trained to tell that of the heads."""
    defaults = {"n_hidden": 16, "max_iter": 2, "weight_decay": 0.0, "random_state": 0}
    return MultiTaskReLURepresentation(**defaults | parameters)


def conv(**parameters):
    return ConvMultiTaskClassifier(
        **{"n_filters": 12, "max_iter": 5, "random_state": 0, **parameters}
    )


def shuffled_patches():
    X, y, tasks = rows_of_patches()
    order = np.random.default_rng(0).permutation(len(X))
    return X[order], y[order], tasks[order]


def shuffled_images():
    X, y, tasks = images_of_bars()
    return X.astype(np.float32), y, tasks


def columns_of_labels():
    X, y, _ = shuffled_images()
    Y = np.stack([y > 0, y > 1], axis=1).astype(float)
    Y[::3, 0] = Y[:40, 1] = np.nan
    return X, Y


def many_tasks():
    """Long form of 150 tasks, each with rows on few ranks, in CSR form."""
    rng = np.random.default_rng(1)
    X, tasks = rng.standard_normal((600, 12)), np.repeat(np.arange(150), 4)
    y = (X[:, 0] > 0).astype(int)
    y[0::4], y[1::4] = 0, 1  # both classes of every task
    return X, y, tasks


def sparse_rows():
    X, Y = subspace_rows()
    return sparse.csr_array(np.where(X > 0.5, X, 0)), Y


def labels_of_strings():
    X, Y = subspace_rows()
    names = np.array(["a", "b", None], dtype=object)
    Y = names[np.where(np.isnan(Y), 2, Y).astype(int)]
    Y[:, 3] = np.array(["u", "v", "w"])[np.arange(len(X)) // 100]  # by blocks of rows
    return X, Y


def sorted_by_task():
    X, y, tasks = to_long(*subspace_rows())
    order = np.argsort(tasks, kind="stable")
    return X[order], y[order], tasks[order]


def named_columns():
    X, Y = labels_of_strings()
    return X, pd.DataFrame(Y, columns=list("uvwxyz"))


def labels_on_one_rank_only():
    """The first 70 rows, which is more than the first of two ranks has, have none."""
    X, Y = subspace_rows()
    return sparse.csr_array(np.where(X > 0.5, X, 0)), np.where(
        np.arange(len(X))[:, None] < 70, np.nan, Y
    )


def copies_of_few_inputs():
    """30 inputs, of each of which all ranks have some copies with other labels."""
    rows = np.random.default_rng(3).integers(0, 30, 300)
    X, Y = subspace_rows()
    return X[rows], Y


def float32_rows():
    X, Y = subspace_rows()
    return X.astype(np.float32), Y


# All ways that data take, of which most fits have several.
FITS = {
    "three steps": (relu(algorithm="one_step", max_iter=3), subspace_rows),
    "one step, sorted by task": (
        relu(algorithm="one_step", max_iter=1),
        sorted_by_task,
    ),
    "one step, float32": (relu(algorithm="one_step", max_iter=1), float32_rows),
    "one batch": (
        relu(
            batch_size=1000,
            algorithm="joint",
            dropout=0,
            n_components=2,
            weight_decay=1.0,
        ),
        subspace_rows,
    ),
    "early stopping": (
        relu(early_stopping=True, batch_size=33, loss="hinge", task_weight="equal"),
        subspace_rows,
    ),
    "long form": (relu(batch_size=128), sorted_by_task),
    "sparse rows": (relu(batch_size=50), sparse_rows),
    "copies": (relu(batch_size=30), copies_of_few_inputs),
    "copies, early stopping": (
        relu(batch_size=7, early_stopping=True, validation_fraction=0.3),
        copies_of_few_inputs,
    ),
    "columns of strings in another order": (relu(), named_columns),
    "no labels on a rank": (relu(batch_size=50), labels_on_one_rank_only),
    "heads of few tasks": (
        relu(batch_size=40, early_stopping=True, algorithm="joint"),
        many_tasks,
    ),
    "heads that decay faster": (
        relu(n_hidden=32, dropout=0, max_iter=5, weight_decay=1.0),
        rare_bits,
    ),
    "gd": (conv(solver="gd", max_iter=8), shuffled_patches),
    "gd, fixed heads": (
        conv(solver="gd", max_iter=8, head="fixed", early_stopping=True),
        shuffled_patches,
    ),
    "flips and shifts": (
        conv(solver="adam", batch_size=16, augment=("flip", "shift"), max_iter=3),
        shuffled_images,
    ),
    "columns of labels": (
        conv(solver="adam", batch_size=16, head="per_task"),
        columns_of_labels,
    ),
    "heads per task": (
        conv(
            solver="adam",
            head="per_task",
            class_weight="balanced",
            task_weight="equal",
            batch_size=4,  # fewer rows than ranks have, now and then none at all
        ),
        shuffled_patches,
    ),
    "images": (conv(early_stopping=True, batch_size=32), images_of_bars),
    "sorted by source": (conv(solver="adam", batch_size=16), rows_of_patches),
}


def fit_twice(name, shard):
    """A fit and, where there can be one, a partial fit."""
    model, get_data = FITS[name]
    data = shard(*get_data())
    if name == "columns of strings in another order" and shard.rank > 0:
        data[1] = data[1][data[1].columns[::-1]]
    model.fit(*data)
    if getattr(model, "class_weight", None) == "balanced":
        return model
    return model.partial_fit(*data)


def spoil(rank, kind):
    """Arguments of a fit that are bad on one rank, and its parameters."""
    X, Y = subspace_rows()
    parameters = {}
    if kind == "nan":
        X = np.where(X > 2, np.nan, X) if rank == 1 else X
    elif kind == "features":
        X = X[:, :-1] if rank == 1 else X
    elif kind == "columns":
        Y = Y[:, :-1] if rank == 1 else Y
    elif kind == "form":
        Y = Y[:, 0] if rank == 1 else Y
    elif kind == "lengths":
        Y = Y[:-1] if rank == 1 else Y
    elif kind == "types":
        Y = np.array(["no", "yes"])[np.nan_to_num(Y).astype(int)] if rank == 1 else Y
    elif kind == "parameter":
        parameters = {"learning_rate": -1.0} if rank == 1 else {}
    elif kind == "other parameter":
        parameters = {"n_hidden": 17} if rank == 1 else {}
    elif kind == "one class":
        Y = np.where(np.isnan(Y), np.nan, 1.0)
    elif kind == "components":
        parameters = {"n_components": 100}
    elif kind == "checkpoint":
        parameters = {"checkpoint": "missing/folder/fit"}
    elif kind == "device":
        parameters = {"device": "nowhere"} if rank == 1 else {}
    return X, Y, parameters


BAD = [
    *("nan", "features", "columns", "form", "lengths", "types", "parameter"),
    *("other parameter", "one class", "components", "checkpoint", "device"),
]


def message_of(kind, rank, fitted):
    """The error of a fit, of a pickled model, that is bad on one rank."""
    X, Y, parameters = spoil(rank, kind)
    model = pickle.loads(fitted)
    before = {name: value for name, value in vars(model).items() if name[-1] == "_"}
    try:
        model.set_params(**parameters).fit(X, Y)
    except Exception as error:
        kept = all(vars(model)[name] is value for name, value in before.items())
        return f"{type(error).__name__}: {error}" if kept else "the last fit is lost"
    return None


def message_of_another_start(rank):
    """The errors of ranks that would go on from fits of their own."""
    model = relu(random_state=rank, max_iter=1).fit(*subspace_rows())
    own = [{**vars(model)}, vars(relu(max_iter=1))][rank % 2]  # rank 1 has no fit
    messages = []
    for state in (own, {**vars(model), "_state_": spoil_state(model, rank)}):
        again = relu(max_iter=1)
        vars(again).update(state | {"warm_start": True, "random_state": 0})
        for method in (again.fit, again.partial_fit):
            try:
                method(*subspace_rows())
            except ValueError as error:
                messages.append(str(error))
            else:
                messages.append("")
    return messages


def spoil_state(model, rank):
    return {k: v + rank if v.dtype.kind == "f" else v for k, v in model._state_.items()}


def scores_of_labels():
    """What the measures of labels say."""
    _, Y = subspace_rows()
    scores = np.random.default_rng(0).standard_normal(Y.shape)
    return [
        multitask_roc_auc_score(Y, scores, average=None),
        multitask_accuracy_score(Y, np.nan_to_num(Y), average=None),
        label_agreement(Y),
    ]


def measure(representation):
    """What all measures say of a fitted representation; some train others."""
    X, Y = subspace_rows()
    few = {"shots": (8,), "n_draws": 1, "random_state": 0}
    table = probe_new_tasks(representation, X, Y, **few)
    settings = calibrate(representation, X, Y, **few)
    probe = LinearProbe(representation, settings=settings).fit(X, Y[:, 1] == 1)
    transfer = source_task_transfer(representation, X, Y, probe=relu(max_iter=1), **few)
    return [
        *scores_of_labels(),
        task_affinity(representation, X, Y),
        representation.score(X, Y),
        table["score"].to_numpy(),
        transfer["score"].to_numpy(),
        probe.predict_proba(X),
    ]


class Measure(Callback):
    """Measures labels while other ranks are at their steps."""

    def on_batch_end(self, net, **kwargs):
        self.found = scores_of_labels()


class Killed(BaseException):
    pass


class Kill(Callback):
    """Ends a fit after four epochs."""

    is_armed = True

    def on_epoch_end(self, net, **kwargs):
        if self.is_armed and len(net.history) == 4:
            raise Killed


class Die(Callback):
    """Rank 1 is killed in the midst of an epoch."""

    def __init__(self, rank):
        self.rank = rank

    def on_batch_end(self, net, **kwargs):
        if self.rank == 1 and len(net.history) == 3:
            os.kill(os.getpid(), signal.SIGKILL)


def own_rows(rank):
    X = np.random.default_rng(rank).standard_normal((60, 5))
    return X, X > 0


def refuse(self, *values):
    raise AssertionError("a fit of ranks asks a group of one process")


def fit_together(rank, n_ranks, folder):
    """All ranks fit, and none of them asks a group of one process."""
    shard = Shard(rank, n_ranks)
    fitted = pickle.dumps(relu(max_iter=1).fit(*subspace_rows()))
    with patch.multiple(Group, gather=refuse, sum=refuse, from_first=refuse):
        fits = {name: fit_twice(name, shard) for name in FITS}
    result = {
        "fits": fits,
        "errors": {kind: message_of(kind, rank, fitted) for kind in BAD},
        "starts": message_of_another_start(rank),
    }
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(result))


def measure_alone(rank, n_ranks, folder):
    """Rank 0 measures what it likes, while the others wait for it in a fit."""
    if rank > 0:
        relu().fit(*subspace_rows())
        return
    representation = pickle.loads((folder / "fitted.pickle").read_bytes())
    found, callback = measure(representation), Measure()
    relu(callbacks=[callback]).fit(*subspace_rows())
    found = pickle.dumps([*found, *callback.found])
    (folder / "measured.pickle").write_bytes(found)


def go_on(rank, n_ranks, folder):
    """All ranks go on with a fit that was killed; then they fit again, to the same."""
    _checkpoint.SHARE_OF_WRITING = 1
    checkpoint = str(folder / "fit")

    def make():
        return relu(
            n_hidden=8,
            max_iter=6,
            random_state=None,
            early_stopping=True,
            callbacks=[Kill()],
            checkpoint=checkpoint,
        )

    try:
        make().fit(*own_rows(rank))
    except Killed:
        Kill.is_armed = False
    first, again = (make().fit(*own_rows(rank)) for _ in range(2))
    for name, array in first._state_.items():
        np.testing.assert_array_equal(array, again._state_[name])
    first.set_params(checkpoint=None, callbacks=None)
    save(first, folder / f"{rank}.model")


def lose_a_rank(rank, n_ranks, folder):
    """Rank 1 dies, and the others say so."""
    model = relu(max_iter=1000, tol=0, callbacks=[Die(rank)])
    begin = time.monotonic()
    try:
        model.fit(*own_rows(rank))
    except ConnectionError as error:
        assert not hasattr(model, "n_iter_")
        told = f"ConnectionError {error}", time.monotonic() - begin
        (folder / f"{rank}.lost").write_bytes(pickle.dumps(told))
        # threads of gloo may still wait for the lost rank, and torch then aborts when
        # the interpreter takes the group down: what the fit did is over by now
        os._exit(0)


def main(rank, n_ranks, folder):
    from torch import distributed

    warnings.simplefilter("ignore")
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=n_ranks,
        timeout=timedelta(seconds=60),
    )
    # each leaves its findings behind before the next one begins
    for task in (fit_together, measure_alone, go_on, lose_a_rank):
        task(rank, n_ranks, folder)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
