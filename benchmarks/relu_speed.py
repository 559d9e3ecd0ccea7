"""Time of a full fit against a plain torch loop over tensor slices, same work.

Run as ``python benchmarks/relu_speed.py``. Contenders take turns in one process; the
figures are medians over rounds, and the ratio is that of each round to the plain loop
in the same round. Writes ``relu_speed.json``.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from mtrl_sklearn import MultiTaskReLURepresentation

PROBLEMS = {
    "a: n=20000 d=256 m=512 T=64 batch=512": (20000, 256, 512, 64, 512, 0.0),
    "b: n=8192 d=1024 m=512 T=494 batch=128, 70% missing": (
        8192,
        1024,
        512,
        494,
        128,
        0.7,
    ),
    "c: n=1500 d=64 m=512 T=40 batch=128, 50% missing": (1500, 64, 512, 40, 128, 0.5),
}


def make_problem(n_samples, n_features, n_tasks, missing):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    Y = (X @ rng.standard_normal((n_features, n_tasks), dtype=np.float32) > 0) * 1.0
    Y[rng.random(Y.shape) < missing] = np.nan
    return X, Y


def plain_loop(X, Y, n_hidden, batch_size, n_epochs, dropout):
    """What a practitioner writes: autograd, fused AdamW, slices of tensors."""
    X, Y = torch.from_numpy(X), torch.from_numpy(Y.astype(np.float32))
    observed = ~Y.isnan()
    Y = Y.nan_to_num()
    layers = [torch.nn.Linear(X.shape[1], n_hidden), torch.nn.ReLU()]
    if dropout:
        layers.append(torch.nn.Dropout(dropout))
    model = torch.nn.Sequential(*layers, torch.nn.Linear(n_hidden, Y.shape[1]))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1.0, fused=True)
    for _ in range(n_epochs):
        for rows in torch.randperm(len(X)).split(batch_size):
            losses = torch.nn.functional.binary_cross_entropy_with_logits(
                model(X[rows]), Y[rows], reduction="none"
            )
            optimizer.zero_grad()
            losses[observed[rows]].mean().backward()
            optimizer.step()


def contenders(X, Y, n_hidden, batch_size, n_epochs, dropout):
    def ours(algorithm):
        model = MultiTaskReLURepresentation(
            n_hidden,
            algorithm=algorithm,
            batch_size=batch_size,
            max_iter=n_epochs,
            tol=0,
            dropout=dropout,
            random_state=0,
        )
        return lambda: model.fit(X, Y)

    return {
        "plain torch loop": lambda: plain_loop(
            X, Y, n_hidden, batch_size, n_epochs, dropout
        ),
        "ours, joint": ours("joint"),
        "ours, alternating": ours("alternating"),
    }


def measure(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--output", type=Path, default=Path("relu_speed.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    results = {}
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for title, (n, d, m, T, batch, missing) in PROBLEMS.items():
            X, Y = make_problem(n, d, T, missing)
            # about a thousand updates: what the default budget makes
            n_epochs = arguments.epochs or max(10, 1000 // (n // batch))
            for dropout in (0.0, 0.5):
                runs = contenders(X, Y, m, batch, n_epochs, dropout)
                times = {name: [] for name in runs}
                for _ in range(arguments.rounds + 1):
                    for name, run in runs.items():
                        times[name].append(measure(run))
                case = f"{title}, dropout {dropout}, {threads} threads"
                print(f"\n{case}, {n_epochs} epochs")
                base = times["plain torch loop"][1:]
                for name, seconds in times.items():
                    ratios = [s / b for s, b in zip(seconds[1:], base)]
                    median = statistics.median(seconds[1:])
                    ratio = statistics.median(ratios)
                    print(
                        f"  {name:18s} {median:7.3f} s   ratio {ratio:.2f}", flush=True
                    )
                    results[f"{case}, {name}"] = {"times": seconds[1:], "ratio": ratio}
    arguments.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
