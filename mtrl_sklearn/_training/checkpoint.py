"""Checkpoints: a file from which a fit that was killed goes on.

It holds where the fit was after one of its epochs or steps, and what was asked for, so
that no other call takes it for its own. With several ranks the first one reads and
writes it.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from skorch.callbacks import Callback

from mtrl_sklearn._files.arrays import (
    Refusal,
    read_arrays,
    refusals,
    write_arrays,
)
from mtrl_sklearn._files.atomic import reserve_space
from mtrl_sklearn._group import (
    ALONE,
    Group,
    show,
)
from mtrl_sklearn._labels.signs import row_blocks
from mtrl_sklearn._warnings import warn_user

KIND = "checkpoint"

# Parameters that are gone, with the value by which fits go on.
FORMER_PARAMETERS = {"head_steps": "1"}

# Parameters that earlier files do not have, with the value by which fits go on.
LATER_PARAMETERS = {"pos_label": "None"}

# Writing takes at most one part in so many of the time of a fit.
SHARE_OF_WRITING = 10


class Progress(NamedTuple):
    """Where a fit is."""

    state: Mapping[str, np.ndarray]  # all that its solver needs to go on
    loss_curve: np.ndarray  # (n_iter,)
    validation_scores: np.ndarray  # (n_iter,), or empty
    is_over: bool  # whether nothing is left to do


class Checkpoint:
    """The file of one fit.

    Parameters
    ----------
    path : path-like or None
        A file, which need not be there yet. In a folder the file is named after the
        call, so that many fits can share it. None saves nothing.
    call : mapping of str to str
        What was asked for, and of which data: a fit goes on where all of it is the
        same. With several ranks, of the data of this one. Without "random_state" each
        call draws a seed of its own: a fit goes on with that of its first start.
    seed : int
        Seed of the fit, if it is a new one.
    group : Group
        Processes that share the fit; the first one reads and writes.

    Attributes
    ----------
    seed : int
        Seed of the fit, which keeps that of its first start.
    progress : Progress or None
        Where it was interrupted.
    chosen : dict of str to float
        What the fit chose before it began, to be saved with it; of files of before,
        and of a new fit, nothing.

    Raises
    ------
    ValueError
        If the file holds another fit, or anything else. If the path is a folder, and
        the call has no seed that tells it from others.
    OSError
        If it cannot be read.

    Warns
    -----
    UserWarning
        If the fit had ended, and its seed is not that of the call.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        call: Mapping[str, str] | None = None,
        seed: int = 0,
        group: Group = ALONE,
    ):
        self.group = group
        self.seed = seed
        self.progress: Progress | None = None
        self.chosen: dict[str, float] = {}
        self.path: Path | None = None
        self._next_time = 0.0  # of time.monotonic
        if path is None:
            return
        self.call = _of_all_ranks(call or {}, group)
        self.path = Path(path)
        is_folder = group.from_first(self.path.is_dir())
        if os.fspath(path).endswith(os.sep) and not is_folder:
            raise FileNotFoundError(
                errno.ENOENT, "checkpoint is no folder: make it", os.fspath(path)
            )
        is_repeatable = "random_state" in self.call
        if is_folder and not is_repeatable:
            raise ValueError(
                f"checkpoint={os.fspath(path)!r} is a folder, where nothing would tell "
                "calls with random_state=None apart: all would get the network of the "
                "first. Pass an int or a RandomState as random_state, or the path of "
                "a file of its own for each fit."
            )
        if is_folder:
            self.path /= f"{digest_text(repr(self.call))}.safetensors"
        with group.together():
            found = self._read() if group.is_first else None
        found = group.from_first(found)
        if found is not None:
            self.seed, self.progress, self.chosen = found
        if self.progress is not None and self.progress.is_over and not is_repeatable:
            warn_user(
                f"checkpoint={os.fspath(path)!r} holds a fit that has ended, and gives "
                "its result; random_state=None draws nothing new. Remove the file, or "
                "pass another path, to start anew."
            )

    def _read(self) -> tuple[int, Progress, dict[str, float]] | None:
        assert self.path is not None
        try:
            arrays, about = read_arrays(self.path, KIND)
        except FileNotFoundError:
            return None
        with refusals(self.path):
            _check_content(arrays, about)
        known = about["call"]
        for name, value in FORMER_PARAMETERS.items():
            if known.get(name) == value:
                known = {k: v for k, v in known.items() if k != name}
        known = {k: v for k, v in LATER_PARAMETERS.items() if k in self.call} | known
        differing = [
            k for k in self.call.keys() | known if self.call.get(k) != known.get(k)
        ]
        if differing:
            raise ValueError(
                f"checkpoint={os.fspath(self.path)!r} holds a fit that differs from "
                f"this one in {', '.join(sorted(differing))}. Remove the file, pass "
                "another path, or pass a folder, where each call has a file of its own."
            )
        curves = arrays.pop("loss_curve"), arrays.pop("validation_scores")
        progress = Progress(arrays, *curves, about["is_over"])
        return about["seed"], progress, about.get("chosen", {})

    def reserve(self, n_bytes: int) -> None:
        """Refuse at the start of a fit what could not be written at its end.

        Parameters
        ----------
        n_bytes : int
            Size of what `save` is to write.
        """
        if self.path is None or self.progress is not None:
            return
        with self.group.together():
            if (
                self.group.is_first
            ):  # the file, and beside it the one that is to replace it
                reserve_space(self.path, 2 * n_bytes)

    def save(
        self,
        get_state: Callable[[], Mapping[str, np.ndarray]],
        loss_curve: np.ndarray,
        validation_scores: np.ndarray,
        is_over: bool,
    ) -> None:
        """Write where a fit is, unless too much time went into writing already.

        Parameters
        ----------
        get_state : callable
        loss_curve, validation_scores, is_over
            As in `Progress`. What is over is always written.

        Warns
        -----
        UserWarning
            If the file could not be written: the fit goes on, the file stays as it was.
        """
        start = time.monotonic()
        is_due = is_over or start >= self._next_time
        if self.path is None or not self.group.is_first or not is_due:
            return
        curves = {"loss_curve": loss_curve, "validation_scores": validation_scores}
        about = {
            "call": self.call,
            "seed": self.seed,
            "is_over": bool(is_over),
            "chosen": self.chosen,
        }
        try:
            write_arrays(self.path, {**get_state(), **curves}, about, KIND)
        except OSError as error:
            warn_user(
                f"checkpoint={os.fspath(self.path)!r} was not written after "
                f"{len(loss_curve)} epochs: {error}. The fit goes on, and "
                "tries again.",
            )
        end = time.monotonic()
        self._next_time = end + (SHARE_OF_WRITING - 1) * (end - start)


