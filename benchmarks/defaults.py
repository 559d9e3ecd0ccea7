"""What automatic choices cost against sensible fixed ones, on kinds of data.

Run as ``python benchmarks/defaults.py``, or with ``--choices batch_size loss`` and
``--kinds digits "one task"`` for some of them. Prints a line for each choice and kind
of data as they come: mean ROC-AUC on a quarter of the rows with the default, the best
alternative, what is gained by it, and what the user is told. A mark stands where the
default loses more than .02 and no warning says so. ReLU networks are compared without
the cut of their rank, which has a table of its own (``relu_quality.py --only-harm``).
Assay data comes from the folder that MTRL_DATA names.
"""

import argparse
import math
import time
import warnings

import numpy as np
from _kinds import KINDS, columns_of, subspace
from scipy.sparse import issparse
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_patch_tasks
from mtrl_sklearn.probing import LinearProbe, calibrate

MARKED = 0.02
SHOTS = (16, 64, 256)
N_NEW_TASKS = 15


def one_task(seed):
    X, Y = subspace(seed, 1334, 50, n_components=3, n_tasks=16)
    return X, Y[:, 0]


def few_rows(seed):
    """60 rows to train on."""
    return subspace(seed, 80, 30, n_components=2)


def many_rows(seed):
    return subspace(seed, 20000, 50)


def mostly_missing(seed):
    X, Y = subspace(seed, 2667, 100, n_tasks=200)
    Y = Y.astype(float)
    Y[np.random.default_rng(seed).random(Y.shape) < 0.95] = np.nan
    return X, Y


def rare_positives(seed):
    """Labels of which 2 % are positive, where a linear score of the inputs is high."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3000, 50))
    scores = X @ rng.normal(size=(50, 4)) @ rng.normal(size=(4, 30))
    scores += 0.3 * scores.std() * rng.normal(size=scores.shape)
    return X, (scores > np.quantile(scores, 0.98, axis=0)).astype(float)


def constant_features(seed):
    X, Y = subspace(seed, 1334, 50, n_components=3, n_tasks=16)
    return np.hstack([X, np.full((len(X), 50), 7.0)]), Y


def duplicated_rows(seed):
    """Rows of which each stands there five times, with labels of its own."""
    X, Y = subspace(seed, 534, 50, n_components=3, n_tasks=16)
    return np.tile(X, (5, 1)), np.tile(Y, (5, 1))


def waves(seed):
    """Tasks that go up and down along a direction of few features: slow to learn."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2000, 5))
    directions, phases = rng.normal(size=(5, 10)) / 5**0.5, rng.normal(size=10)
    return X, (np.sin(3 * X @ directions + phases) > 0).astype(float)


