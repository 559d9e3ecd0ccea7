"""
A new task from 16 labels
=========================

A representation is learned from 40 binary tasks with half of their labels missing.
Then 20 new tasks arrive with 16 to 128 labels each. Probes on the learned hidden
features compete with logistic regression and a random forest on the raw inputs, and
with logistic regression on random ReLU features, all with the same labelled rows.

The table is printed, the picture is saved as ``demo.png``. Where the environment
variable ``MTRL_DATA`` names a folder with ``toxcast.npz``, a second panel shows the
same comparison on assays of molecules.
"""

# %%
# Probes
# ------
# A contender is a pair of features and a classifier. Each new task gives it a few
# labels, as many of one class as of the other, and scores it on test rows.

import os
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_digit_tasks

N_LABELS = np.array([16, 32, 64, 128])
N_DRAWS = 3
LEARNED = "learned features + logistic"
RANDOM = "random ReLU features + logistic"
FOREST = "raw inputs + random forest"
RAW = "raw inputs + logistic"


class Contender(NamedTuple):
    """A classifier and the features it sees; rows are those of X."""

    features: np.ndarray  # (n_samples, n_features)
    classifier: object


def linear_probe(C):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))


def random_relu(X, train, n_hidden=512):
    """Features of a hidden layer that was never trained."""
    W = np.random.default_rng(0).standard_normal((n_hidden, X.shape[1]))
    return np.maximum(0, (X - X[train].mean(axis=0)) @ W.T)


