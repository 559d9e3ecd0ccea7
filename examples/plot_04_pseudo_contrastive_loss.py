"""
A loss that pulls together points that agree
============================================

Binary tasks say of each pair of points how often they share a label. One gradient step
of the heads and then of the first layer is a gradient step on a loss that nobody wrote
down: it makes the hidden features of two points similar where their labels agree, as
contrastive learning does, without pairs that anybody drew. After Collins et al. (ICML
2024), reconstructed from its abstract.

Tables are printed, the picture is saved as ``pseudo_contrastive_loss.png``.
"""

# %%
# The step and the loss
# ---------------------
# With labels of +1 and -1 in the matrix Y and hidden features H = relu(X W'), the loss
# weighs the similarity of each pair of points by the agreement of their labels::
#
#     L(W) = -1 / (2 n^2) * sum over pairs of (Y Y' / T) * (H H')
#
# Its negative gradient, by automatic differentiation, is the step in closed form.

import sys

import matplotlib.pyplot as plt
import numpy as np
import torch

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # fewer rows, for a test

N_ROWS = 5000 if FAST else 20_000
N_DIRECTIONS = 3
N_HIDDEN = 512
X, Y, components, problem = make_subspace_tasks(
    N_ROWS, 100, n_components=N_DIRECTIONS, n_tasks=64, random_state=0
)


def step_in_closed_form(X, signs, W):
    """Heads first, then the first layer at these heads."""
    activations = X @ W.T
    heads = signs.T @ np.maximum(0, activations) / len(X)
    return ((signs @ heads) * (activations > 0)).T @ X / signs.size


def gradient_of_the_loss(X, signs, W):
    agreement = torch.from_numpy(signs @ signs.T / signs.shape[1])
    weights = torch.tensor(W, requires_grad=True)
    hidden = torch.relu(torch.from_numpy(X) @ weights.T)
    loss = -(agreement * (hidden @ hidden.T)).sum() / (2 * len(X) ** 2)
    return torch.autograd.grad(loss, weights)[0].numpy()


few = slice(500)
start = np.random.default_rng(0).standard_normal((50, X.shape[1])) / 10
step = step_in_closed_form(X[few], 2 * Y[few] - 1, start)
gradient = gradient_of_the_loss(X[few], 2 * Y[few] - 1, start)
difference = np.linalg.norm(step + gradient) / np.linalg.norm(gradient)
print(f"Relative difference of the step and the negative gradient: {difference:.0e}")

# %%
# What is learned
# ---------------
# New points are sorted by the signs of the three directions on which labels depend:
# eight groups, within which all labels agree. Similarity is the cosine of centred
# features; before training they are those of a random first layer. The source tasks
# label the new points only to compare: what is shown was learned from other points.
# Groups that differ in one sign only get more similar than their labels ask for, since
# all that the first layer can choose are directions.

PER_GROUP = 20
group = np.repeat(np.arange(2**N_DIRECTIONS), PER_GROUP)


def sort_points(X):
    """As many points of each group, one group after the other."""
    groups = (X @ components.T > 0) @ 2 ** np.arange(N_DIRECTIONS)
    return X[
        np.concatenate([np.flatnonzero(groups == k)[:PER_GROUP] for k in range(8)])
    ]


def similarity(features):
    """Cosines of centred features, of shape (n_points, n_points)."""
    centred = features - features.mean(axis=0)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return units @ units.T


def correlate(A, B):
    """Correlation over pairs of different points."""
    pairs = np.triu_indices(len(A), k=1)
    return np.corrcoef(A[pairs], B[pairs])[0, 1]


points = sort_points(problem.sample(2000, random_state=0)[0])
signs = 2 * problem.label(points) - 1
random_layer = np.random.default_rng(0).standard_normal((N_HIDDEN, X.shape[1]))
network = MultiTaskReLURepresentation(
    N_HIDDEN, n_components=None, algorithm="one_step", random_state=0
)
network.fit(X.astype(np.float32), Y)
AGREEMENT = "agreement of labels"
BEFORE = "similarity before training"
AFTER = "similarity after one step"
matrices = {
    AGREEMENT: signs @ signs.T / signs.shape[1],
    BEFORE: similarity(np.maximum(0, points @ random_layer.T)),
    AFTER: similarity(network.transform(points)),
}


def print_table(title, columns, rows):
    print(f"\n{title}")
    print(f"{'':40}" + "".join(f"{column:>14}" for column in columns))
    for name, values in rows.items():
        print(f"{name:40}" + "".join(f"{value:14.3f}" for value in values))


same = (group[:, None] == group) & ~np.eye(len(points), dtype=bool)
opposed = matrices[AGREEMENT] < 0
summary = {
    name: [
        correlate(matrices[AGREEMENT], matrix),
        matrix[same].mean(),
        matrix[opposed].mean(),
    ]
    for name, matrix in matrices.items()
}
print_table(
    "Correlation with the agreement, and means over two sorts of pairs",
    ["correlation", "all agree", "most disagree"],
    summary,
)

# %%
# Picture
# -------
# Agreement goes from 1 where all tasks give two points the same label to -1 where none
# does. The diagonal, each point with itself, is 1 in all three.

fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.9), sharey=True)
for ax, (name, matrix) in zip(axes, matrices.items()):
    image = ax.imshow(matrix, vmin=-1, vmax=1, interpolation="none")
    ax.set_title(name[0].upper() + name[1:])
    edges = np.arange(1, 2**N_DIRECTIONS) * PER_GROUP - 0.5
    ax.set_xticks(edges, [])
    ax.set_yticks(edges, [])
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.set_xlabel("points, by group of 20")
axes[0].set_ylabel("points, by group of 20")
bar = fig.colorbar(image, ax=axes, aspect=30, pad=0.01, ticks=[-1, 0, 1])
bar.set_label("agreement, or cosine of features")
fig.suptitle(
    f"Correlation of similarity with agreement: {summary[BEFORE][0]:.2f} before, "
    f"{summary[AFTER][0]:.2f} after one step",
    x=0.01,
    ha="left",
)
fig.savefig("pseudo_contrastive_loss.png")
print("\nMatrices: pseudo_contrastive_loss.png")
