"""A process that imports the package and prints what this changed, one name a line."""

import ast
import atexit
import gc
import importlib
import locale
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import warnings
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mtrl_sklearn"
OURS = "mtrl_sklearn"


def import_what_others_import():
    """Import all packages that ours imports at the top of its modules."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += (
                [n.name for n in node.names] if isinstance(node, ast.Import) else []
            )
            for name in names:
                if name.partition(".")[0] != OURS:
                    importlib.import_module(name)


def import_package():
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        importlib.import_module(".".join(p for p in parts if p != "__init__"))


def snapshot(fork_handlers):
    """What a process has by itself."""
    import numpy as np
    import sklearn
    import torch
    from threadpoolctl import threadpool_info

    loggers = {
        name: (logger.level, logger.handlers, logger.disabled, logger.propagate)
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    return {
        "warnings": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "loggers": loggers,
        "root logger": (logging.root.level, list(logging.root.handlers)),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "locale": locale.setlocale(locale.LC_ALL),
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook),
        "standard streams": (sys.stdout, sys.stderr),
        "recursion": sys.getrecursionlimit(),
        "garbage": (gc.isenabled(), gc.get_threshold()),
        "signals": {s: signal.getsignal(s) for s in signal.valid_signals()},
        "threads": threading.active_count(),
        "handlers of exit": atexit._ncallbacks(),
        "handlers of forks": list(fork_handlers),
        "numbers of threads": [
            (i["filepath"], i["num_threads"]) for i in threadpool_info()
        ],
        "random": random.getstate(),
        "random of numpy": repr(np.random.get_state()),  # noqa: NPY002, the old stream too
        "errors of numpy": (np.geterr(), np.geterrcall()),
        "printing of numpy": np.get_printoptions(),
        "random of torch": torch.get_rng_state().tolist(),
        "dtype of torch": torch.get_default_dtype(),
        "device of torch": torch.get_default_device(),
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "precision of products": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "denormal numbers": (torch.tensor([1e-310], dtype=torch.float64) * 1).tolist(),
        "checks of sparse tensors": (
            torch.sparse.check_sparse_tensor_invariants.is_enabled()
        ),
        "anomalies": torch.is_anomaly_enabled(),
        "sharing of tensors": torch.multiprocessing.get_sharing_strategy(),
        "start of processes": multiprocessing.get_start_method(allow_none=True),
        "scikit-learn": sklearn.get_config(),
    }


def main():
    fork_handlers = []
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        os.register_at_fork = lambda **handlers: fork_handlers.append(handlers)
    import_what_others_import()
    before = snapshot(fork_handlers)
    assert OURS not in sys.modules
    import_package()
    after = snapshot(fork_handlers)
    print(*(name for name in before if before[name] != after[name]), sep="\n")


if __name__ == "__main__":
    main()
