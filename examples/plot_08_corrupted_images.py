"""
Images of unlike quality
========================

The same ten digits come from five sources: clean, noisy, blurred, of low contrast, and
shifted, with few labelled images of each. Is it better to train a network for each
source, or one for all? And is it the filters that gain, or do more labels simply make a
better classifier? To tell, each way is tried with learned filters, with random filters
and with pixels, and once more with five times the images of each source.

Tables are printed, the picture is saved as ``corrupted_images.png``. Where the
environment variable ``MTRL_DATA`` names a folder with ``corrupted_images.npz``, the
comparison is repeated on photographs.
"""

# %%
# Contenders
# ----------
# One classifier learns from the labels of all corruptions together, or there is one for
# each corruption with its own labels alone. Between the two, filters learn from all
# labels and classifiers from their own: as heads of one network, or as logistic
# regression on the filters of the network for all.

import os
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score

from mtrl_sklearn import ConvMultiTaskClassifier
from mtrl_sklearn.datasets import make_corrupted_digits
from mtrl_sklearn.preprocessing import ContrastNormalizer

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # fewer draws and numbers of labels, for a test

NETWORK = "network"
RANDOM = "random filters + logistic"
PIXELS = "pixels + logistic"
LEARNED = "filters of all + logistic"
HEADS = "heads of one network"
CONTROL = "network, 5 times the images"


class Images(NamedTuple):
    """Images of all corruptions."""

    X: np.ndarray  # (n_images, channels, height, width)
    y: np.ndarray  # (n_images,)
    tasks: np.ndarray  # (n_images,): the corruption
    ranks: np.ndarray  # (n_images,): from 0 on within each corruption
    n_train: int  # images of this rank and above are for testing


def make_network(seed, **parameters):
    return ConvMultiTaskClassifier(random_state=seed, **parameters)


def random_filters(X, y, few, seed):
    """Features of a network that stays as it was drawn."""
    network = make_network(seed, max_iter=1, learning_rate=1e-12)
    return network.fit(X[few], y[few]).transform(X)


def centre_and_scale(features, rows):
    """Features with the mean 0 on some rows, divided by one global factor."""
    return (features - features[rows].mean(axis=0)) / features[rows].std()


def select_tests(images):
    """Test images of each corruption."""
    test = images.ranks >= images.n_train
    return [test & (images.tasks == task) for task in np.unique(images.tasks)]


def score_all(classifier, X, images, few):
    """Accuracies of one classifier for all corruptions."""
    classifier.fit(X[few], images.y[few])
    return [classifier.score(X[rows], images.y[rows]) for rows in select_tests(images)]


def score_each(classifier, X, images, few):
    """Accuracies of a classifier for each corruption."""
    scores = []
    for rows in select_tests(images):
        own = few & (images.tasks == images.tasks[rows][0])
        classifier.fit(X[own], images.y[own])
        scores.append(classifier.score(X[rows], images.y[rows]))
    return scores


def score_heads(network, images, few):
    """Accuracies of a network with a head for each corruption."""
    X, y, tasks, *_ = images
    network.fit(X[few], y[few], tasks[few])
    return [network.score(X[r], y[r], tasks[r]) for r in select_tests(images)]


def compare(images, n_labels, C, seed):
    """Accuracies on each corruption, for each contender and the labels it sees."""
    few = images.ranks < n_labels
    network = make_network(seed)
    scores = {("all", NETWORK): score_all(network, images.X, images, few)}
    features = {
        LEARNED: network.transform(images.X),
        RANDOM: random_filters(images.X, images.y, few, seed),
        PIXELS: images.X.reshape(len(images.X), -1),
    }
    scores["each", NETWORK] = score_each(network, images.X, images, few)
    scores["each", HEADS] = score_heads(
        make_network(seed, head="per_task"), images, few
    )
    n_tasks = len(np.unique(images.tasks))
    if n_tasks * n_labels <= images.n_train:
        more = images.ranks < n_tasks * n_labels
        scores["each", CONTROL] = score_each(network, images.X, images, more)
    for labels, name in C:
        score = {"all": score_all, "each": score_each}[labels]
        X = centre_and_scale(features[name], few)
        probe = LogisticRegression(C=C[labels, name], max_iter=1000)
        scores[labels, name] = score(probe, X, images, few)
    return scores


