"""
100 labels do, whatever the dimension
=====================================

A new task depends on four directions of its inputs. Where the representation knows
them, 100 labels of the task suffice, and no more are needed when inputs get more
dimensions: what has to grow with the dimension are the rows that pre-training sees,
here 20 for each. Raw inputs and random features get worse, since they spend the labels
on all dimensions. After Collins et al. (ICML 2024), reconstructed from its abstract.

On tasks with a linear trace, partial least squares is not far behind. On parities every
linear method fails, by symmetry, and the network does not. Much of what the network
gains comes from cutting its first layer to the rank that its singular values show; that
is an addition of this package. Without it accuracy depends on the dimension as little,
but is lower.

Tables are printed, the picture is saved as ``dimension.png``.
"""

# %%
# Contenders
# ----------
# All probes are logistic regressions on features that are standardised. A method that
# gives four directions is put on a par with the network by a hidden layer of random
# ReLUs on top of them. One such layer knows the true directions: no probe can be
# expected to do better.

import sys
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.cross_decomposition import PLSSVD
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # fewer dimensions and draws, for a test

N_FEATURES = np.array([50, 200] if FAST else [50, 100, 200, 500, 1000])
ROWS_PER_FEATURE = 20
N_LABELS = 100
N_DRAWS = 1 if FAST else 2
N_DIRECTIONS = 4
N_HIDDEN = 256
TRUE = "true directions"
LEARNED = "learned representation"
WHOLE = "learned, rank not cut"
PLS = "partial least squares"
LDA = "linear discriminants of all tasks"
PCS = "principal components"
RAW = "raw inputs"
RANDOM = "random ReLU features"


def find_directions(X, Y, linear):
    """Four directions of each linear method, of shape (4, n_features)."""
    directions = {PLS: PLSSVD(N_DIRECTIONS, scale=False).fit(X, Y).x_weights_.T}
    if linear == "all":
        discriminants = [LinearDiscriminantAnalysis().fit(X, y).coef_[0] for y in Y.T]
        leading = np.linalg.svd(discriminants, full_matrices=False)[2]
        directions[LDA] = leading[:N_DIRECTIONS]
        directions[PCS] = PCA(N_DIRECTIONS).fit(X).components_
    return directions


def random_layer(X, rng):
    W = rng.standard_normal((N_HIDDEN, X.shape[1])) / np.sqrt(X.shape[1])
    return np.maximum(0, X @ W.T.astype(X.dtype))


