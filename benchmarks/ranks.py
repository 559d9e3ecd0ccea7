"""What a fit gains from more processes, by the rows in a step, and what predicts it.

Run as ``python benchmarks/ranks.py``. One, two and four processes, each with one
thread, take turns at the same fit; times are those of a step, from two numbers of
epochs, and ratios are of the same round. "Sending" is the share of a step in which
processes wait for sums of gradients, and each other. Figures are medians over rounds.

The model: a step of n rows on p processes takes ::

    a + b n / p max(1, p / cores) + 2 (p - 1) sum_m (latency + bytes_m / (p bandwidth))

over the messages m of a step, summed in a ring. a and b are fitted to one process,
latency and bandwidth to sums of small and large tensors that the processes send without
a fit. With those of a network it says from how many rows on more machines pay off.
Writes ``ranks.json``.
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
import torch
from torch import distributed

N_FEATURES, N_HIDDEN, N_TASKS, N_STEPS = 256, 512, 64, 40
BATCHES = [128, 512, 2048, 8192]
PROCESSES = [1, 2, 4]
N_MESSAGES = 2  # of a step of "alternating": heads, then the first layer
SENT = (8, 2**20, 2**22)  # numbers of float32 that are summed without a fit
# Seconds and bytes a second of networks between machines
NETWORKS = {
    "1 Gbit/s": (100e-6, 0.117e9),
    "10 Gbit/s": (50e-6, 1.15e9),
    "100 Gbit/s": (15e-6, 11e9),
}


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
        "sums": [time_sum(n) for n in SENT] if n_ranks > 1 else [],
    }
    if rank == 0:
        Path(folder, f"{n_ranks}.json").write_text(json.dumps(found))
    if n_ranks > 1:
        distributed.destroy_process_group()


def time_sum(n_numbers, n_times=20):
    """Seconds in which the ranks sum so many numbers."""
    tensor = torch.ones(n_numbers)
    times = []
    for _ in range(n_times):
        distributed.barrier()
        start = time.perf_counter()
        distributed.all_reduce(tensor)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


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


def fit_line(x, y):
    """Intercept and slope, by least squares of relative errors, neither below 0."""
    weights = 1 / np.asarray(y)
    design = np.stack([weights, np.asarray(x) * weights], axis=1)
    intercept, slope = np.linalg.lstsq(design, np.ones(len(x)), rcond=None)[0]
    return max(float(intercept), 0.0), max(float(slope), 1e-12)


def ring(n_bytes, n_ranks, latency, bandwidth):
    """Seconds of a sum of so many bytes over ranks in a ring."""
    return 2 * (n_ranks - 1) * (latency + n_bytes / (n_ranks * bandwidth))


def fit_ring(sums, n_ranks):
    """Latency and bandwidth from the times of `SENT`."""
    n_bytes = 4 * np.array(SENT)
    start, per_byte = fit_line(n_bytes, sums)
    hops = 2 * (n_ranks - 1)
    return start / hops, hops / (n_ranks * per_byte)


def predict(n_rows, n_ranks, of_one, n_bytes, network, n_cores):
    """Seconds of a step."""
    fixed, per_row = of_one
    crowded = max(1, n_ranks / n_cores)
    computing = (fixed + per_row * n_rows / n_ranks) * crowded
    return computing + N_MESSAGES * ring(n_bytes / N_MESSAGES, n_ranks, *network)


def smallest_batch(n_ranks, of_one, n_bytes, network):
    """Rows of a step from which on ranks, a core each, take under .75 of its time."""
    for n_rows in (2**k for k in range(5, 24)):
        together = predict(n_rows, n_ranks, of_one, n_bytes, network, n_ranks)
        if together < 0.75 * predict(n_rows, 1, of_one, 0, network, 1):
            return n_rows
    return None


def measure(batches, processes, rounds):
    """Medians by rows of a step and number of processes, printed as they come."""
    found = {}
    print("rows per step  processes   ms of a step   of one   sending   MB per step")
    for batch_size in batches:
        turns = [{n: launch(n, batch_size) for n in processes} for _ in range(rounds)]
        found[batch_size] = {}
        for n in processes:
            keys = ("seconds", "sending", "bytes")
            row = {k: float(np.median([t[n][k] for t in turns])) for k in keys}
            ratios = [t[n]["seconds"] / t[1]["seconds"] for t in turns]
            row["ratio"] = float(np.median(ratios))
            row["sums"] = np.median([t[n]["sums"] for t in turns], axis=0).tolist()
            found[batch_size][n] = row
            print(
                f"{batch_size:13} {n:10} {1e3 * row['seconds']:14.2f} "
                f"{row['ratio']:8.2f} {row['sending']:9.0%} {row['bytes'] / 1e6:13.2f}",
                flush=True,
            )
    return found


def compare_model(found, processes):
    """Predictions beside what was measured, and what they say of networks."""
    n_cores = len(os.sched_getaffinity(0))
    of_one = fit_line(list(found), [rows[1]["seconds"] for rows in found.values()])
    model = {"fixed": of_one[0], "per row": of_one[1], "networks": {}}
    print(f"\none process: {1e3 * of_one[0]:.2f} ms + {1e6 * of_one[1]:.2f} us a row")
    for n in filter(lambda n: n > 1, processes):
        sums = np.median([rows[n]["sums"] for rows in found.values()], axis=0)
        network = fit_ring(sums, n)
        model["networks"][n] = network
        print(f"{n} here: {1e6 * network[0]:.0f} us, {network[1] / 1e9:.2f} GB/s")
        for batch_size, rows in found.items():
            n_bytes = rows[n]["bytes"]
            seconds = predict(batch_size, n, of_one, n_bytes, network, n_cores)
            print(
                f"  {batch_size:6} rows: {1e3 * seconds:8.2f} ms predicted, "
                f"{1e3 * rows[n]['seconds']:8.2f} measured"
            )
        for name, of_network in NETWORKS.items():
            enough = smallest_batch(n, of_one, n_bytes, of_network)
            model["networks"][f"{n}, {name}"] = enough
            told = "never" if enough is None else f"{enough} rows in a step"
            print(f"  machines at {name:10} pay off from {told} on")
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--processes", type=int, nargs="+", default=PROCESSES)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(int(options.worker[0]), options.worker[1])
        return
    processes = sorted({1, *options.processes})
    found = measure(options.batches, processes, options.rounds)
    model = compare_model(found, processes)
    Path("ranks.json").write_text(json.dumps({"rows": found, "model": model}, indent=2))


if __name__ == "__main__":
    main()