def run(draw_images, label_counts, C, n_draws):
    """Accuracies of each contender, of shape (n_draws, n_label_counts, n_tasks).

    NaN where there are not images enough.
    """
    images = [draw_images(seed) for seed in range(n_draws)]
    results = Parallel(n_jobs=2)(
        delayed(compare)(images[seed], n_labels, C, seed)
        for seed in range(n_draws)
        for n_labels in label_counts
    )
    n_tasks = len(np.unique(images[0].tasks))
    shape = n_draws, len(label_counts), n_tasks
    missing = [np.nan] * n_tasks
    return {
        name: np.reshape([scores.get(name, missing) for scores in results], shape)
        for name in max(results, key=len)
    }


def print_table(title, columns, rows):
    print(f"\n{title}")
    print(f"{'':40}" + "".join(f"{column:>9}" for column in columns))
    for name, values in rows.items():
        print(f"{name:40}" + "".join(f"{value:9.3f}" for value in values))


def print_means(title, label_counts, results):
    means = {
        f"{name}, for {labels}": scores.mean(axis=(0, 2))
        for (labels, name), scores in results.items()
    }
    print_table(f"{title}, by labels of each corruption", label_counts, means)


# %%
# Digits
# ------
# 159 images of each corruption are for testing, up to 160 of the others have labels:
# so five times as many can be had of one corruption only up to 40. Each linear
# contender has the regularisation that was best for it, on average over all numbers of
# labels, on images drawn with other seeds.

N_LABELS = np.array([10, 40] if FAST else [10, 20, 40, 80, 160])
SHOWN = np.flatnonzero(N_LABELS == 40)[0]
N_DRAWS = 1 if FAST else 4
C_DIGITS = {
    ("all", RANDOM): 0.1,
    ("all", PIXELS): 0.3,
    ("each", LEARNED): 3,
    ("each", RANDOM): 10,
    ("each", PIXELS): 100,
}


def draw_digits(seed):
    X, y, tasks = make_corrupted_digits(359, random_state=seed)
    return Images(X, y, tasks, np.tile(np.arange(359), 5), n_train=200)


digits = run(draw_digits, N_LABELS, C_DIGITS, N_DRAWS)
print_means("Digits: accuracy", N_LABELS, digits)
means = {name: scores.mean(axis=(0, 2)) for name, scores in digits.items()}
gains = {
    "labels of all, to a network": means["all", NETWORK] - means["each", NETWORK],
    "labels of all, to random filters": means["all", RANDOM] - means["each", RANDOM],
    "learned filters, with labels of all": means["all", NETWORK] - means["all", RANDOM],
    "learned filters, with labels of each": means["each", LEARNED]
    - means["each", RANDOM],
}
print_table("Digits: what is added to the accuracy", N_LABELS, gains)

# %%
# A corruption without labels
# ---------------------------
# A network with one head for all serves corruptions that it has never seen. It is an
# estimator like any other: scikit-learn leaves out each corruption in turn, trains on
# the others and tests on the labelled images of the one left out.


def leave_one_out(images, n_labels, seed):
    few = images.ranks < n_labels
    return cross_val_score(
        make_network(seed),
        images.X[few],
        images.y[few],
        groups=images.tasks[few],
        cv=LeaveOneGroupOut(),
    )


