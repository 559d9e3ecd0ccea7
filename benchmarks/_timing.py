"""Contenders that take turns, each in a process of its own, and tables of them."""

import contextlib
import multiprocessing
import os
import platform
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch._dynamo  # the first optimiser imports it, which takes a second and 85 MB
from _contenders import start_libraries
from _memory import CLOCK, clock, read_status, reset_peak

LIBRARIES = ("OMP", "MKL", "OPENBLAS")
PACKAGES = ("mtrl-sklearn", "torch", "scikit-learn", "skorch", "numpy", "scipy")


class Options(NamedTuple):
    """How to measure."""

    rounds: int
    threads: int | None  # None: as many as the libraries choose
    fast: bool

    def choose(self, full, fast):
        """Pick one of two sizes."""
        return fast if self.fast else full


def few_rounds(options):
    """At most two rounds, for work that takes long."""
    return options._replace(rounds=min(options.rounds, 2))


class Contender(NamedTuple):
    """What takes part in the rounds.

    ``build(**settings)`` is called once, in the contender's process, and returns the
    function that is timed; each round calls it with each of ``calls``.
    """

    name: str
    build: Callable[..., Callable[..., Any]]
    settings: dict[str, Any] = {}
    calls: list[tuple] = [()]
    base: str = ""  # contender whose times are the unit
    operations: float = 0  # per epoch; 0 where they were not counted
    precision: str = "float32"  # of the products that they are measured by


class Comparison(NamedTuple):
    """A row of the last table."""

    work: str
    ours: str  # name of our contender
    peer: str  # name of theirs
    seconds: float  # of ours
    peer_seconds: float
    ratio: float  # median over rounds of ours to theirs
    limit: float | None  # the same ratio of the matrix products alone, if counted


COMPARISON = "  {:<22} {:<30} {:<34} {:>9} {:>9} {:>6} {:>6}"
COMPARISON_HEAD = COMPARISON.format(
    "work", "ours", "peer", "ours s", "peer s", "ratio", "limit"
)


def format_comparison(row):
    """A line of the last table."""
    seconds = (f"{s:.3g}" for s in (row.seconds, row.peer_seconds))
    limit = "-" if row.limit is None else f"{row.limit:.2f}"
    return COMPARISON.format(*row[:3], *seconds, f"{row.ratio:.2f}", limit)


class Result(NamedTuple):
    """What a piece of work gives: all that was measured by title, and comparisons."""

    record: dict[str, Any]
    comparisons: list[Comparison]


class Timing(NamedTuple):
    """What was measured of one contender."""

    seconds: list[list[float]]  # of each call, of each round
    values: list[list[Any]]  # what the calls returned
    start: int  # bytes resident before the first call
    peak: int  # most bytes resident at any time since


class Worker:
    """The process of one contender: a fork of this one, which has run no torch."""

    def __init__(self, contender):
        self.name = contender.name
        context = multiprocessing.get_context("fork")
        self.pipe, other_end = context.Pipe()
        self.process = context.Process(target=serve, args=(other_end, contender))
        self.process.start()
        other_end.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(None)
        self.process.join()

    def receive(self):
        try:
            return self.pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.name!r} failed: see above.") from None

    def run(self, call):
        """Seconds, value and peak memory of one call."""
        self.pipe.send(call)
        return self.receive()


def serve(pipe, contender):
    """Build a contender and call it as often as the pipe says: a worker's process."""
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    start_libraries()
    run = contender.build(**contender.settings)
    reset_peak()
    pipe.send(read_status("VmRSS"))
    while (call := pipe.recv()) is not None:
        start = clock()
        value = run(*call)
        pipe.send((clock() - start, value, read_status("VmHWM")))


@contextlib.contextmanager
def fresh_process(threads, kind_of_clock="wall"):
    """Run work in a process that imports torch with so many threads; None sets nothing.

    The libraries read these variables once, when they are loaded. Workers are forks of
    such a process: what takes seconds to import is imported once.
    """
    variables = {"PYTHONWARNINGS": "ignore", CLOCK: kind_of_clock}
    if threads is not None:
        variables |= {f"{name}_NUM_THREADS": str(threads) for name in LIBRARIES}
    context = multiprocessing.get_context("spawn")
    with (
        mock.patch.dict(os.environ, variables),
        ProcessPoolExecutor(1, mp_context=context) as executor,
    ):
        yield lambda work, options: executor.submit(work, options).result()


