"""What a fit gains from a second process, by the number of rows in a step.

Run as ``python benchmarks/ranks.py``. One process and two, each with one thread, take
turns at the same fit; times are those of a step, from two numbers of epochs, and ratios
are of the same round. "Sending" is the share of a step in which the two wait for sums
of gradients, and each other. Figures are medians over rounds; writes ``ranks.json``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from torch import distributed

N_FEATURES, N_HIDDEN, N_TASKS, N_STEPS = 256, 512, 64, 40
BATCHES = [128, 512, 2048, 8192]


def work(batch_size, folder):
    """Time steps of a fit that the ranks share; the first one writes them."""
    from mtrl_sklearn import MultiTaskReLURepresentation
    from mtrl_sklearn._group import Ranks

    rank, n_ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if n_ranks > 1:
        distributed.init_process_group("gloo")
    sent = {"bytes": 0, "seconds": 0.0}

    send = Ranks.sum

    def sum_over_ranks(group, *tensors):
        start = time.perf_counter()
        sums = send(group, *tensors)
        sent["seconds"] += time.perf_counter() - start
        sent["bytes"] += sum(tensor.nbytes for tensor in tensors)
        return sums

    Ranks.sum = sum_over_ranks
    rng = np.random.default_rng(rank)
    X = rng.standard_normal((2 * batch_size // n_ranks, N_FEATURES), dtype=np.float32)
    Y = (X @ rng.standard_normal((N_FEATURES, N_TASKS)) > 0).astype(float)

    def fit(n_steps):
        model = MultiTaskReLURepresentation(
            N_HIDDEN,
            n_components=None,
            max_iter=n_steps // 2,  # an epoch has two batches
            batch_size=batch_size,
            tol=1,
            n_iter_no_change=10**6,
            random_state=0,
        )
        sent.update(bytes=0, seconds=0.0)
        start = time.perf_counter()
        model.fit(X, Y)
        return time.perf_counter() - start, dict(sent)

    fit(4)
    (short, sent_short), (long, sent_long) = fit(N_STEPS), fit(3 * N_STEPS)
    found = {
        "seconds": (long - short) / (2 * N_STEPS),
        "sending": (sent_long["seconds"] - sent_short["seconds"]) / (long - short),
        "bytes": (sent_long["bytes"] - sent_short["bytes"]) / (2 * N_STEPS),
    }
    if rank == 0:
        Path(folder, f"{n_ranks}.json").write_text(json.dumps(found))
    if n_ranks > 1:
        distributed.destroy_process_group()


def launch(n_ranks, batch_size):
    """Figures of a step that so many processes share."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(n_ranks), __file__, "--worker"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [*command, str(batch_size), folder],
            env=environment,
            check=True,
            capture_output=True,
        )
        return json.loads(Path(folder, f"{n_ranks}.json").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(int(options.worker[0]), options.worker[1])
        return
    found = {}
    print("rows per step   ms of one   ms of two   two / one   sending   MB per step")
    for batch_size in BATCHES:
        rounds = [
            [launch(n, batch_size) for n in (1, 2)] for _ in range(options.rounds)
        ]
        one, two = (
            {k: float(np.median([pair[i][k] for pair in rounds])) for k in rounds[0][i]}
            for i in range(2)
        )
        ratio = float(np.median([b["seconds"] / a["seconds"] for a, b in rounds]))
        found[batch_size] = {"one": one, "two": two, "ratio": ratio}
        print(
            f"{batch_size:13} {1e3 * one['seconds']:11.2f} {1e3 * two['seconds']:11.2f}"
            f" {ratio:11.2f} {two['sending']:9.0%} {two['bytes'] / 1e6:13.2f}"
        )
    Path("ranks.json").write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
