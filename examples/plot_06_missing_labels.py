"""
What it costs to fill missing labels
====================================

Most labels of many tasks are missing. A network for many outputs that cannot skip them
is given the negative class instead, as in "no record of toxicity: not toxic". Here the
same network learns from the same labels twice, once with missing labels left out of the
loss and once filled in, and new tasks with few labels tell the two apart.

Tables are printed, the picture is saved as ``missing_labels.png``. Where the
environment variable ``MTRL_DATA`` names a folder with ``toxcast.npz``, the comparison
is repeated on assays of molecules.
"""

# %%
# Contenders
# ----------
# Labels that are NaN have no part in the loss. Filled with 0, they count as negative.
# Both representations get the same probes; these see complete labels of new tasks. The
# same probes on raw inputs show what a representation is worth.

import os
import sys
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_digit_tasks, make_subspace_tasks

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # fewer fractions and draws, for a test

MISSING = np.array([0, 0.95] if FAST else [0, 0.5, 0.8, 0.9, 0.95])
N_DRAWS = 1 if FAST else 3
MASKED = "missing labels skipped"
FILLED = "missing labels filled with 0"
RAW = "raw inputs"


def represent(X, Y, train, seed):
    """Features of all rows, learned from the training rows, for each contender."""
    labels = {MASKED: Y, FILLED: np.nan_to_num(Y)}
    network = MultiTaskReLURepresentation(256, random_state=seed)
    features = {
        name: network.fit(X[train], filled[train]).transform(X)
        for name, filled in labels.items()
    }
    return features | {RAW: X}