def balanced_draw(y, n_labels, rng):
    """Rows of a few observed labels, half of them of either class."""
    rows = [np.flatnonzero(y == label) for label in (0, 1)]
    return np.concatenate([rng.choice(r, n_labels // 2, replace=False) for r in rows])


def probe_task(contender, y, train, test, scoring, seed):
    """Scores and fit times on one task, of shape (2, n_draws, n_label_counts)."""
    features, classifier = contender
    test = test[~np.isnan(y[test])]
    results = np.empty((2, N_DRAWS, len(N_LABELS)))
    for draw, k in np.ndindex(results.shape[1:]):
        rng = np.random.default_rng([seed, draw, k])
        few = train[balanced_draw(y[train], N_LABELS[k], rng)]
        start = perf_counter()
        classifier.fit(features[few], y[few])
        seconds = perf_counter() - start
        score = get_scorer(scoring)(classifier, features[test], y[test])
        results[:, draw, k] = score, seconds
    return results


def compare(contenders, Y_new, train, test, scoring):
    """Results of each contender, of shape (2, n_new_tasks, n_label_counts)."""
    with Parallel(n_jobs=2) as parallel:
        return {
            name: np.mean(
                parallel(
                    delayed(probe_task)(contender, y, train, test, scoring, seed)
                    for seed, y in enumerate(Y_new.T)
                ),
                axis=2,  # over draws
            ).swapaxes(0, 1)
            for name, contender in contenders.items()
        }


def print_table(title, results):
    print(f"\n{title}")
    print(f"{'labels':34}" + "".join(f"{k:7}" for k in N_LABELS) + "   time per probe")
    for name, (scores, seconds) in results.items():
        row = "".join(f"{score:7.3f}" for score in scores.mean(axis=0))
        print(f"{name:34}{row}   {1000 * seconds.mean():11.0f} ms")


def pretrain(X, Y, train):
    """Hidden features of all rows, learned from the training rows."""
    start = perf_counter()
    representation = MultiTaskReLURepresentation(random_state=0)
    representation.fit(X[train], Y[train])
    n_labels = np.isfinite(Y[train]).sum()
    print(
        f"Pre-training: {len(train)} rows, {Y.shape[1]} tasks, {n_labels} labels, "
        f"{perf_counter() - start:.1f} s"
    )
    return representation.transform(X)


# %%
# Digits
# ------
# Each task splits the ten digits into five and five at random. Pre-training sees 75 %
# of the images and the labels of 40 tasks; the few labels of the 20 new tasks come from
# the same images, and probes are tested on the other 25 %. Each linear contender has
# the regularisation that was best for it, on average over all numbers of labels, on
# tasks and images drawn with other seeds.


def run_digits():
    X, Y, Y_new, _ = make_digit_tasks(random_state=0)
    train, test = train_test_split(np.arange(len(X)), random_state=0)
    contenders = {
        LEARNED: Contender(pretrain(X, Y, train), linear_probe(C=1)),
        RANDOM: Contender(random_relu(X, train), linear_probe(C=1)),
        FOREST: Contender(X, RandomForestClassifier(random_state=0)),
        RAW: Contender(X, linear_probe(C=0.3)),
    }
    return compare(contenders, Y_new, train, test, "accuracy")


digits = run_digits()
print_table("Digits: accuracy on 20 new tasks", digits)

# %%
# Assays
# ------
# 3535 molecules as 1024 fingerprint bits, 517 assays, 57 % of the labels missing. A
# random 20 % of the assays are held out as new tasks, those of them with enough labels
# are probed, and a random 20 % of the molecules are for testing. Labels are noisy here,
# so that all linear contenders want strong regularisation.


def run_assays(path):
    with np.load(path) as data:
        X = np.unpackbits(data["X_packed"], axis=1)[:, :1024].astype(np.float32)
        Y = np.where(data["Y"] < 0, np.nan, data["Y"])
    rows, tasks = np.arange(len(X)), np.arange(Y.shape[1])
    train, test = train_test_split(rows, test_size=0.2, random_state=0)
    source, new = train_test_split(tasks, test_size=0.2, random_state=0)
    counts = [[(Y[part] == c).sum(axis=0) for c in (0, 1)] for part in (train, test)]
    enough = (np.min(counts[0], axis=0) >= 64) & (np.min(counts[1], axis=0) >= 10)
    new = new[enough[new]][:40]
    contenders = {
        LEARNED: Contender(pretrain(X, Y[:, source], train), linear_probe(C=0.01)),
        RANDOM: Contender(random_relu(X, train), linear_probe(C=0.01)),
        FOREST: Contender(X, RandomForestClassifier(random_state=0)),
        RAW: Contender(X, linear_probe(C=0.1)),
    }
    return compare(contenders, Y[:, new], train, test, "roc_auc")


panels = {"Digits: accuracy": digits}
if folder := os.environ.get("MTRL_DATA"):
    assays = run_assays(Path(folder) / "toxcast.npz")
    print_table(f"Assays: ROC-AUC on {len(assays[LEARNED][0])} new tasks", assays)
    panels["Assays: ROC-AUC"] = assays
else:
    print("\nAssays: skipped. Set MTRL_DATA to a folder with toxcast.npz to run them.")

# %%
# Curves
# ------
# Points are means over the new tasks, bars two standard errors of that mean.

STYLES = {  # colours that differ without colour vision as well, and markers
    LEARNED: {"color": "#0072B2", "marker": "o", "linewidth": 2.5},
    RANDOM: {"color": "#D55E00", "marker": "s"},
    FOREST: {"color": "#009E73", "marker": "^"},
    RAW: {"color": "#000000", "marker": "D"},
}


def draw_panel(ax, title, results):
    for k, (name, (scores, _)) in enumerate(results.items()):
        x = N_LABELS * 1.015 ** (k - 1.5)  # so that bars do not cover each other
        mean = scores.mean(axis=0)
        error = 2 * scores.std(axis=0, ddof=1) / np.sqrt(len(scores))
        ax.errorbar(x, mean, error, elinewidth=1.2, **STYLES[name])
    ax.set_xscale("log", base=2)
    ax.set_xticks(N_LABELS, N_LABELS)
    ax.set_xlabel("labels of the new task")
    ax.set_title(f"{title}, mean over {len(scores)} new tasks", loc="left", size=10)
    ax.grid(axis="y", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def label_curves(ax, results):
    for name, (scores, _) in results.items():
        ax.annotate(
            name,
            (N_LABELS[-1], scores[:, -1].mean()),
            xytext=(12, 0),
            textcoords="offset points",
            color=STYLES[name]["color"],
            size=9,
            va="center",
        )


def headline(results):
    """The fewest labels that do on learned features what the most do on raw inputs."""
    learned, raw = (results[name][0].mean(axis=0) for name in (LEARNED, RAW))
    if learned.max() < raw[-1]:
        return "Learned features do not reach raw inputs here"
    few = N_LABELS[np.argmax(learned >= raw[-1])]
    return f"{few} labels on learned features do what {N_LABELS[-1]} do on raw inputs"


fig, axes = plt.subplots(
    1,
    len(panels),
    figsize=(2.6 + 4.4 * len(panels), 4),
    squeeze=False,
    layout="constrained",
)
for ax, (title, results) in zip(axes.flat, panels.items()):
    draw_panel(ax, title, results)
label_curves(axes[0, 0], digits)
fig.suptitle(headline(digits), weight="bold", x=0.01, ha="left")
fig.savefig("demo.png", dpi=120, bbox_inches="tight")
print("\nCurves: demo.png")