left_out = np.array(
    [leave_one_out(draw_digits(seed), N_LABELS[SHOWN], seed) for seed in range(N_DRAWS)]
)
per_task = {
    "its own labels only": digits["each", NETWORK][:, SHOWN],
    "labels of the others only": left_out,
    "labels of all": digits["all", NETWORK][:, SHOWN],
}
task_names = np.unique(draw_digits(0).tasks)
print_table(
    f"Digits: accuracy of networks with {N_LABELS[SHOWN]} labels of each corruption",
    task_names,
    {name: scores.mean(axis=0) for name, scores in per_task.items()},
)

# %%
# Photographs
# -----------
# 32 x 32 photographs of ten classes, four corruptions, 150 labelled images of each and
# 200 for testing. Only networks and random filters differ between draws. In
# cross-validation over the labelled images, this regularisation was the best for each
# linear contender, or within .003 of it.


def read_photographs(path):
    with np.load(path) as data:
        X = np.concatenate([data["X_train"], data["X_test"]], axis=1)
        n_tasks, n_images = X.shape[:2]
        y_test = np.tile(data["y_test"], (n_tasks, 1))
        y = np.concatenate([data["y_train"], y_test], axis=1).ravel()
        tasks = np.repeat(data["tasks"], n_images)
        n_train = data["y_train"].shape[1]
    X = np.moveaxis(X.reshape(-1, *X.shape[2:]), -1, 1)
    X = np.ascontiguousarray(X, dtype=np.float32)
    return Images(X, y, tasks, np.tile(np.arange(n_images), n_tasks), n_train)


results = None
if folder := os.environ.get("MTRL_DATA"):
    photographs = read_photographs(Path(folder) / "corrupted_images.npz")
    counts = [photographs.n_train]
    C = dict.fromkeys(C_DIGITS, 0.01)
    results = run(lambda seed: photographs, counts, C, n_draws=3)
    print_means("Photographs: accuracy", counts, results)
else:
    print(
        "\nPhotographs: skipped. Set MTRL_DATA to a folder with corrupted_images.npz "
        "to run them."
    )

# %%
# The best that few photographs give
# ----------------------------------
# Two things add up: photographs of one contrast, which are flipped and shifted anew in
# each epoch. More filters want more labels than these. Each control gets the same:
# images of one contrast, each in several versions that were flipped and shifted.
# Digits take the place of photographs where there are none; these are shifted, but not
# flipped.

N_VERSIONS = 2 if FAST else 8
N_SEEDS = 1 if FAST else 3


def make_versions(X, names, n_versions, seed):
    """Images as they are, and versions of them, one after the other."""
    rng = np.random.default_rng(seed)
    reach = X.shape[-1] // 8
    versions = [X]
    for _ in range(n_versions - 1):
        padded = np.pad(X, [(0, 0), (0, 0), (reach, reach), (reach, reach)], "edge")
        corners = rng.integers(0, 2 * reach + 1, (len(X), 2))
        size = X.shape[-1]
        version = np.stack(
            [p[:, a : a + size, b : b + size] for p, (a, b) in zip(padded, corners)]
        )
        if "flip" in names:
            is_flipped = rng.random(len(X)) < 0.5
            version[is_flipped] = version[is_flipped][..., ::-1]
        versions.append(version)
    return np.concatenate(versions)


def score_versions(featurize, images, few, names, C, seed):
    """Accuracy of logistic regression on features of versions of the images."""
    X = featurize(make_versions(images.X[few], names, N_VERSIONS, seed))
    X_test = featurize(images.X[images.ranks >= images.n_train])
    centre, scale = X.mean(axis=0), X.std()
    probe = LogisticRegression(C=C, max_iter=300)
    probe.fit((X - centre) / scale, np.tile(images.y[few], N_VERSIONS))
    y_test = images.y[images.ranks >= images.n_train]
    return probe.score((X_test - centre) / scale, y_test)


