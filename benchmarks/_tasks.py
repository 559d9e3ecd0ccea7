"""Small fits, and work with many tasks: builders for `_timing.Contender`."""

import numpy as np
import torch
from _contenders import masked_loss
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from torch.nn import functional

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_digit_tasks
from mtrl_sklearn.probing import LinearProbe

BLOCK_ROWS = 1024  # of plain predictions: a block stays in the cache
DIGITS = {"n_hidden": 512, "batch_size": 128, "n_epochs": 67}  # of a default fit


def draw_digits():
    X, Y, *_ = make_digit_tasks(random_state=0)
    return X.astype(np.float32), Y


def build_our_digits():
    X, Y = draw_digits()

    def run():
        MultiTaskReLURepresentation(random_state=0).fit(X, Y)

    return run


def build_scikit_digits():
    """The same work with labels filled in: it has no missing ones."""
    X, Y = draw_digits()
    Y = np.nan_to_num(Y).astype(int)

    def run():
        MLPClassifier(
            (DIGITS["n_hidden"],),
            batch_size=DIGITS["batch_size"],
            max_iter=DIGITS["n_epochs"],
            tol=0,
            n_iter_no_change=10**6,
            random_state=0,
        ).fit(X, Y)

    return run


def build_plain_digits():
    """As many steps with dropout, by autograd."""
    X, Y = (torch.from_numpy(array).float() for array in draw_digits())
    observed = (~Y.isnan()).float()
    Y = Y.nan_to_num()

    def run():
        layers = torch.nn.Linear(X.shape[1], DIGITS["n_hidden"])
        heads = torch.nn.Linear(DIGITS["n_hidden"], Y.shape[1])
        model = torch.nn.Sequential(
            layers, torch.nn.ReLU(), torch.nn.Dropout(0.5), heads
        )
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1.0, fused=True)
        for _ in range(DIGITS["n_epochs"]):
            for rows in torch.randperm(len(X)).split(DIGITS["batch_size"]):
                loss = masked_loss(model(X[rows]), Y[rows], observed[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return run


def build_digits_products():
    """The six products of each step of the default fit."""
    X, Y = draw_digits()
    n_steps = DIGITS["n_epochs"] * -(-len(X) // DIGITS["batch_size"])
    rows = torch.from_numpy(X[: DIGITS["batch_size"]])
    weights = torch.randn(DIGITS["n_hidden"], rows.shape[1])
    coef = torch.randn(Y.shape[1], DIGITS["n_hidden"])

    def run():
        for _ in range(n_steps):
            hidden = rows @ weights.T
            of_scores = hidden @ coef.T
            of_scores.T @ hidden
            of_scores = hidden @ coef.T
            of_hidden = of_scores @ coef
            of_hidden.T @ rows

    return run


class Sizes:
    """Of a network that predicts many tasks."""

    n_features, n_hidden, n_tasks = 100, 512, 500


def train_wide():
    """A network of many tasks, after one epoch on a few rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, Sizes.n_features), dtype=np.float32)
    Y = X @ rng.standard_normal((Sizes.n_features, Sizes.n_tasks)) > 0
    return MultiTaskReLURepresentation(
        Sizes.n_hidden, n_components=None, max_iter=1, tol=0, random_state=0
    ).fit(X, Y)


def draw_rows(n_samples, n_features):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n_samples, n_features), dtype=np.float32)


def build_our_probabilities(n_samples):
    X, model = draw_rows(n_samples, Sizes.n_features), train_wide()

    def run():
        model.predict_proba(X)

    return run


def build_plain_probabilities(n_samples, only_products=False):
    """Both layers block by block; without all but the products, nothing is kept."""
    X, model = torch.from_numpy(draw_rows(n_samples, Sizes.n_features)), train_wide()
    arrays = model.hidden_weights_, model.hidden_biases_
    weights, biases = map(torch.from_numpy, arrays)
    coef, intercept = map(torch.from_numpy, (model.task_coef_, model.task_intercept_))

    @torch.no_grad()
    def run():
        if only_products:
            for rows in X.split(BLOCK_ROWS):
                (rows @ weights.T) @ coef.T
            return
        whole = torch.empty(len(X), Sizes.n_tasks)
        for rows, part in zip(X.split(BLOCK_ROWS), whole.split(BLOCK_ROWS)):
            hidden = functional.linear(rows, weights, biases).relu_()
            torch.sigmoid(functional.linear(hidden, coef, intercept), out=part)

    return run


def draw_new_tasks(n_samples, n_tasks, n_labels):
    """Features of rows, and few labels of many tasks, NaN elsewhere."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.standard_normal((n_samples, 512), dtype=np.float32), 0)
    Y = np.full((n_samples, n_tasks), np.nan, dtype=np.float32)
    directions = rng.standard_normal((512, n_tasks), dtype=np.float32)
    for task in range(n_tasks):
        rows = rng.choice(n_samples, n_labels, replace=False)
        scores = X[rows] @ directions[:, task]
        Y[rows, task] = scores > np.median(scores)
    return X, Y


def build_our_probes(**sizes):
    X, Y = draw_new_tasks(**sizes)

    def run():
        LinearProbe().fit(X, Y)

    return run


def build_scikit_probes(**sizes):
    """A logistic regression for each task, as strong on average."""
    X, Y = draw_new_tasks(**sizes)
    columns = sparse.csc_array(np.nan_to_num(2 * Y - 1))

    def run():
        for task in range(Y.shape[1]):
            part = slice(*columns.indptr[task : task + 2])
            rows, signs = columns.indices[part], columns.data[part]
            LogisticRegression(C=0.01).fit(X[rows], signs)

    return run
