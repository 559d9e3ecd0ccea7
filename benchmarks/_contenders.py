"""What contends in training and prediction: builders for `_timing.Contender`.

A builder draws its data and returns the function that is timed. Those for training
take the number of epochs; all do the same work on the same rows.
"""

from typing import NamedTuple

import numpy as np
import torch
from _memory import clock
from scipy import sparse
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNet
from torch.nn import functional

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn._arrays.precision import has_bfloat16_products
from mtrl_sklearn.datasets import make_patch_tasks


class Problem(NamedTuple):
    """Sizes of a training problem."""

    n_samples: int
    n_features: int
    n_hidden: int
    n_tasks: int
    batch_size: int
    missing: float = 0.0  # share of labels that are not observed
    ones: float | None = None  # share of bits that are set; None: normal inputs


class Images(NamedTuple):
    """Sizes of a training problem of images: 3 x 32 x 32, 10 classes, 8 tasks."""

    n_samples: int
    n_filters: int
    batch_size: int


def draw(problem):
    """Rows and labels, float32; NaN where not observed."""
    n_samples, n_features = problem[:2]
    rng = np.random.default_rng(0)
    if problem.ones is None:
        X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    else:
        X = rng.random((n_samples, n_features), dtype=np.float32) < problem.ones
        X = X.astype(np.float32)
    teacher = rng.standard_normal((n_features, problem.n_tasks), dtype=np.float32)
    scores = X @ teacher
    Y = (scores > np.median(scores, axis=0)).astype(np.float32)
    Y[rng.random(Y.shape, dtype=np.float32) < problem.missing] = np.nan
    return X, Y


def count_operations(problem, algorithm):
    """Operations of the matrix products of one epoch, an addition being one."""
    n_samples, n_features, n_hidden, n_tasks = problem[:4]
    products = {"joint": 3, "alternating": 4}[algorithm]
    return 2 * n_samples * n_hidden * (2 * n_features + products * n_tasks)


def ours(problem, **settings):
    """Our estimator at this work: a whole first layer, no end before the last epoch."""
    return MultiTaskReLURepresentation(
        problem.n_hidden,
        n_components=None,
        batch_size=problem.batch_size,
        tol=0,
        random_state=0,
        **settings,
    )


def build_ours(problem, as_csr=False, **settings):
    X, Y = draw(problem)
    X = sparse.csr_matrix(X) if as_csr else X

    def run(n_epochs):
        ours(problem, max_iter=n_epochs, **settings).fit(X, Y)

    return run


def start_libraries():
    """Let a few steps of torch and of ours take what the libraries keep for good."""
    problem = Problem(64, 8, 8, 8, 32)
    build_plain(problem)(1)
    build_ours(problem)(1)


def build_scikit(problem):
    X, Y = draw(problem)
    Y = Y.astype(int)

    def run(n_epochs):
        MLPClassifier(
            (problem.n_hidden,),
            batch_size=problem.batch_size,
            max_iter=n_epochs,
            tol=0,
            n_iter_no_change=n_epochs + 1,
            random_state=0,
        ).fit(X, Y)

    return run


def make_network(problem, dropout):
    layers = [torch.nn.Linear(problem.n_features, problem.n_hidden), torch.nn.ReLU()]
    if dropout:
        layers.append(torch.nn.Dropout(dropout))
    return torch.nn.Sequential(
        *layers, torch.nn.Linear(problem.n_hidden, problem.n_tasks)
    )


def masked_loss(scores, labels, observed):
    """Mean over observed labels; weights of 0 are faster than picking the others."""
    total = functional.binary_cross_entropy_with_logits(
        scores, labels, weight=observed, reduction="sum"
    )
    return total / observed.sum()


class MaskedLoss(torch.nn.Module):
    """Binary cross entropy of the labels that are not NaN, as a criterion."""

    def forward(self, scores, labels):
        return masked_loss(scores, labels.nan_to_num(), (~labels.isnan()).float())


def build_skorch(problem, dropout=0.0):
    """skorch's loop with AdamW; no rows are kept from training."""
    X, Y = draw(problem)
    criterion = MaskedLoss if problem.missing else torch.nn.BCEWithLogitsLoss

    def run(n_epochs):
        NeuralNet(
            make_network(problem, dropout),
            criterion=criterion,
            optimizer=torch.optim.AdamW,
            lr=1e-3,
            batch_size=problem.batch_size,
            max_epochs=n_epochs,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        ).fit(X, Y)

    return run


def build_deepchem(problem):
    """Training as DeepChem shapes it.

    Dense labels beside dense weights of 0 and 1, numpy batches, two outputs for each
    task, a softmax and its cross entropy of one-hot labels, Adam.
    """
    X, Y = draw(problem)
    weights = (~np.isnan(Y)).astype(np.float32)
    labels = np.nan_to_num(Y).astype(np.int64)

    def run(n_epochs):
        model = make_network(problem._replace(n_tasks=2 * problem.n_tasks), 0.0)
        optimizer = torch.optim.Adam(model.parameters())
        rng = np.random.default_rng(0)
        for _ in range(n_epochs):
            order = rng.permutation(len(X))
            for start in range(0, len(X), problem.batch_size):
                rows = order[start : start + problem.batch_size]
                one_hot = np.eye(2, dtype=np.float32)[labels[rows]]
                batch = map(torch.from_numpy, (X[rows], one_hot, weights[rows]))
                inputs, target, weight = batch
                outputs = model(inputs).view(len(rows), problem.n_tasks, 2)
                losses = -(target * functional.log_softmax(outputs, dim=2)).sum(dim=2)
                optimizer.zero_grad()
                (losses * weight).mean().backward()
                optimizer.step()

    return run