def follow_recipe(images, n_labels, names, C, seed):
    """Accuracy over all corruptions, step by step, and of the controls."""
    few, test = images.ranks < n_labels, images.ranks >= images.n_train
    even = images._replace(X=ContrastNormalizer().fit_transform(images.X))
    steps = {
        "network": (images, {}),
        "flips and shifts" if "flip" in names else "shifts": (
            images,
            {"augment": names},
        ),
        "and one contrast": (even, {"augment": names}),
        "and 256 filters": (even, {"augment": names, "n_filters": 256}),
    }
    scores = {}
    for name, (data, parameters) in steps.items():
        network = make_network(seed, **parameters)
        network.fit(data.X[few], data.y[few])
        scores[name] = network.score(data.X[test], data.y[test])
    scores["control: one corruption alone"] = np.mean(
        score_each(network, even.X, even, few)
    )
    random = make_network(seed, max_iter=1, learning_rate=1e-12)
    random.fit(even.X[few], even.y[few])
    for name, featurize in {
        "control: random filters": random.transform,
        "control: pixels": lambda X: X.reshape(len(X), -1),
    }.items():
        scores[name] = score_versions(featurize, even, few, names, C, seed)
    return scores


def print_recipe(title, images, n_labels, names, C):
    rows = [follow_recipe(images, n_labels, names, C, s) for s in range(N_SEEDS)]
    table = {name: [row[name] for row in rows] for name in rows[0]}
    means = {name: [np.mean(v), min(v), max(v)] for name, v in table.items()}
    print_table(title, ["mean", "worst", "best"], means)


if folder:
    title = "Photographs: accuracy of one classifier for all, step by step"
    print_recipe(title, photographs, photographs.n_train, ("flip", "shift"), 0.01)
else:
    title = "Digits, 40 labels each: accuracy of one classifier for all, step by step"
    print_recipe(title, draw_digits(0), 40, ("shift",), 0.1)

# %%
# Picture
# -------
# Points are means over draws of the images, bars reach from the worst draw to the best.
# Heads of one network are left out: their curve lies on that of a network for each.

STYLES = {  # the widest is drawn first, so that none hides another
    NETWORK: {"color": "#0072B2", "marker": "o", "linewidth": 5, "markersize": 9},
    RANDOM: {"color": "#E69F00", "marker": "^", "linewidth": 2.5},
    LEARNED: {"color": "#CC79A7", "marker": "s", "linestyle": "--", "markersize": 4},
    PIXELS: {"color": "#000000", "marker": "D", "markersize": 5},
    CONTROL: {"color": "#56B4E9", "marker": "v", "linestyle": "--"},
}
LABEL_STYLES = {
    "its own labels only": {"color": "#D55E00", "marker": "s"},
    "labels of the others only": {"color": "#CC79A7", "marker": "^"},
    "labels of all": {"color": "#0072B2", "marker": "o"},
}
POINTS = f"points: mean of {N_DRAWS} draws, bars: from the worst to the best"


def summarise(scores):
    """Mean over draws, and the distances to the worst draw and to the best."""
    mean = scores.mean(axis=0)
    return mean, np.abs([scores.min(axis=0) - mean, scores.max(axis=0) - mean])


def draw_curves(ax, title, curves):
    for name, scores in curves.items():
        values = summarise(scores.mean(axis=2))
        ax.errorbar(N_LABELS, *values, elinewidth=1.2, label=name, **STYLES[name])
    ax.set_xscale("log", base=2)
    ax.set_xticks(N_LABELS, N_LABELS)
    ax.minorticks_off()
    ax.set_xlabel(f"labels of each corruption\n{POINTS}")
    ax.set_ylabel("accuracy, mean over five corruptions")
    ax.set_title(title)


def draw_gallery(ax, images, names):
    """An image of each of eight digits under each corruption."""
    rows = [
        [
            images.X[(images.tasks == name) & (images.y == digit)][0, 0]
            for digit in range(8)
        ]
        for name in names
    ]
    tiles = np.pad(rows, [(0, 0), (0, 0), (1, 1), (1, 1)])
    montage = tiles.swapaxes(1, 2).reshape(10 * len(names), -1)
    ax.imshow(montage, "gray_r", aspect="auto", extent=(0, 8, len(names) - 0.5, -0.5))
    ax.set_yticks(range(len(names)), names)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title("Digits: images of each corruption")


