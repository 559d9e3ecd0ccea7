"""Data with tasks held out as new ones, and few labels of them."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _kinds import bioassays, yeast

from mtrl_sklearn.datasets import make_digit_tasks

# Assay platforms that are held out in turn; those of one line together.
PLATFORMS = ("ATG", "NVS", "BSK", "APR CLD", "OT Tanguay CEETOX")


class Problem(NamedTuple):
    """Rows, labels (NaN where not observed), new tasks, and rows to test on."""

    X: np.ndarray
    Y: np.ndarray
    new: np.ndarray  # (n_tasks,), bool
    is_test: np.ndarray  # (n_samples,), bool; those that nothing is trained on

    def sources(self):
        """Rows and labels of the source tasks that show both classes."""
        Y = self.Y[~self.is_test][:, ~self.new]
        usable = (Y == 1).any(axis=0) & (Y == 0).any(axis=0)
        return self.X[~self.is_test], Y[:, usable]


def _make(X, Y, new, rng, test_size=0.2):
    is_test = np.zeros(len(X), dtype=bool)
    is_test[rng.permutation(len(X))[: round(test_size * len(X))]] = True
    return Problem(X.astype(np.float32), Y.astype(float), new, is_test)


def _some(n_tasks, n_new, rng):
    new = np.zeros(n_tasks, dtype=bool)
    new[rng.permutation(n_tasks)[:n_new]] = True
    return new


def load_assays(held_out, rng, hidden=0.0):
    """Assays of some platforms, or a random fifth, as new tasks."""
    with np.load(Path(os.environ["MTRL_DATA"]) / "toxcast.npz") as data:
        X = np.unpackbits(data["X_packed"], axis=1)[:, :1024]
        Y = np.where(data["Y"] < 0, np.nan, data["Y"])
        platform = [name.split("_")[0] for name in data["task_names"].tolist()]
    new = np.isin(platform, held_out.split())
    if held_out == "random":
        new = _some(len(new), len(new) // 5, rng)
    Y[:, ~new] = np.where(rng.random(Y[:, ~new].shape) < hidden, np.nan, Y[:, ~new])
    return _make(X, Y, new, rng)


def load_genes(rng):
    X, Y = yeast(0)
    return _make(X, Y, _some(Y.shape[1], 5, rng), rng)


def load_compounds(rng):
    """Small assays of compounds that no other has: half of all rows to test on."""
    X, Y = bioassays(0)
    return _make(X, Y, _some(Y.shape[1], 80, rng), rng, 0.5)


def make_digits(seed, rng):
    drawn = make_digit_tasks(60, random_state=seed)
    return _make(drawn.X, np.asarray(drawn.Y), np.arange(60) >= 40, rng)


def list_problems(seed):
    """Names of problems, and functions that make them."""

    def draw():
        return np.random.default_rng(seed)

    made = {"digits": lambda: make_digits(seed, draw())}
    if "MTRL_DATA" in os.environ:
        made |= {"genes": lambda: load_genes(draw())}
        for platform in PLATFORMS:
            made[f"assays, {platform}"] = lambda p=platform: load_assays(p, draw())
        made |= {"compounds": lambda: load_compounds(draw())}
    return made
