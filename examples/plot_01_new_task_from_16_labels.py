"""
A new task from 16 labels
=========================

A representation is learned from 40 binary tasks with half of their labels missing.
Then 20 new tasks arrive with 16 to 128 labels each. Linear probes on the representation
compete with probes of raw inputs and of random features, and with a random forest, all
with the same labelled rows, and with what the source tasks say of any new one without a
label of it.

Tables are printed, the picture is saved as ``demo.png``. Where the environment variable
``MTRL_DATA`` names a folder with ``toxcast.npz``, a second panel shows the same
comparison on assays of molecules, with the settings of the probe learned from the
source tasks.
"""

# %%
# The comparison
# --------------
# Each draw gives a new task a few labels, as many of one class as of the other. Scores
# are those of test rows that the representation was not trained on.

import os
import sys
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_digit_tasks
from mtrl_sklearn.plotting import TransferCurveDisplay
from mtrl_sklearn.probing import LinearProbe, calibrate, probe_new_tasks

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # smaller, for a quick look
N_DRAWS = 1 if FAST else 3
FOREST = "random forest"


def pretrain(X, Y):
    """A representation of the source tasks."""
    start = perf_counter()
    representation = MultiTaskReLURepresentation(random_state=0).fit(X, Y)
    print(
        f"Pre-training: {len(X)} rows, {Y.shape[1]} tasks, "
        f"{(~np.isnan(Y)).sum()} labels, {perf_counter() - start:.1f} s"
    )
    return representation


def compare(representation, X, Y_new, is_test, scoring, probe=None):
    """Scores of the probe, its baselines and a random forest, on the same rows."""
    options = {
        "test_rows": is_test,
        "scoring": scoring,
        "sampling": "balanced",
        "baselines": ("raw", "random", "no labels"),
        "n_draws": N_DRAWS,
        "n_jobs": 2,
        "random_state": 0,
    }
    table = probe_new_tasks(representation, X, Y_new, probe=probe, **options)
    if FAST:
        return table
    trees = RandomForestClassifier(random_state=0)
    options["baselines"] = ("raw",)
    forest = probe_new_tasks(representation, X, Y_new, probe=trees, **options)
    forest = forest[forest["features"] == "raw"].assign(features=FOREST)
    return pd.concat([table, forest], ignore_index=True)


def show(title, table):
    print(f"\n{title}, mean over {table['task'].nunique()} new tasks")
    means = table.groupby(["features", "shots"])["score"].mean().unstack()
    print(means.round(3).to_string())


# %%
# Digits
# ------
# Each task splits the ten digits into five and five at random. Pre-training sees 75 %
# of the images and the labels of 40 tasks; the few labels of the 20 new tasks come from
# the same images, and probes are tested on the other 25 %.

X, Y, Y_new, _ = make_digit_tasks(random_state=0)
X, Y = X.astype(np.float32), np.asarray(Y, dtype=float)
is_test = np.zeros(len(X), dtype=bool)
is_test[train_test_split(np.arange(len(X)), random_state=0)[1]] = True
representation = pretrain(X[~is_test], Y[~is_test])
digits = compare(representation, X, Y_new[:, : 8 if FAST else 20], is_test, "accuracy")
show("Digits: accuracy", digits)
print(digits.report().splitlines()[0])

# %%
# Assays
# ------
# 3535 molecules as 1024 fingerprint bits, 517 assays, 57 % of the labels missing. All
# assays of one platform are held out as new tasks, and 20 % of the molecules are for
# testing. :func:`~mtrl_sklearn.probing.calibrate` learns from the other platforms how
# the probe should weigh its features.

PLATFORM = "ATG"


def run_assays(path):
    with np.load(path) as data:
        X = np.unpackbits(data["X_packed"], axis=1)[:, :1024].astype(np.float32)
        Y = np.where(data["Y"] < 0, np.nan, data["Y"])
        names = data["task_names"].tolist()
    is_new = np.array([name.split("_")[0] == PLATFORM for name in names])
    is_test = np.random.default_rng(0).random(len(X)) < 0.2
    counts = [np.sum(Y[~is_test] == label, axis=0) for label in (0, 1)]
    new = np.flatnonzero(is_new & (np.min(counts, axis=0) >= 64))[:40]
    X_source, Y_source = X[~is_test], Y[~is_test][:, ~is_new]
    Y_source = Y_source[:, np.nanstd(Y_source, axis=0) > 0]  # both classes are there
    representation = pretrain(X_source, Y_source)
    settings = calibrate(representation, X_source, Y_source, random_state=0)
    probe = LinearProbe(settings=settings)
    return compare(representation, X, Y[:, new], is_test, "roc_auc", probe)


panels = {"Digits: accuracy": digits}
if (folder := os.environ.get("MTRL_DATA")) and not FAST:
    assays = run_assays(Path(folder) / "toxcast.npz")
    show(f"{PLATFORM} assays: ROC-AUC", assays)
    print(assays.report().splitlines()[0])
    panels[f"{PLATFORM} assays: ROC-AUC"] = assays
else:
    print("\nAssays: skipped. Set MTRL_DATA to a folder with toxcast.npz to run them.")

# %%
# Curves
# ------
# Guessing has 0.5. Bands show how tasks differ, eight of ten of which lie within; those
# of random features and of the forest are like that of raw inputs, and left out. Random
# ReLU features are those of a first layer without training.


def headline(table):
    """What the smallest number of labels is worth."""
    rows = table.summary().set_index(["features", "shots"]).loc["raw"]
    few, most = rows.index.min(), rows.index.max()
    enough = rows.loc[few, "labels_to_match"]
    if np.isinf(enough):
        return f"{few} labels on learned features do more than {most} on raw inputs"
    return f"{few} labels on learned features do what {enough:.0f} do on raw inputs"


NAMES = {"raw": "raw inputs", "random": "random ReLU features"}
WITHOUT_BAND = ["random ReLU features", FOREST]


def read_curves(table):
    """Numbers of labels, and for each kind of features the scores by them and task."""
    named = table.replace({"features": NAMES})
    names = list(dict.fromkeys(named["features"]))
    scores = named.groupby(["features", "shots", "task"])["score"].mean().unstack()
    curves = {name: scores.loc[name] for name in names}
    for name in set(names).intersection(WITHOUT_BAND):
        curves[name] = curves[name].mean(axis=1)
    return curves[names[0]].index, curves


fig, axes = plt.subplots(
    1, len(panels), figsize=(1.5 + 5 * len(panels), 4.4), squeeze=False
)
for ax, (title, table) in zip(axes.flat, panels.items()):
    data, metric = title.split(": ")
    ax.set_ylim(0.45, 1)
    TransferCurveDisplay(*read_curves(table), score_name=metric).plot(ax)
    n_tasks = table["task"].nunique()
    ax.set_title(f"{data}, {n_tasks} new tasks:\n{headline(table)}", weight="bold")
fig.savefig("demo.png")
print("\nCurves: demo.png")