def draw_rows(ax, names, contenders):
    """Scores of contenders, each (mean, spread) of shape (n_names,), on rows."""
    for k, (label, (mean, spread, style)) in enumerate(contenders.items()):
        y = np.arange(len(names)) + 0.24 * (k - (len(contenders) - 1) / 2)
        ax.errorbar(
            mean, y, xerr=spread, elinewidth=1.2, linestyle="", label=label, **style
        )
    for y in range(1, len(names)):
        ax.axhline(y - 0.5, color="0.9", linewidth=1)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.grid(False, axis="y")


def draw_corruptions(ax, order):
    draw_rows(
        ax,
        task_names[order],
        {
            name: (*summarise(scores[:, order]), LABEL_STYLES[name])
            for name, scores in per_task.items()
        },
    )
    ax.set_xlabel(f"accuracy of networks\n{POINTS}")
    ax.set_title(f"Digits: {N_LABELS[SHOWN]} labels of each corruption")


def draw_photographs(ax):
    names = [NETWORK, RANDOM, PIXELS]
    styles = {"each": {"color": "#D55E00", "marker": "s"}}
    styles["all"] = {"color": "#0072B2", "marker": "o"}
    titles = {"each": "a classifier for each corruption", "all": "one for all"}
    contenders = {}
    for group, title in titles.items():
        scores = [results[group, name][:, 0].mean(axis=1) for name in names]
        contenders[title] = (*summarise(np.transpose(scores)), styles[group])
    draw_rows(ax, names, contenders)
    ax.set_xlim(left=0.1)
    ax.set_xlabel(
        "accuracy, mean over four corruptions (guessing: 0.1)\n"
        "points: mean of 3 draws of the networks, bars: from the worst to the best"
    )
    ax.set_title(f"Photographs: {photographs.n_train} labels of each corruption")


def headline(means):
    """What labels of all add, to learned filters and to random ones."""
    steps = [
        f"{name} {means['each', kind][SHOWN]:.2f} to {means['all', kind][SHOWN]:.2f}"
        for name, kind in (("network from", NETWORK), ("random filters from", RANDOM))
    ]
    return f"{N_LABELS[SHOWN]} labels of each corruption, pooled: " + ", ".join(steps)


n_rows = 2 if results is None else 3
heights = [4, 4, 2.8][:n_rows]
fig = plt.figure(figsize=(10, sum(heights)), layout="constrained")
parts = fig.subfigures(n_rows, height_ratios=heights)
curve_axes = parts[0].subplots(1, 2, sharey=True)
titles = {
    "each": "Digits: a classifier for each corruption",
    "all": "Digits: one classifier for all",
}
for ax, (labels, title) in zip(curve_axes, titles.items()):
    curves = {name: digits[labels, name] for name in STYLES if (labels, name) in digits}
    draw_curves(ax, title, curves)
curve_axes[1].set_ylabel("")
handles = curve_axes[0].get_legend_handles_labels()
parts[0].legend(*handles, loc="outside lower center", ncols=3)
order = np.argsort(-digits["all", NETWORK][:, SHOWN].mean(axis=0))
gallery, dots = parts[1].subplots(1, 2)
draw_gallery(gallery, draw_digits(0), task_names[order])
draw_corruptions(dots, order)
handles = dots.get_legend_handles_labels()
parts[1].legend(*handles, loc="outside lower center", ncols=3)
if results is not None:
    draw_photographs(ax := parts[2].subplots())
    parts[2].legend(
        *ax.get_legend_handles_labels(), loc="outside lower center", ncols=2
    )
fig.suptitle(headline(means), x=0.01, ha="left")
fig.savefig("corrupted_images.png", dpi=100)
print("\nCurves: corrupted_images.png")
