"""Time of a full fit of the convolutional network against a plain torch loop.

Run as ``python benchmarks/conv_speed.py``. Contenders take turns in one process; the
figures are medians over rounds, and the ratio is that of each round to the plain loop
in the same round. Then the seconds of a fit in the theory's setting. Writes
``conv_speed.json``.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from mtrl_sklearn import ConvMultiTaskClassifier
from mtrl_sklearn.datasets import make_patch_tasks

N_IMAGES, N_FILTERS, BATCH_SIZE, N_EPOCHS = 1600, 64, 128, 8


def make_images():
    """Random 32 x 32 RGB images of 10 classes, as uint8."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (N_IMAGES, 3, 32, 32)).astype(np.uint8)
    return X, rng.integers(0, 10, N_IMAGES), np.arange(N_IMAGES) % 8


def plain_loop(X, y):
    """What a practitioner writes: autograd, fused AdamW, slices of tensors."""
    X, y = torch.from_numpy(X).float() / 255, torch.from_numpy(y)
    convolution = torch.nn.Conv2d(3, N_FILTERS, 5, 2)
    head = torch.nn.Linear(16 * N_FILTERS, 10)
    parameters = [*convolution.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1.0, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_EPOCHS)
    for _ in range(N_EPOCHS):
        for rows in torch.randperm(len(X)).tensor_split(-(-len(X) // BATCH_SIZE)):
            responses = functional.relu(convolution(X[rows]))
            pooled = functional.adaptive_avg_pool2d(responses, 4).flatten(1)
            loss = functional.cross_entropy(head(pooled), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()


def contenders():
    X, y, tasks = make_images()

    def ours(head):
        model = ConvMultiTaskClassifier(
            N_FILTERS,
            kernel_size=5,
            stride=2,
            head=head,
            batch_size=BATCH_SIZE,
            max_iter=N_EPOCHS,
            tol=0,
            random_state=0,
        )
        return lambda: model.fit(X, y, tasks)

    runs = {"plain torch loop": lambda: plain_loop(X, y)}
    return runs | {f"ours, {head} head": ours(head) for head in ("shared", "per_task")}


def theory():
    """A fit of the theory's default setting: 16 tasks, 960 rows of two patches."""
    X, y, tasks, *_ = make_patch_tasks(random_state=0)
    model = ConvMultiTaskClassifier(head="fixed", random_state=0)
    return lambda: model.fit(X.astype(np.float32), y, tasks)


def measure(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=Path("conv_speed.json"))
    arguments = parser.parse_args()
    results = {}
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        runs = contenders()
        times = {name: [] for name in runs}
        for _ in range(arguments.rounds + 1):
            for name, run in runs.items():
                times[name].append(measure(run))
        print(f"\n{N_IMAGES} images, {N_EPOCHS} epochs, {threads} threads")
        base = times["plain torch loop"][1:]
        for name, seconds in times.items():
            median = statistics.median(seconds[1:])
            ratio = statistics.median(s / b for s, b in zip(seconds[1:], base))
            print(f"  {name:20s} {median:7.3f} s   ratio {ratio:.2f}", flush=True)
            results[f"{threads} threads, {name}"] = {
                "times": seconds[1:],
                "ratio": ratio,
            }
        run = theory()
        seconds = [measure(run) for _ in range(arguments.rounds + 1)][1:]
        print(
            f"  16 tasks of the theory, fixed head: {statistics.median(seconds):.2f} s"
        )
        results[f"{threads} threads, theory"] = seconds
    arguments.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
