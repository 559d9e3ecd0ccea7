"""Quality of representations with default settings, on synthetic and on assay data.

Run as ``python benchmarks/relu_quality.py``. Prints one table per problem and writes
``relu_quality.json``. With ``--only-sources`` it is the table of source tasks alone:
ours against what users come from, an estimated ten minutes on two cores, or one with
``--quick``. The assay part reads ``toxcast.npz`` from the folder named by the
environment variable MTRL_DATA and is skipped where that is unset.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from _kinds import KINDS
from _source_contenders import PlainNetwork
from _source_kinds import MEASURED_KINDS, N_TASKS, QUICK_KINDS
from _source_tasks import report_sources
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.metrics import subspace_distance

SHOTS = (16, 32, 64, 128)
N_DRAWS = 4  # of the few labels of each new task: one draw is noisy at 16 labels


def probe(C):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=300))


def synthetic(seed, n_samples, n_features, n_hidden, algorithm):
    """Distance, rank and probe accuracy with 100 labels on 20 new balanced tasks."""
    X, Y, components, problem = make_subspace_tasks(
        n_samples, n_features, random_state=seed
    )
    X = X.astype(np.float32)
    start = time.perf_counter()
    representation = MultiTaskReLURepresentation(
        n_hidden, algorithm=algorithm, random_state=seed
    ).fit(X, Y)
    seconds = time.perf_counter() - start
    leading = np.linalg.svd(representation.hidden_weights_)[2][: len(components)]
    new_tasks = problem.new_tasks(20, random_state=seed + 1)
    X_new, Y_new = new_tasks.sample(4100, random_state=seed + 2)
    hidden = representation.transform(X_new.astype(np.float32))
    accuracy = [
        probe(0.1).fit(hidden[:100], y[:100]).score(hidden[100:], y[100:])
        for y in Y_new.T
    ]
    return {
        "distance": subspace_distance(leading, components),
        "n_components_": representation.n_components_,
        "probe accuracy": np.mean(accuracy),
        "seconds": seconds,
    }


def one_step(seed, kind):
    """Distance after one closed-form step on many rows."""
    X, Y, components, _ = make_subspace_tasks(
        40000, 100, n_components=3, n_tasks=64, kind=kind, random_state=seed
    )
    start = time.perf_counter()
    representation = MultiTaskReLURepresentation(
        algorithm="one_step", random_state=seed
    ).fit(X.astype(np.float32), Y)
    seconds = time.perf_counter() - start
    leading = np.linalg.svd(representation.hidden_weights_, full_matrices=False)[2]
    return {
        "distance": subspace_distance(leading[:3], components),
        "n_components_": representation.n_components_,
        "seconds": seconds,
    }


def load_assays(seed, held_out):
    """Rows 80/20, source tasks, and at most 40 new tasks with enough labels."""
    with np.load(Path(os.environ["MTRL_DATA"]) / "toxcast.npz") as data:
        X = np.unpackbits(data["X_packed"], axis=1)[:, :1024].astype(np.float32)
        Y = np.where(data["Y"] < 0, np.nan, data["Y"])
        names = data["task_names"].tolist()
        platform = np.array([name.split("_")[0] for name in names])
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(X))
    train, test = np.split(rows, [int(0.8 * len(X))])
    if held_out == "random":
        new = np.zeros(Y.shape[1], dtype=bool)
        new[rng.permutation(Y.shape[1])[: Y.shape[1] // 5]] = True
    else:
        new = platform == held_out
    enough = [
        ((Y[part] == label).sum(axis=0) >= count)
        for part, count in ((train, 64), (test, 10))
        for label in (0, 1)
    ]
    usable = np.flatnonzero(new & np.all(enough, axis=0))
    return X, Y[:, ~new], Y[:, rng.permutation(usable)[:40]], train, test


def few_shot_auc(features, y, train, test, C, seed):
    """ROC-AUC of a probe on one task for each number of labels."""
    rng = np.random.default_rng(seed)
    positive, negative = (rng.permutation(train[y[train] == k]) for k in (1, 0))
    test = test[~np.isnan(y[test])]
    scores = []
    for shots in SHOTS:
        rows = np.r_[positive[: shots // 2], negative[: shots // 2]]
        model = probe(C).fit(features[rows], y[rows])
        scores.append(roc_auc_score(y[test], model.decision_function(features[test])))
    return scores


def assays(seed, held_out):
    """Mean ROC-AUC per number of labels for ours and the plain network."""
    X, Y, Y_new, train, test = load_assays(seed, held_out)
    ours = MultiTaskReLURepresentation(random_state=seed)
    start = time.perf_counter()
    ours.fit(X[train], Y[train])
    seconds = time.perf_counter() - start
    plain = PlainNetwork(seed).fit(X[train], Y[train])
    contenders = {
        "raw": (X, 0.1),
        "plain network": (plain.transform(X), 0.01),
        "ours": (ours.transform(X), 0.01),
        "ours, scores": (ours.set_params(output="scores").transform(X), 0.01),
    }
    table = {
        name: np.mean(
            Parallel(n_jobs=2)(
                delayed(few_shot_auc)(features, y, train, test, C, [seed, k, draw])
                for k, y in enumerate(Y_new.T)
                for draw in range(N_DRAWS)
            ),
            axis=0,
        )
        for name, (features, C) in contenders.items()
    }
    return {"table": table, "rank": ours.n_components_, "seconds": seconds}


def harm(name, seed, algorithm):
    """ROC-AUC of source tasks on a quarter of the rows, with the cut and without."""
    X, Y = KINDS[name](seed)
    train, test = train_test_split(np.arange(X.shape[0]), random_state=seed)
    row = {}
    for n_components in (None, "auto"):
        representation = MultiTaskReLURepresentation(
            n_components=n_components, algorithm=algorithm, random_state=seed
        )
        start = time.perf_counter()
        representation.fit(X[train], Y[train])
        row[f"{n_components} seconds"] = time.perf_counter() - start
        row[f"{n_components}"] = representation.score(X[test], Y[test])
    row["rank"] = representation.n_components_
    return row


def report_harm(seeds, algorithm, names):
    """One line for each kind of data, as they come."""
    print(f"\n{algorithm}: ROC-AUC of source tasks on new rows")
    print(f"  {'n_components':22s}  None   auto   least gain  time  ranks")
    results = {}
    for name in names:
        rows = results[name] = [harm(name, seed, algorithm) for seed in seeds]
        none, auto = (np.array([row[k] for row in rows]) for k in ("None", "auto"))
        took = [row["auto seconds"] / row["None seconds"] for row in rows]
        print(
            f"  {name:22s} {none.mean():.3f}  {auto.mean():.3f}    "
            f"{(auto - none).min():+.3f}    {np.mean(took):4.1f}x  "
            f"{[row['rank'] for row in rows]}",
            flush=True,
        )
    return results


def report(title, rows):
    print(f"\n{title}")
    keys = rows[0].keys()
    for key in keys:
        values = [row[key] for row in rows]
        each = " ".join(f"{v:.3f}" for v in values)
        print(f"  {key:16s} {np.mean(values):7.3f}   {each}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seeds", type=int, help="3 by default; 1 of the table of source tasks"
    )
    parser.add_argument("--output", type=Path, default=Path("relu_quality.json"))
    parser.add_argument(
        "--only-harm", action="store_true", help="only what the cut of 'auto' costs"
    )
    parser.add_argument(
        "--only-sources", action="store_true", help="only the table of source tasks"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few tasks and kinds of that table"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes of that table")
    parser.add_argument(
        "--tasks",
        type=int,
        help="of a kind that are measured there, 10 or 30 by default",
    )
    parser.add_argument(
        "--algorithm",
        choices=("alternating", "joint", "one_step"),
        default="alternating",
        help="of the table of the cut",
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=KINDS | MEASURED_KINDS,
        metavar="KIND",
        help="of the tables of the cut and of source tasks",
    )
    arguments = parser.parse_args()
    seeds = range(arguments.seeds or 3)
    results = {}
    if not arguments.only_sources:
        kinds = [k for k in arguments.kinds or KINDS if k in KINDS]
        results["harm"] = report_harm(seeds, arguments.algorithm, kinds)
    if arguments.only_harm:
        return
    kinds = QUICK_KINDS if arguments.quick else MEASURED_KINDS
    kinds = [k for k in arguments.kinds or kinds if k in MEASURED_KINDS]
    results["sources"] = report_sources(
        kinds,
        range(arguments.seeds or 1),
        {k: arguments.tasks or (5 if arguments.quick else N_TASKS[k]) for k in kinds},
        arguments.jobs,
    )
    if arguments.only_sources:
        arguments.output.write_text(json.dumps(results, indent=1, default=float))
        return
    for algorithm in ("alternating", "joint"):
        for n_samples, n_features in ((2000, 100), (4000, 1000)):
            title = f"{algorithm}, d={n_features}, n={n_samples}, r=4, T=64, 256 units"
            rows = [
                synthetic(seed, n_samples, n_features, 256, algorithm) for seed in seeds
            ]
            report(title, rows)
            results[title] = rows
    for kind in ("balanced", "unbalanced"):
        title = f"one_step, {kind}, d=100, n=40000, r=3, T=64, 512 units"
        rows = [one_step(seed, kind) for seed in seeds]
        report(title, rows)
        results[title] = rows
    if "MTRL_DATA" not in os.environ:
        print("\nassays: skipped, MTRL_DATA is not set")
    else:
        for held_out in ("random", "ATG", "NVS"):
            runs = [assays(seed, held_out) for seed in seeds]
            print(f"\nassays, new tasks: {held_out}; rank {[r['rank'] for r in runs]}")
            print(f"  {'features':16s}" + "".join(f"  k={k:<4d}" for k in SHOTS))
            for name in runs[0]["table"]:
                mean = np.mean([run["table"][name] for run in runs], axis=0)
                print(f"  {name:16s}" + "".join(f"  {v:.3f} " for v in mean))
                results[f"assays {held_out} {name}"] = mean.tolist()
    arguments.output.write_text(json.dumps(results, indent=1, default=float))


if __name__ == "__main__":
    main()