def flipped_labels(seed):
    """Labels on a subspace, of which two in five are wrong."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3000, 50))
    Y = X @ rng.normal(size=(50, 3)) @ rng.normal(size=(3, 30)) > 0
    return X, np.where(rng.random(Y.shape) < 0.4, ~Y, Y).astype(float)


VARIANTS = {
    "one task": one_task,
    "60 rows": few_rows,
    "20000 rows": many_rows,
    "200 tasks, 95 % missing": mostly_missing,
    "2 % positive": rare_positives,
    "constant features": constant_features,
    "duplicated rows": duplicated_rows,
    "waves": waves,
    "flipped labels": flipped_labels,
}
# of the three forms of topics only the one that is fitted fastest
ALL_KINDS = {
    k: v for k, v in KINDS.items() if k not in ("topics, counts", "topics, TF-IDF")
}
ALL_KINDS |= VARIANTS


def epochs(factor):
    """A function of the epochs of the default fit to those of an alternative."""
    return lambda default: {"max_iter": max(math.ceil(factor * default.n_iter_), 1)}


ONE_STEP = {"algorithm": "one_step"}

# of each choice: alternatives by name, as parameters or a function of the default fit
CHOICES = {
    "batch_size": {str(n): {"batch_size": n} for n in (32, 128, 512)},
    "max_iter": {"half": epochs(0.5), "three times": epochs(3)},
    "tol": {"tol=0": {"tol": 0}, "early_stopping": {"early_stopping": True}},
    "algorithm": {name: {"algorithm": name} for name in ("joint", "one_step")},
    "one_step": {"3 steps": ONE_STEP | {"max_iter": 3}, "alternating": {}},
    "loss": {"hinge": {"loss": "hinge"}},
    "task_weight": {"equal": {"task_weight": "equal"}},
    "precision": {name: {"precision": name} for name in ("float32", "bfloat16")},
}
STARTS = {"one_step": ONE_STEP}  # of choices that do not start from the default


def fit(data, parameters, seed):
    """A fitted representation, its score on new rows and the warnings of the fit."""
    X, Y, train, test = data
    network = MultiTaskReLURepresentation(
        n_components=None, random_state=seed, **parameters
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        network.fit(X[train], Y[train])
    return network, network.score(X[test], Y[test]), told


def compare_relu(choice, data, seed):
    """Scores of the default and of the alternatives, and what the default fit told."""
    start = STARTS.get(choice, {})
    default, score, told = fit(data, start, seed)
    others = {}
    for name, given in CHOICES[choice].items():
        given = given(default) if callable(given) else given
        others[name] = fit(data, given, seed)[1]
    return score, others, told


def compare_single_tasks(data, seed):
    """The network against a logistic regression of each task on scaled inputs."""
    X, Y, train, test = data
    _, score, told = fit(data, {}, seed)
    columns = columns_of(Y)
    others = {}
    for C in (0.001, 0.01, 0.1, 1.0):
        found = []
        for y in columns.T:
            a, b = (part[~np.isnan(y[part])] for part in (train, test))
            if min(len(np.unique(y[a])), len(np.unique(y[b]))) == 2:
                scaler = StandardScaler(with_mean=not issparse(X))
                model = make_pipeline(scaler, LogisticRegression(C=C, max_iter=200))
                scores = model.fit(X[a], y[a]).decision_function(X[b])
                found.append(roc_auc_score(y[b], scores))
        others[f"C={C}"] = np.mean(found)
    return score, others, told


def compare_input(data, seed):
    """Input as it comes, of float64 in most kinds, against float32."""
    X, Y, train, test = data
    _, score, told = fit(data, {}, seed)
    single = fit((X.astype(np.float32), Y, train, test), {}, seed)[1]
    return score, {"float32": single}, told


def compare_threads(data, seed):
    """Scores on two threads and on one: the numbers should agree."""
    with threadpool_limits(2):
        _, score, told = fit(data, {}, seed)
    with threadpool_limits(1):
        alone = fit(data, {}, seed)[1]
    return score, {"1 thread": alone}, told


def compare_probe(data, seed):
    """Probes of left-out tasks: default, calibrated, without the representation."""
    X, Y, train, test = data
    if issparse(X):
        X = X.toarray()
    columns = columns_of(Y)
    if columns.shape[1] < 4:
        return None
    order = np.random.default_rng(seed).permutation(columns.shape[1])
    n_new = min(N_NEW_TASKS, columns.shape[1] // 3)
    new, source = order[:n_new], order[n_new:]
    Y = columns[train][:, source]
    network = MultiTaskReLURepresentation(random_state=seed)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        network.fit(X[train], Y)
    settings = None
    try:
        settings = calibrate(
            network, X[train], Y, n_groups=2, shots=SHOTS, n_draws=1, random_state=seed
        )
    except ValueError as error:
        print(f"    calibrate: {error}")
    kinds = {
        "default": lambda: LinearProbe(network),
        "raw": lambda: LinearProbe(),
        "raw logistic": lambda: make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, max_iter=300)
        ),
    }
    if settings is not None:
        kinds["calibrated"] = lambda: LinearProbe(network, settings=settings)
    found = {name: [] for name in kinds}
    for y in columns[:, new].T:
        rng = np.random.default_rng(seed)
        positive, negative = (rng.permutation(train[y[train] == k]) for k in (1, 0))
        tested = test[~np.isnan(y[test])]
        if len(np.unique(y[tested])) < 2:
            continue
        for shots in SHOTS:
            rows = np.r_[positive[: shots // 2], negative[: shots // 2]]
            if len(rows) < shots:
                continue
            for name, make in kinds.items():
                scores = make().fit(X[rows], y[rows]).decision_function(X[tested])
                found[name].append(roc_auc_score(y[tested], scores))
    if not found["default"]:
        return None
    means = {name: np.mean(values) for name, values in found.items()}
    return means.pop("default"), means, told


OTHER_CHOICES = {
    "single tasks": compare_single_tasks,
    "input": compare_input,
    "threads": compare_threads,
    "probe": compare_probe,
}


def conv_digits(seed, shape=(1, 8, 8)):
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, *shape).astype(np.float32)
    return train_test_split(X, y, np.arange(len(y)) % 4, random_state=seed)


def conv_few_digits(seed):
    X, X_test, y, y_test, tasks, tests = conv_digits(seed)
    return X[:60], X_test, y[:60], y_test, tasks[:60], tests


def conv_rare_digits(seed):
    """Whether a digit is a 3 or not: a tenth are, and few of these are kept."""
    parts = conv_digits(seed)
    kept = (parts[2] != 3) | (np.arange(len(parts[2])) % 5 == 0)
    X, y, tasks = (part[kept] for part in parts[::2])
    return X, parts[1], (y == 3), (parts[3] == 3), tasks, parts[5]


def conv_rows_of_digits(seed):
    """Lines of a digit as a row of patches: patches of images, not of the theory."""
    return conv_digits(seed, (8, 8))


def conv_signals(seed):
    """Signals of two classes: a bump or a dent at a random place, in noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 800)
    places = rng.integers(5, 55, (800, 1))
    bump = np.exp(-((np.arange(60) - places) ** 2) / 4)
    X = bump * (2 * y[:, None] - 1) + 0.4 * rng.normal(size=(800, 60))
    return train_test_split(X, y, np.arange(800) % 4, random_state=seed)