def build_plain(problem, dropout=0.0):
    """What a practitioner writes: autograd, fused AdamW, slices of tensors."""
    arrays = draw(problem)

    def run(n_epochs):
        X, Y = map(torch.from_numpy, arrays)
        observed = (~Y.isnan()).float()
        Y = Y.nan_to_num()
        model = make_network(problem, dropout)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1.0, fused=True)
        for _ in range(n_epochs):
            for rows in torch.randperm(len(X)).split(problem.batch_size):
                scores = model(X[rows])
                if problem.missing:
                    loss = masked_loss(scores, Y[rows], observed[rows])
                else:
                    loss = functional.binary_cross_entropy_with_logits(scores, Y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return run


PRECISIONS = {"float32": torch.float32}
if has_bfloat16_products("cpu"):  # where they are emulated they take minutes
    PRECISIONS["bfloat16"] = torch.bfloat16


def build_rates(problem, side, at_least):
    """Rates of matrix products in Gflop/s: square ones, and those of a batch.

    Those of a batch are the five of a joint update, each with its own operands.
    """
    n_features, n_hidden, n_tasks, batch_size = problem[1:5]
    shapes = [
        (batch_size, n_features, n_hidden),  # hidden features
        (batch_size, n_hidden, n_tasks),  # scores
        (n_tasks, batch_size, n_hidden),  # gradient of the heads
        (batch_size, n_tasks, n_hidden),  # what comes back to hidden units
        (n_hidden, batch_size, n_features),  # gradient of the first layer
    ]
    products = {
        f"{name} {kind}": [random_product(*shape, dtype) for shape in of_kind]
        for name, dtype in PRECISIONS.items()
        for kind, of_kind in (("square", [(side, side, side)]), ("batch", shapes))
    }

    def run():
        return {name: measure_rate(pairs, at_least) for name, pairs in products.items()}

    return run


def random_product(n_rows, n_inner, n_columns, dtype):
    left, right = torch.randn(n_rows, n_inner), torch.randn(n_inner, n_columns)
    return left.to(dtype), right.to(dtype)


def measure_rate(pairs, at_least):
    """Gflop/s of products, repeated for so many seconds."""
    operations = sum(2 * len(left) * right.numel() for left, right in pairs)
    n_times, elapsed, start = 0, 0.0, clock()
    while elapsed < at_least:
        for left, right in pairs:
            torch.mm(left, right)
        n_times += 1
        elapsed = clock() - start
    return n_times * operations / elapsed / 1e9


def train_little(problem, n_samples):
    """New rows, and our network after one epoch on a few."""
    X, Y = draw(problem._replace(n_samples=2000))
    model = ours(problem, max_iter=1).fit(X, Y)
    rng = np.random.default_rng(1)
    size = (n_samples, problem.n_features)
    return rng.standard_normal(size, dtype=np.float32), model


def build_our_prediction(problem, n_samples, method):
    X, model = train_little(problem, n_samples)

    def run():
        getattr(model, method)(X)

    return run


def build_plain_prediction(problem, n_samples, method):
    X, model = train_little(problem, n_samples)
    arrays = model.hidden_weights_, model.hidden_biases_
    weights, biases = map(torch.from_numpy, arrays)
    coef, intercept = map(torch.from_numpy, (model.task_coef_, model.task_intercept_))

    @torch.no_grad()
    def run():
        hidden = functional.linear(torch.from_numpy(X), weights, biases).relu_()
        if method == "predict":
            (functional.linear(hidden, coef, intercept) > 0).float()

    return run


def build_scikit_prediction(problem, n_samples):
    X, _ = train_little(problem, n_samples)
    rows, Y = draw(problem._replace(n_samples=2000))
    model = MLPClassifier((problem.n_hidden,), max_iter=1).fit(rows, Y.astype(int))

    def run():
        model.predict(X)

    return run


def draw_images(problem):
    """Random RGB images as uint8, of 10 classes in 8 tasks."""
    rng = np.random.default_rng(0)
    n_samples = problem.n_samples
    X = rng.integers(0, 256, (n_samples, 3, 32, 32)).astype(np.uint8)
    return X, rng.integers(0, 10, n_samples), np.arange(n_samples) % 8


def build_our_convolution(problem, head):
    X, y, tasks = draw_images(problem)

    def run(n_epochs):
        ConvMultiTaskClassifier(
            problem.n_filters,
            kernel_size=5,
            stride=2,
            head=head,
            batch_size=problem.batch_size,
            max_iter=n_epochs,
            tol=0,
            random_state=0,
        ).fit(X, y, tasks)

    return run


def build_plain_convolution(problem):
    """What a practitioner writes: autograd, fused AdamW, slices of tensors."""
    images, classes, _ = draw_images(problem)
    n_batches = -(-problem.n_samples // problem.batch_size)

    def run(n_epochs):
        X, y = torch.from_numpy(images).float() / 255, torch.from_numpy(classes)
        convolution = torch.nn.Conv2d(3, problem.n_filters, 5, 2)
        head = torch.nn.Linear(16 * problem.n_filters, 10)
        parameters = [*convolution.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs)
        for _ in range(n_epochs):
            for rows in torch.randperm(len(X)).tensor_split(n_batches):
                responses = functional.relu(convolution(X[rows]))
                pooled = functional.adaptive_avg_pool2d(responses, 4).flatten(1)
                loss = functional.cross_entropy(head(pooled), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()

    return run


def build_theory():
    """The theory's default setting: 16 tasks, 960 rows of two patches."""
    X, y, tasks, *_ = make_patch_tasks(random_state=0)
    X = X.astype(np.float32)

    def run():
        ConvMultiTaskClassifier(head="fixed", random_state=0).fit(X, y, tasks)

    return run