def take_turns(contenders, rounds, warm_up=True):
    """Timings by name, after a round that is dropped."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(c)) for c in contenders]
        start = {worker.name: worker.receive() for worker in workers}
        if warm_up:
            for contender, worker in zip(contenders, workers):
                worker.run(contender.calls[0])
        turns = {contender.name: [] for contender in contenders}
        for _ in range(rounds):
            for contender, worker in zip(contenders, workers):
                turn = [worker.run(call) for call in contender.calls]
                turns[contender.name].append(turn)
    timings = {}
    for name, of_rounds in turns.items():
        of_calls = list(zip(*of_rounds))
        timings[name] = Timing(
            [[seconds for seconds, _, _ in of_call] for of_call in of_calls],
            [[value for _, value, _ in of_call] for of_call in of_calls],
            start[name],
            of_rounds[-1][-1][2],
        )
    return timings


def divide(numerators, denominators):
    """Ratios within each round."""
    return [a / b for a, b in zip(numerators, denominators)]


def per_epoch(contender, timing):
    """Seconds of an epoch in each round, without what a fit costs once.

    The slope between the first and the last call, whose arguments are their numbers of
    epochs.
    """
    n_epochs = contender.calls[-1][0] - contender.calls[0][0]
    pairs = zip(timing.seconds[0], timing.seconds[-1])
    return [(long - short) / n_epochs for short, long in pairs]


def compare(work, record, pairs, products=None):
    """Rows of the last table, printed as they come.

    Parameters
    ----------
    work : str
    record : dict
        Of `summarise` or `summarise_epochs`; the latter's times per epoch count.
    pairs : list of (str, str)
        Ours and theirs.
    products : dict of str to float, default=None
        Seconds of the matrix products alone, for some of ours.
    """
    rows = []
    for pair in pairs:
        ours, theirs = (
            record[name].get("seconds_per_epoch", record[name]["seconds"][-1])
            for name in pair
        )
        ratio = statistics.median(divide(ours, theirs))
        limit = (products or {}).get(pair[0])
        seconds, of_peer = statistics.median(ours), statistics.median(theirs)
        if limit is not None:
            limit /= of_peer
        rows.append(Comparison(work, *pair, seconds, of_peer, ratio, limit))
        print(format_comparison(rows[-1]), flush=True)
    return rows


def megabytes(n_bytes):
    return f"{n_bytes / 1e6:.0f}"


def print_table(title, columns, rows):
    """Print rows of strings, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(columns, *rows)]
    print(f"\n{title}")
    for row in (columns, *rows):
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths))
        print("  " + "  ".join([first.lstrip().ljust(widths[0]), *others]), flush=True)


def summarise(contenders, timings):
    """Times of the last call with their ratios, and memory: rows and a record."""
    rows, record = [], {}
    for contender in contenders:
        timing = timings[contender.name]
        base = timings[contender.base or contender.name]
        ratios = divide(timing.seconds[-1], base.seconds[-1])
        growth = timing.peak - timing.start
        rows.append(
            [
                contender.name,
                f"{statistics.median(timing.seconds[-1]):.4g}",
                f"{statistics.median(ratios):.2f}",
                megabytes(timing.peak),
                megabytes(growth),
            ]
        )
        record[contender.name] = {
            "calls": contender.calls,
            "seconds": timing.seconds,
            "base": contender.base,
            "ratios": ratios,
            "ratio": statistics.median(ratios),
            "peak_bytes": timing.peak,
            "growth_bytes": growth,
        }
    return rows, record


def summarise_epochs(contenders, timings, rates=None):
    """As `summarise`, and per epoch; ``rates`` are Gflop/s by name and round."""
    rows, record = summarise(contenders, timings)
    for contender, row in zip(contenders, rows):
        epochs = per_epoch(contender, timings[contender.name])
        base = next(c for c in contenders if c.name == (contender.base or c.name))
        ratios = divide(epochs, per_epoch(base, timings[base.name]))
        cells = [f"{statistics.median(epochs):.4g}", f"{statistics.median(ratios):.2f}"]
        entry = {"seconds_per_epoch": epochs, "ratios_per_epoch": ratios}
        if contender.operations:
            rate = [contender.operations / seconds / 1e9 for seconds in epochs]
            entry["gflops"] = rate
            cells.append(f"{statistics.median(rate):.0f}")
            for kind in ("square", "batch"):
                shares = divide(rate, rates[f"{contender.precision} {kind}"])
                entry[f"share_of_{kind}"] = shares
                cells.append(f"{100 * statistics.median(shares):.0f} %")
        elif rates is not None:
            cells += ["-"] * 3
        row[3:3] = cells
        record[contender.name] |= entry
    return rows, record


SUMMARY = ["s", "ratio", "peak MB", "growth MB"]
EPOCH_SUMMARY = ["s", "ratio", "s/epoch", "ratio", "peak MB", "growth MB"]
RATE_SUMMARY = [
    *EPOCH_SUMMARY[:4],
    *("Gflop/s", "of square", "of batch"),
    *EPOCH_SUMMARY[4:],
]


def describe_machine():
    """Processor, memory, load and versions."""
    cpu = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in cpu if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = fields["flags"].split()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": fields["model name"],
        "family and model": f"{fields['cpu family']}, {fields['model']}",
        "instructions": " ".join(f for f in flags if f[:3] in ("avx", "amx", "fma")),
        "processors": len(os.sched_getaffinity(0)),
        "memory_bytes": pages,
        "system": platform.platform(),
        "load": os.getloadavg()[0],
        "python": sys.version.split()[0],
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
