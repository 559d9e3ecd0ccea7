"""What pooling tasks does for the convolutional network: theory, transfer, photographs.

Run as ``python benchmarks/conv_quality.py``. Prints one table per part and writes
``conv_quality.json``. The last part reads ``corrupted_images.npz`` from the folder
named by the environment variable MTRL_DATA and is skipped where that is unset.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut

from mtrl_sklearn import ConvMultiTaskClassifier
from mtrl_sklearn.datasets import make_patch_tasks
from mtrl_sklearn.metrics import feature_alignment, signal_to_noise

SETTINGS = {  # of make_patch_tasks, see section "theory"
    "linear": {"kind": "linear", "n_samples_per_task": 60, "noise_norm": 1.5},
    "symmetric": {"kind": "symmetric", "n_samples_per_task": 120, "noise_norm": 1.4},
}
SHOTS = (8, 16, 32, 64)


def single(X):
    return X.astype(np.float32)


def patch_network(head, seed):
    return ConvMultiTaskClassifier(head=head, random_state=seed)


def theory(kind, head, seed):
    """Errors and alignments of 16 tasks together and of one alone."""
    X, y, tasks, _, v, _, problem = make_patch_tasks(
        n_tasks=16, random_state=seed, **SETTINGS[kind]
    )
    test = problem.sample(500, random_state=seed)
    X, X_test = single(X), single(test.X)
    row = {}
    for name, chosen in (("many", slice(None)), ("one", 0)):
        rows = np.isin(tasks, np.unique(tasks)[chosen])
        tested = np.isin(test.tasks, np.unique(tasks)[chosen])
        network = patch_network(head, seed)
        start = time.perf_counter()
        network.fit(X[rows], y[rows], tasks[rows])
        row[f"{name}, seconds"] = time.perf_counter() - start
        row[f"{name}, error in training"] = 1 - network.score(
            X[rows], y[rows], tasks[rows]
        )
        for part, carries in (
            ("", np.ones_like(tested)),
            (" on shared", test.is_shared),
            (" on specific", ~test.is_shared),
        ):
            on = tested & carries
            error = 1 - network.score(X_test[on], test.y[on], test.tasks[on])
            row[f"{name}, error{part}"] = error
        row[f"{name}, alignment"] = feature_alignment(network.filters_, v).max()
    return row


def sweep(kind, n_tasks, seed):
    """Test error of all tasks together, and of one task with as many rows."""
    settings = SETTINGS[kind]
    X, y, tasks, _, _, _, problem = make_patch_tasks(
        n_tasks=n_tasks, random_state=seed, **settings
    )
    test = problem.sample(2000 // n_tasks, random_state=seed)
    pooled = problem.new_tasks(1, random_state=seed)
    matched = pooled.sample(len(X), random_state=seed + 1)
    X_pooled, y_pooled, *_ = pooled.sample(2000, random_state=seed)
    network = patch_network("fixed", seed)
    return {
        f"K={n_tasks}": 1
        - network.fit(single(X), y, tasks).score(single(test.X), test.y),
        f"K={n_tasks}, one task with as many rows": 1
        - network.fit(single(matched.X), matched.y).score(single(X_pooled), y_pooled),
    }


def law(seed):
    """Error on shared rows of a random configuration, and what it should depend on."""
    rng = np.random.default_rng(seed)
    setting = {
        "n_samples_per_task": int(rng.choice([30, 60, 120])),
        "n_tasks": int(rng.choice([1, 2, 4, 8, 16])),
        "shared_fraction": float(rng.uniform(0.3, 0.7)),
        "noise_norm": float(rng.uniform(1.2, 1.8)),
    }
    if setting["n_samples_per_task"] * setting["n_tasks"] > 1000:
        return None
    wanted = float(np.exp(rng.uniform(np.log(0.4), np.log(12))))
    at_one = signal_to_noise(**setting, shared_strength=1).shared
    setting["shared_strength"] = (wanted / at_one) ** (1 / 3)
    if setting["shared_strength"] > 1:
        return None
    X, y, tasks, *_, problem = make_patch_tasks(random_state=seed, **setting)
    test = problem.sample(200, shared_fraction=1, random_state=seed)
    network = patch_network("fixed", seed).fit(single(X), y, tasks)
    return signal_to_noise(**setting).shared, 1 - network.score(single(test.X), test.y)


def balanced(few, n_labels):
    """The first rows of a sample, as many of each class."""
    rows = [np.flatnonzero(few.y == label)[: n_labels // 2] for label in (-1, 1)]
    return np.concatenate(rows)


def probe_error(features, y, features_test, y_test):
    """Error of a linear probe on features with one global scale."""
    scale = features.std() or 1
    probe = LogisticRegression(max_iter=1000).fit(features / scale, y)
    return 1 - probe.score(features_test / scale, y_test)


def transfer(seed):
    """Errors of probes on new tasks that carry the shared feature alone."""
    X, y, tasks, *_, problem = make_patch_tasks(
        n_tasks=16, random_state=seed, **SETTINGS["symmetric"]
    )
    new = problem.new_tasks(1, random_state=seed)
    few = new.sample(2 * max(SHOTS), shared_fraction=1, random_state=seed)
    test = new.sample(1000, shared_fraction=1, random_state=seed + 1)
    W = np.random.default_rng(seed).standard_normal((64, X.shape[2]))
    one = tasks == 0
    maps = {
        "many tasks": patch_network("fixed", seed).fit(X, y, tasks).transform,
        "one task": patch_network("fixed", seed).fit(X[one], y[one]).transform,
        "random filters": lambda X: (np.maximum(X @ W.T, 0) ** 3).sum(axis=1),
        "raw": lambda X: X.reshape(len(X), -1),
    }
    rows = [balanced(few, k) for k in SHOTS]
    return {
        name: [probe_error(f(few.X[r]), few.y[r], f(test.X), test.y) for r in rows]
        for name, f in maps.items()
    }


def load_photographs():
    """Images (n_tasks, n, 3, 32, 32) and labels for training and for tests."""
    with np.load(Path(os.environ["MTRL_DATA"]) / "corrupted_images.npz") as data:
        X, X_test = (np.moveaxis(data[f"X_{k}"], -1, 2) for k in ("train", "test"))
        return X, data["y_train"], X_test, data["y_test"]


def stack(X, y):
    """Rows of all tasks, and their task."""
    tasks = np.repeat(np.arange(len(X)), X.shape[1])
    return X.reshape(-1, *X.shape[2:]), np.ravel(y), tasks


def probe_accuracy(maps, X, y, X_test, y_test, C):
    """Mean accuracy over tasks of a probe on the features of each task."""
    scores = []
    for features, a, b, a_test in zip(maps, X, y, X_test):
        F, F_test = features(a), features(a_test)
        centre, scale = F.mean(axis=0), F.std()
        probe = LogisticRegression(C=C, max_iter=2000).fit((F - centre) / scale, b)
        scores.append(probe.score((F_test - centre) / scale, y_test))
    return np.mean(scores)


def photographs(seed):
    """Mean accuracy over tasks on their test images."""
    X, y, X_test, y_test = load_photographs()
    n_tasks, n_images = y.shape
    rows = stack(X, y)
    random = ConvMultiTaskClassifier(
        max_iter=1, learning_rate=1e-12, random_state=seed
    ).fit(*rows)
    start = time.perf_counter()
    shared = ConvMultiTaskClassifier(random_state=seed).fit(*rows)
    seconds = time.perf_counter() - start
    own = ConvMultiTaskClassifier(head="per_task", random_state=seed).fit(*rows)
    alone = [ConvMultiTaskClassifier(random_state=seed).fit(*p) for p in zip(X, y)]
    few = n_images // n_tasks
    pooled = stack(X[:, :few], y[:, :few])
    small = ConvMultiTaskClassifier(random_state=seed).fit(*pooled)

    def accuracy(networks):
        pairs = zip(networks, X_test)
        return np.mean([network.score(a, y_test) for network, a in pairs])

    def probe(C, *networks):
        maps = [network.transform for network in networks]
        return probe_accuracy(maps, X, y, X_test, y_test, C)

    pixels = [lambda a: a.reshape(len(a), -1) / 255.0] * n_tasks
    row = {
        "pixels + logistic": probe_accuracy(pixels, X, y, X_test, y_test, 0.01),
        "random filters + logistic": max(
            probe(C, *[random] * n_tasks) for C in (0.01, 0.1, 1.0)
        ),
        "one task": accuracy(alone),
        "all tasks, a head each": np.mean(
            [
                own.score(a, y_test, np.full(len(a), task))
                for task, a in enumerate(X_test)
            ]
        ),
        "probe on the features of all tasks": probe(0.1, *[shared] * n_tasks),
        "all tasks, one shared head": accuracy([shared] * n_tasks),
        f"all tasks, {few} images each": accuracy([small] * n_tasks),
        f"one task, {few * n_tasks} images": np.mean(
            [
                ConvMultiTaskClassifier(random_state=seed)
                .fit(a[: few * n_tasks], b[: few * n_tasks])
                .score(a_test, y_test)
                for a, b, a_test in zip(X, y, X_test)
            ]
        ),
        "seconds, shared head": seconds,
    }
    left_out = []
    for train, _ in LeaveOneGroupOut().split(rows[0], groups=rows[2]):
        network = ConvMultiTaskClassifier(random_state=seed)
        network.fit(*(part[train] for part in rows))
        (task,) = set(range(n_tasks)) - set(rows[2][train])
        left_out.append(network.score(X_test[task], y_test))
    row["leave one corruption out"] = np.mean(left_out)
    row["shared head minus one task"] = (
        row["all tasks, one shared head"] - row["one task"]
    )
    row["shared head minus random filters"] = (
        row["all tasks, one shared head"] - row["random filters + logistic"]
    )
    return row


def report(title, rows):
    """Mean over seeds and every seed, of each entry."""
    print(f"\n{title}")
    for key in rows[0]:
        values = [row[key] for row in rows]
        each = " ".join(f"{value:.3f}" for value in values)
        print(f"  {key:38s} {np.mean(values):7.3f}   {each}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--configurations", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("conv_quality.json"))
    arguments = parser.parse_args()
    seeds, results = range(arguments.seeds), {}
    for kind in SETTINGS:
        for head in ("fixed", "shared"):
            title = f"{kind}, head={head}, 16 tasks and one"
            results[title] = [theory(kind, head, seed) for seed in seeds]
            report(title, results[title])
        title = f"{kind}, test error against the number of tasks"
        sweeps = [
            {
                k: v
                for K in (1, 2, 4, 8, 16, 32)
                for k, v in sweep(kind, K, seed).items()
            }
            for seed in seeds
        ]
        report(title, sweeps)
        results[title] = sweeps

    title = "error on shared rows against S_v, linear, random configurations"
    points = [p for p in map(law, range(arguments.configurations)) if p is not None]
    S_v, error = np.array(sorted(points)).T
    print(f"\n{title}")
    for low, high in ((0, 1.5), (1.5, 4), (4, np.inf)):
        of_bin = error[(S_v >= low) & (S_v < high)]
        print(
            f"  {low} <= S_v < {high}: {len(of_bin)} configurations, error "
            f"{of_bin.min():.3f} to {of_bin.max():.3f}"
        )
    results[title] = {"S_v": S_v.tolist(), "error": error.tolist()}

    rows = [transfer(seed) for seed in seeds]
    title = "new tasks with the shared feature alone, symmetric: error of probes"
    print(f"\n{title}\n  {'features':16s}" + "".join(f"  {k:3d} labels" for k in SHOTS))
    for name in rows[0]:
        mean = np.mean([row[name] for row in rows], axis=0)
        print(f"  {name:16s}" + "".join(f"  {value:10.3f}" for value in mean))
    results[title] = rows

    if "MTRL_DATA" not in os.environ:
        print("\nphotographs: skipped, MTRL_DATA is not set")
    else:
        title = "photographs: mean accuracy over corruptions"
        results[title] = [photographs(seed) for seed in seeds]
        report(title, results[title])
    arguments.output.write_text(json.dumps(results, indent=1, default=float))


if __name__ == "__main__":
    main()