def _check_content(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Refuse what is no checkpoint, whoever computed its checksum."""
    curves = [arrays.get(name) for name in ("loss_curve", "validation_scores")]
    call, seed, chosen = (about.get(name) for name in ("call", "seed", "chosen"))
    if not (
        isinstance(call, dict)
        and type(seed) is int
        and 0 <= seed < 2**31
        and isinstance(about.get("is_over"), bool)
        and (chosen is None or _are_numbers(chosen))
        and all(c is not None and c.dtype == "f8" and c.ndim == 1 for c in curves)
    ):
        raise Refusal("lacks a part of a checkpoint")


def _are_numbers(chosen: Any) -> bool:
    return isinstance(chosen, dict) and all(
        type(value) is float and value > 0 for value in chosen.values()
    )


def digest(array: Any) -> str:
    """Checksum of the numbers, the shape and the dtype of an array.

    Parameters
    ----------
    array : ndarray of any shape, or CSR array
        Memory maps are read block by block.
    """
    state = hashlib.blake2b(
        repr((array.shape, array.dtype.str)).encode(), digest_size=16
    )
    parts = [array.indptr, array.indices, array.data] if issparse(array) else [array]
    for part in parts:
        if part.ndim == 0:
            part = part[None]
        for rows in row_blocks(part):
            state.update(np.ascontiguousarray(part[rows]).view(np.uint8).data)
    return state.hexdigest()


def describe_callbacks(given: Any) -> str:
    """Text by which callbacks of skorch are told apart, the same in each process.

    Parameters
    ----------
    given : list of skorch callbacks
        Each one counts with its class and its settings: attributes without a trailing
        underscore, as they are once it is initialised, since skorch's own change them
        there. Of settings that are objects only the class counts.
    """
    if isinstance(given, (bool, int, float, str, np.generic, type(None))):
        return show(given)
    if isinstance(given, (list, tuple)):
        return f"[{', '.join(map(describe_callbacks, given))}]"
    named = given if hasattr(given, "__qualname__") else type(given)
    name = f"{named.__module__}.{named.__qualname__}"
    if not isinstance(given, Callback):
        return name
    ready = copy(given)
    ready.initialize()
    settings = {k: v for k, v in vars(ready).items() if not k.endswith("_")}
    shown = (f"{k}={describe_callbacks(v)}" for k, v in sorted(settings.items()))
    return f"{name}({', '.join(shown)})"


def _of_all_ranks(call: Mapping[str, str], group: Group) -> dict[str, str]:
    """What is asked of all ranks; where they differ one checksum for all of them."""
    calls = group.gather(dict(call))
    if len(calls) == 1:
        return calls[0]
    names = {name for of_rank in calls for name in of_rank}
    of_ranks = {n: [of_rank.get(n) for of_rank in calls] for n in sorted(names)}
    found = {
        name: str(values[0]) if len(set(values)) == 1 else digest_text(repr(values))
        for name, values in of_ranks.items()
    }
    return found | {"the number of ranks": str(len(calls))}


def digest_text(text: str) -> str:
    """Checksum of a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
