"""Who predicts source tasks: functions of the data and a seed to probabilities.

Each returns an array of shape (n_test, n_measured), or None where it does not apply.
Ours and the plain network learn all tasks at once, and so does MLPClassifier where no
label is missing; the others learn the measured tasks one by one.
"""

import warnings

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation

STRENGTHS = (0.01, 1.0)  # of logistic regression
MIN_UPDATES = 600  # of the plain network on few rows


class PlainNetwork:
    """The plain torch multi-task network of the published baseline rows."""

    def __init__(self, seed, n_epochs=30):
        self.seed = seed
        self.n_epochs = n_epochs

    def fit(self, X, Y):
        """Train both layers; labels that are NaN are not observed."""
        generator = torch.Generator().manual_seed(self.seed)
        torch.manual_seed(self.seed)
        X, Y = torch.from_numpy(X), torch.from_numpy(Y.astype(np.float32))
        observed = ~Y.isnan()
        Y = Y.nan_to_num()
        body = torch.nn.Linear(X.shape[1], 512)
        head = torch.nn.Linear(512, Y.shape[1])
        model = torch.nn.Sequential(body, torch.nn.ReLU(), torch.nn.Dropout(0.5), head)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1.0)
        for _ in range(self.n_epochs):
            for rows in torch.randperm(len(X), generator=generator).split(128):
                losses = torch.nn.functional.binary_cross_entropy_with_logits(
                    model(X[rows]), Y[rows], reduction="none"
                )
                optimizer.zero_grad()
                losses[observed[rows]].mean().backward()
                optimizer.step()
        self.body, self.model = body, model.eval()
        return self

    @torch.no_grad()
    def transform(self, X):
        """Hidden features."""
        return torch.relu(self.body(torch.from_numpy(X))).numpy()

    @torch.no_grad()
    def predict_proba(self, X):
        """Probabilities of all tasks."""
        return torch.sigmoid(self.model(torch.from_numpy(X))).numpy()


def standardise(data):
    """Inputs with columns of unit variance; sparse ones are not centred."""
    scaler = StandardScaler(with_mean=not issparse(data.X)).fit(data.X)
    return data._replace(
        X=scaler.transform(data.X), X_test=scaler.transform(data.X_test)
    )


def scale_units(data):
    """Inputs as a user of networks hands them on: standardised if that is sensible."""
    return standardise(data) if data.has_units else data


def task_by_task(data, make_model):
    """Probabilities of a model for each task, on the rows that have its label."""
    columns = []
    for y in data.Y[:, data.measured].T:
        rows = np.flatnonzero(~np.isnan(y))
        y = y[rows].astype(int)
        fitted = make_model(y).fit(data.X[rows], y)
        columns.append(fitted.predict_proba(data.X_test)[:, 1])
    return np.column_stack(columns)


def ours(data, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told to users: the table shows what it costs
        representation = MultiTaskReLURepresentation(random_state=seed)
        representation.fit(data.X, data.Y)
    return representation.predict_proba(data.X_test)[:, data.measured]


def ours_scaled(data, seed):
    return ours(standardise(data), seed) if data.has_units else None


def logistic(data, seed):
    """The better of two strengths for each task, by three folds of its labels."""

    def choose(y):
        n_folds = min(3, np.bincount(y).min())
        return GridSearchCV(
            LogisticRegression(max_iter=300),
            {"C": STRENGTHS},
            scoring="roc_auc",
            cv=n_folds,
        )

    return task_by_task(standardise(data), choose)


def forest(data, seed):
    return task_by_task(data, lambda y: RandomForestClassifier(random_state=seed))


def mlp(data, seed):
    """One network for all tasks, where no label is missing.

    It stops by the share of rows of which all labels are right, as scikit-learn does.
    """
    if np.isnan(data.Y).any():
        return None
    data = scale_units(data)
    model = MLPClassifier(early_stopping=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of epochs that were not enough
        model.fit(data.X, data.Y.astype(int))
    return model.predict_proba(data.X_test)[:, data.measured]


def mlp_by_task(data, seed):
    """Early stopping takes a tenth of the labels: none where that is less than four."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of epochs that were not enough
        return task_by_task(
            scale_units(data),
            lambda y: MLPClassifier(early_stopping=len(y) >= 40, random_state=seed),
        )


def plain_network(data, seed):
    data = scale_units(data)
    X, X_test = (
        (part.toarray() if issparse(part) else part).astype(np.float32)
        for part in (data.X, data.X_test)
    )
    n_epochs = max(30, -(-MIN_UPDATES // -(-len(X) // 128)))
    network = PlainNetwork(seed, n_epochs).fit(X, data.Y)
    return network.predict_proba(X_test)[:, data.measured]


SOURCE_CONTENDERS = {
    "ours": ours,
    "ours, scaled": ours_scaled,
    "logistic": logistic,
    "forest": forest,
    "MLPClassifier": mlp,
    "MLP by task": mlp_by_task,
    "plain network": plain_network,
}
OURS = ("ours", "ours, scaled")