def score_probes(features, Y_new, train, test, n_labels, C, scoring="accuracy"):
    """Mean score on new tasks, each with few labels, as many of either class."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
    scores = []
    for seed, y in enumerate(Y_new.T):
        rng = np.random.default_rng(seed)
        rows = [train[y[train] == label] for label in (0, 1)]
        few = np.concatenate([rng.permutation(r)[: n_labels // 2] for r in rows])
        known = test[~np.isnan(y[test])]
        probe.fit(features[few], y[few])
        scores.append(get_scorer(scoring)(probe, features[known], y[known]))
    return np.mean(scores)


# %%
# Labels that are missing at random
# ---------------------------------
# Digits: 40 tasks that split the ten digits into five and five, 16 labels of each of 20
# new tasks. Synthetic: 64 tasks that depend on four of 100 dimensions, 100 labels of
# each of 20 new ones. Which labels are missing is independent of everything else, so
# that filling them scales the signal down and adds noise to it, but no bias.


def compare_digits(missing, seed):
    X, Y, Y_new, _ = make_digit_tasks(missing_fraction=missing, random_state=seed)
    train, test = train_test_split(np.arange(len(X)), random_state=seed)
    features = represent(X.astype(np.float32), Y, train, seed)
    return {
        name: score_probes(Z, Y_new, train, test, n_labels=16, C=1)
        for name, Z in features.items()
    }


def compare_synthetic(missing, seed):
    X, Y, _, problem = make_subspace_tasks(
        4000, missing_fraction=missing, random_state=seed
    )
    new_tasks = problem.new_tasks(20, random_state=seed)
    X_new, Y_new = new_tasks.sample(4000, random_state=seed)
    both = np.concatenate([X, X_new]).astype(np.float32)
    features = represent(both, Y, np.arange(len(X)), seed)
    few, test = np.split(np.arange(len(X_new)), [1000])
    return {
        name: score_probes(Z[len(X) :], Y_new, few, test, n_labels=100, C=0.1)
        for name, Z in features.items()
    }


def print_table(title, columns, rows):
    print(f"\n{title}")
    print(f"{'':40}" + "".join(f"{column:>7}" for column in columns))
    for name, values in rows.items():
        print(f"{name:40}" + "".join(f"{value:7.3f}" for value in values))


PROBLEMS = {"Digits": compare_digits, "Synthetic": compare_synthetic}
runs = Parallel(n_jobs=2)(
    delayed(compare)(missing, seed)
    for compare, missing, seed in product(PROBLEMS.values(), MISSING, range(N_DRAWS))
)
shape = len(PROBLEMS), len(MISSING), N_DRAWS
accuracies = {name: np.reshape([run[name] for run in runs], shape) for name in runs[0]}
for k, problem in enumerate(PROBLEMS):
    means = {name: values[k].mean(axis=1) for name, values in accuracies.items()}
    title = f"{problem}: accuracy on new tasks, by the share of missing labels"
    print_table(
        title, MISSING, means | {"cost of filling": means[MASKED] - means[FILLED]}
    )

# %%
# Assays
# ------
# 3535 molecules, 517 assays, 57 % of the labels missing, and not at random: whole
# series of molecules go through some assays only. A random 20 % of the assays are held
# out as new tasks, and of the molecules for testing.

N_LABELS = [16, 64, 128]


def run_assays(path):
    """ROC-AUC for each number of labels."""
    with np.load(path) as data:
        X = np.unpackbits(data["X_packed"], axis=1)[:, :1024].astype(np.float32)
        Y = np.where(data["Y"] < 0, np.nan, data["Y"])
    rows, tasks = np.arange(len(X)), np.arange(Y.shape[1])
    train, test = train_test_split(rows, test_size=0.2, random_state=0)
    source, new = train_test_split(tasks, test_size=0.2, random_state=0)
    counts = [[(Y[part] == c).sum(axis=0) for c in (0, 1)] for part in (train, test)]
    enough = (np.min(counts[0], axis=0) >= 64) & (np.min(counts[1], axis=0) >= 10)
    new = new[enough[new]][:40]
    features = represent(X, Y[:, source], train, seed=0)
    return {
        name: [
            score_probes(Z, Y[:, new], train, test, n_labels, 0.01, "roc_auc")
            for n_labels in N_LABELS
        ]
        for name, Z in features.items()
    }


assays = None
if folder := os.environ.get("MTRL_DATA"):
    assays = run_assays(Path(folder) / "toxcast.npz")
    print_table("Assays: ROC-AUC on new tasks, by their labels", N_LABELS, assays)
else:
    print("\nAssays: skipped. Set MTRL_DATA to a folder with toxcast.npz to run them.")

# %%
# Picture
# -------
# Points are means over draws of tasks and of missing labels. Guessing has 0.5, where
# all axes begin.

STYLES = {  # colours that differ without colour vision as well, and markers
    MASKED: {"color": "#0072B2", "marker": "o", "linewidth": 2.5},
    FILLED: {"color": "#D55E00", "marker": "s"},
    RAW: {"color": "#000000", "marker": "D", "linestyle": "--"},
}


def draw_problem(ax, k):
    for i, (name, values) in enumerate(accuracies.items()):
        mean = values[k].mean(axis=1)
        spread = np.abs([values[k].min(axis=1), values[k].max(axis=1)] - mean)
        x = (1 - MISSING) * 1.03 ** (1 - i)  # so that bars do not cover each other
        ax.errorbar(x, mean, spread, elinewidth=1.2, label=name, **STYLES[name])
    ax.set_xscale("log", base=2)
    ax.set_xticks(1 - MISSING, [f"{share:.0%}" for share in MISSING])
    ax.minorticks_off()
    ax.invert_xaxis()
    ax.set_xlabel(
        "labels that are missing (log scale of those left)\n"
        f"points: mean of {N_DRAWS} draws, bars: from the worst to the best"
    )
    ax.set_ylabel("accuracy, mean over 20 new tasks")
    ax.set_ylim(0.5, 0.9)


def draw_assays(ax, assays):
    for name, scores in assays.items():
        ax.plot(N_LABELS, scores, label=name, **STYLES[name])
    ax.set_xscale("log", base=2)
    ax.set_xticks(N_LABELS, N_LABELS)
    ax.set_ylim(0.5, 0.7)
    ax.set_xlabel("labels of a new task")
    ax.set_ylabel("ROC-AUC, mean over new assays")


titles = ["Digits, 16 labels of a new task", "Synthetic, 100 labels of a new task"]
n_panels = 2 if assays is None else 3
fig, axes = plt.subplots(1, n_panels, figsize=(5 * n_panels, 4.4))
for k, title in enumerate(titles):
    draw_problem(axes[k], k)
    axes[k].set_title(title)
if assays is not None:
    draw_assays(axes[2], assays)
    axes[2].set_title("Assays, 57% of the labels missing")
handles, names = axes[0].get_legend_handles_labels()
fig.legend(handles, names, loc="outside lower center", ncols=3)
masked, filled = (accuracies[name][:, -1].mean(axis=1) for name in (MASKED, FILLED))
fig.suptitle(
    f"{MISSING[-1]:.0%} missing: filling costs {masked[0] - filled[0]:.2f} on digits, "
    f"{masked[1] - filled[1]:.2f} on synthetic tasks",
    x=0.01,
    ha="left",
)
fig.savefig("missing_labels.png")
print("\nCurves: missing_labels.png")