def conv_long_signals(seed):
    """Long signals of two classes: waves of period 40 or 60, in noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 600)
    angles = np.arange(500) / np.array([40, 60])[y][:, None] + rng.random((600, 1))
    X = np.sin(2 * np.pi * angles) + 0.5 * rng.normal(size=angles.shape)
    return train_test_split(X, y, np.arange(600) % 4, random_state=seed)


def conv_flat_digits(seed):
    """Images as rows of numbers, which are read as signals."""
    return conv_digits(seed, (64,))


def conv_patches(seed, **settings):
    X, y, tasks, *_, problem = make_patch_tasks(random_state=seed, **settings)
    test = problem.sample(100, random_state=seed)
    return X, test.X, y, test.y, tasks, test.tasks


CONV_KINDS = {
    "digits": conv_digits,
    "60 digits": conv_few_digits,
    "2 % of digits": conv_rare_digits,
    "digits, rows of patches": conv_rows_of_digits,
    "digits, flat": conv_flat_digits,
    "signals": conv_signals,
    "signals, long": conv_long_signals,
    "patches": conv_patches,
    "patches, symmetric": lambda seed: conv_patches(
        seed, kind="symmetric", n_samples_per_task=120, noise_norm=1.4
    ),
    "patches, beyond gd": lambda seed: conv_patches(
        seed, n_samples_per_task=300, n_tasks=32
    ),
}
CONV_CHOICES = {
    "solver": {name: {"solver": name} for name in ("gd", "adam")},
    "kernel_size": {str(n): {"kernel_size": n} for n in (1, 2, 5, 32)},
    "pooling": {str(p): {"pooling": p} for p in ("sum", "mean", 2, 4)},
    "power": {str(q): {"power": q} for q in (1, 3)},
    "learning_rate": {str(rate): {"learning_rate": rate} for rate in (1e-3, 1e-2)},
    "max_iter": {"half": epochs(0.5), "three times": epochs(3)},
    "batch_size": {str(n): {"batch_size": n} for n in (32, 256)},
    "early_stopping": {"early_stopping": {"early_stopping": True}},
    "precision": {"bfloat16": {"precision": "bfloat16"}},
}


def fit_conv(data, parameters, seed):
    X, X_test, y, y_test, tasks, _ = data
    network = ConvMultiTaskClassifier(**parameters, random_state=seed)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        network.fit(X, y, tasks)
    scores = network.predict_proba(X_test)
    scores = scores[:, 1] if scores.shape[1] == 2 else scores
    return network, roc_auc_score(y_test, scores, multi_class="ovr"), told


def compare_conv(choice, data, seed):
    default, score, told = fit_conv(data, {}, seed)
    others = {}
    for name, given in CONV_CHOICES[choice].items():
        given = given(default) if callable(given) else given
        try:
            others[name] = fit_conv(data, given, seed)[1]
        except ValueError:  # more cells than positions, a kernel beyond its axis
            continue
    return score, others, told


def report(choice, kind, found, seconds):
    """One line; the best alternative is the best on average over seeds."""
    scores, others, told = zip(*found)
    means = {n: np.mean([other[n] for other in others]) for n in others[0]}
    best = max(means, key=means.get)
    default, gain = np.mean(scores), means[best] - np.mean(scores)
    said = {str(w.message).split(":")[0][:40] for part in told for w in part}
    mark = "  <--" if gain > MARKED and not said else ""
    print(
        f"{choice:16s} {kind:24s} {default:.3f}  {means[best]:.3f} {best:14s} "
        f"{gain:+.3f}  {seconds:4.0f} s  {'; '.join(said)}{mark}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = [*CHOICES, *OTHER_CHOICES, *(f"conv {name}" for name in CONV_CHOICES)]
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--choices", nargs="+", choices=choices, default=choices)
    parser.add_argument("--kinds", nargs="+", help="default: all of each choice")
    arguments = parser.parse_args()
    print(f"{'choice':16s} {'data':24s} auto   best alternative      gain")
    for choice in arguments.choices:
        is_conv = choice.startswith("conv ")
        kinds = CONV_KINDS if is_conv else ALL_KINDS
        for kind in arguments.kinds or kinds:
            if kind not in kinds:
                continue
            start, found = time.perf_counter(), []
            for seed in range(arguments.seeds):
                if is_conv:
                    row = compare_conv(choice[5:], CONV_KINDS[kind](seed), seed)
                else:
                    X, Y = ALL_KINDS[kind](seed)
                    rows = np.arange(X.shape[0])
                    data = X, Y, *train_test_split(rows, random_state=seed)
                    if choice in CHOICES:
                        row = compare_relu(choice, data, seed)
                    else:
                        row = OTHER_CHOICES[choice](data, seed)
                found += [row] if row else []
            if found:
                report(choice, kind, found, time.perf_counter() - start)


if __name__ == "__main__":
    main()