def score_probes(features, Y):
    """Mean accuracy over new tasks, each with few labels."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    few, test = slice(N_LABELS), slice(N_LABELS, None)
    return np.mean(
        [probe.fit(features[few], y[few]).score(features[test], y[test]) for y in Y.T]
    )


def compare(kind, n_features, seed, linear="fast"):
    """Accuracy on new tasks for each contender."""
    X, Y, components, problem = make_subspace_tasks(
        ROWS_PER_FEATURE * n_features,
        n_features,
        n_components=N_DIRECTIONS,
        kind=kind,
        random_state=seed,
    )
    X = X.astype(np.float32)
    cut = MultiTaskReLURepresentation(N_HIDDEN, random_state=seed).fit(X, Y)
    whole = clone(cut).set_params(n_components=None).fit(X, Y)
    X_new, Y_new = problem.new_tasks(20, random_state=seed).sample(
        N_LABELS + 2000, random_state=seed
    )
    X_new, rng = X_new.astype(np.float32), np.random.default_rng(seed)
    directions = {TRUE: components} | find_directions(X, Y, linear)
    features = {
        name: random_layer(X_new @ rows.T, rng) for name, rows in directions.items()
    }
    features[LEARNED] = cut.transform(X_new)
    features[WHOLE] = whole.transform(X_new)
    features[RANDOM] = random_layer(X_new, rng)
    features[RAW] = X_new
    return {name: score_probes(Z, Y_new) for name, Z in features.items()}


def print_table(title, columns, rows):
    print(f"\n{title}")
    print(f"{'':40}" + "".join(f"{column:>7}" for column in columns))
    for name, values in rows.items():
        print(f"{name:40}" + "".join(f"{value:7.3f}" for value in values))


# %%
# Balanced tasks of many dimensions
# ---------------------------------
# Each task labels half of the 16 sign patterns of the four directions as positive. The
# network learns from 64 tasks without missing labels, and then 20 new ones come.

runs = Parallel(n_jobs=2)(
    delayed(compare)("balanced", n_features, seed)
    for n_features, seed in product(N_FEATURES, range(N_DRAWS))
)
accuracies = {  # of shape (n_dimensions, n_draws)
    name: np.reshape([run[name] for run in runs], (len(N_FEATURES), N_DRAWS))
    for name in runs[0]
}
means = {name: values.mean(axis=1) for name, values in accuracies.items()}
print_table(
    f"Accuracy on new balanced tasks from {N_LABELS} labels, by the dimension",
    N_FEATURES,
    means,
)

# %%
# Parities
# --------
# A task of this kind asks whether two of the four coordinates have the same sign. The
# mean of the inputs is zero in both classes, and their covariance is the same in all
# directions: nothing is there to see for a linear method. There are only twelve such
# tasks, so that new ones are old ones once more; what is new are their rows and the
# classifier. "Even" tasks are as symmetric, but there are more of them.

KINDS = ["parity"] if FAST else ["parity", "even"]
PARITY_FEATURES = 50 if FAST else 100

runs = Parallel(n_jobs=2)(
    delayed(compare)(kind, PARITY_FEATURES, seed, linear="all")
    for kind, seed in product(KINDS, range(N_DRAWS))
)
symmetric = {  # of shape (n_kinds, n_draws)
    name: np.reshape([run[name] for run in runs], (len(KINDS), N_DRAWS))
    for name in runs[0]
}
print_table(
    f"Accuracy on symmetric tasks of {PARITY_FEATURES} dimensions, by their kind",
    KINDS,
    {name: values.mean(axis=1) for name, values in symmetric.items()},
)

# %%
# Picture
# -------
# Points on the left are means over draws of all tasks, bars reach from the worst draw
# to the best; on the right each draw is a point, and a bar marks their mean.

STYLES = {  # colours that differ without colour vision as well, and markers
    TRUE: {"color": "#808080", "marker": "*", "linestyle": "--"},
    LEARNED: {"color": "#0072B2", "marker": "o", "linewidth": 2.5},
    WHOLE: {"color": "#56B4E9", "marker": "h"},
    PLS: {"color": "#D55E00", "marker": "s"},
    LDA: {"color": "#AA4499", "marker": "v"},
    PCS: {"color": "#DD8800", "marker": "P"},
    RANDOM: {"color": "#009E73", "marker": "^"},
    RAW: {"color": "#000000", "marker": "D"},
}


HEIGHTS = {TRUE: 0.012, LEARNED: -0.006, RAW: 0.007, RANDOM: -0.007}  # of names


def draw_dimensions(ax):
    for k, (name, values) in enumerate(accuracies.items()):
        spread = [values.min(axis=1), values.max(axis=1)]
        x = N_FEATURES * 1.02 ** (k - 2)  # so that bars do not cover each other
        error = np.abs(spread - means[name])
        ax.errorbar(x, means[name], error, elinewidth=1.2, **STYLES[name])
        y = means[name][-1] + HEIGHTS.get(name, 0)
        x, color = 1.13 * N_FEATURES[-1], STYLES[name]["color"]
        ax.text(x, y, name, color=color, va="center", size=9)
    ax.set_xscale("log")
    ax.set_xticks(N_FEATURES, N_FEATURES)
    ax.minorticks_off()
    ax.set_xlabel(
        f"dimensions, with {ROWS_PER_FEATURE} rows each in pre-training\n"
        f"bars: from the worst of {N_DRAWS} draws to the best"
    )
    ax.set_ylabel("accuracy, mean over 20 new tasks")
    ax.set_title("Balanced tasks")


def draw_parities(ax):
    order = [name for name in STYLES if name in symmetric]
    for k, name in enumerate(order):
        values, color = symmetric[name][0], STYLES[name]["color"]
        ax.plot(values, np.full(N_DRAWS, k), STYLES[name]["marker"], color=color)
        ax.plot([values.mean()] * 2, [k - 0.3, k + 0.3], color=color)
    ax.set_yticks(range(len(order)), order)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.set_xlim(0.48, 1)
    ax.set_xlabel(f"accuracy\nmarkers: {N_DRAWS} draws, lines: mean")
    ax.set_title(f"Parities, {PARITY_FEATURES} dimensions")
    ax.grid(axis="x", alpha=0.3)


def headline(means):
    (first, last), (raw_first, raw_last) = (
        means[name][[0, -1]] for name in (LEARNED, RAW)
    )
    return (
        f"{N_LABELS} labels in {N_FEATURES[0]} and in {N_FEATURES[-1]} dimensions: "
        f"learned features {first:.2f} and {last:.2f}, "
        f"raw inputs {raw_first:.2f} and {raw_last:.2f}"
    )


fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=[1.6, 1])
draw_dimensions(left)
draw_parities(right)
fig.suptitle(headline(means), x=0.01, ha="left")
fig.savefig("dimension.png")
print("\nCurves: dimension.png")
