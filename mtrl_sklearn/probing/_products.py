"""Products between rows of few-shot problems, block by block."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from mtrl_sklearn._arrays.block_scale import block_scale
from mtrl_sklearn._arrays.centred import Block, move_full_columns
from mtrl_sklearn._arrays.computed import is_computed
from mtrl_sklearn.probing._blocks import Blocks

# Rows that tell where a block lies, and how large it is.
MAX_ROWS = 1000

# Blocks whose rows differ by less, in squares of what they are, do not vary.
LEAST_SPREAD = 1e-12


class MovedBlock(NamedTuple):
    """A block of which rows of a size near 1 are taken.

    They are float64: few rows may differ by far less than they differ from others.
    """

    block: Block  # (n_samples, n_columns); columns of a sparse one have an implied 0
    size: float  # that of its rows; inf where all of them are the same
    places: np.ndarray | None  # (n_entries,), rows of entries; None: they are the rows

    def keep(self, entries: np.ndarray) -> "MovedBlock":
        """Some entries, each with a row."""
        return self._replace(block=self.block[self._rows_of(entries)], places=None)

    def _rows_of(self, entries: np.ndarray) -> np.ndarray:
        return entries if self.places is None else self.places[entries]

    def take(self, entries: np.ndarray) -> Block:
        """Rows of some entries: a float64 array, or CSR."""
        taken = _take(self.block, self._rows_of(entries))
        return taken.astype(np.float64) / self.size


class Kernels(NamedTuple):
    """Products of centred rows of the blocks, divided so that squares are 1 on average.

    A block that does not vary has products of 0.
    """

    among: np.ndarray  # (n_blocks, n_few, n_few)
    raw: np.ndarray  # (n_blocks, n_others, n_few), of other rows, not centred
    along: np.ndarray  # (n_blocks, n_few), means of rows of few products
    factors: np.ndarray  # (n_blocks,), what products are multiplied by

    def score(self, weights: np.ndarray, dual: np.ndarray) -> np.ndarray:
        """Scores of the other rows, ``sum_b u_b K_b a``.

        Parameters
        ----------
        weights : ndarray of shape (n_models, n_blocks)
            u.
        dual : ndarray of shape (n_models, n_few)
            a.

        Returns
        -------
        ndarray of shape (n_models, n_others)
        """
        total = dual.sum(axis=1, keepdims=True)
        dual = dual - total / dual.shape[1]  # so that the other rows are centred, too
        scores = np.zeros((len(dual), self.raw.shape[1]), dtype=dual.dtype)
        for share, raw, along in zip((weights * self.factors).T, self.raw, self.along):
            of_block = dual * share[:, None]
            scores += of_block @ raw.T - (of_block @ along)[:, None]
        return scores


class Products(NamedTuple):
    """Products of rows with few of them, less the mean of these where dense."""

    few: np.ndarray  # (n_few,), int
    among: np.ndarray  # (n_blocks, n_few, n_few)
    between: np.ndarray  # (n_blocks, n_others, n_few), with other rows

    def centre(self, rows: np.ndarray) -> Kernels:
        """Products with some of the few rows, less the mean of these.

        Parameters
        ----------
        rows : ndarray of shape (n_kept,), int
        """
        among, between = self.among, self.between
        if len(rows) < len(self.few) or (rows != self.few).any():
            order = np.argsort(self.few)
            places = order[np.searchsorted(self.few[order], rows)]
            among, between = among[:, places[:, None], places], between[:, :, places]
        along = among.mean(axis=1)
        mean = along.mean(axis=1)
        squares = np.trace(among, axis1=1, axis2=2) / len(rows)
        spread = squares - mean
        varies = spread > LEAST_SPREAD * squares
        factors = np.divide(1, spread, out=np.zeros_like(spread), where=varies)
        centred = among - along[:, :, None]
        centred -= (along - mean[:, None])[:, None]
        centred *= factors[:, None, None]
        return Kernels(centred, between, along, factors)


def move_blocks(
    blocks: Blocks, entries: np.ndarray, places: np.ndarray | None = None
) -> dict[str, MovedBlock]:
    """Blocks by name, to take rows of.

    Parameters
    ----------
    blocks : Blocks of n_samples rows
    entries : ndarray of shape (n_taken,)
        Those that are to be taken.
    places : ndarray of shape (n_entries,), default=None
        Rows that entries belong to; None if each row is an entry.
    """
    some = np.unique(entries)
    some = some[:: -(-max(len(some), 1) // MAX_ROWS)]
    rows = some if places is None else places[some]
    return {name: _move(block, rows, places) for name, block in blocks.present.items()}


def _move(block: Block, rows: np.ndarray, places: np.ndarray | None) -> MovedBlock:
    size = block_scale(_take(block, rows))
    moved = move_full_columns(block)[0] if issparse(block) else block
    return MovedBlock(moved, size, places)


def _take(block: Block, rows: np.ndarray) -> Any:
    """Some rows, as an array of their own or CSR."""
    taken = block[rows]
    return taken.toarray() if is_computed(taken) else taken


def multiply_rows(
    blocks: dict[str, MovedBlock], few: np.ndarray, others: np.ndarray
) -> Products:
    """Products of few rows with each other, and with others.

    Parameters
    ----------
    blocks : dict of MovedBlock
    few : ndarray of shape (n_few,), int
        Entries.
    others : ndarray of shape (n_others,), int
        Entries.
    """
    found = [_multiply(block.take, few, others) for block in blocks.values()]
    among, between = zip(*found)
    return Products(few, np.array(among), np.array(between))


def _multiply(
    take: Callable[[np.ndarray], Block], few: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    rows = take(np.concatenate([few, others]))
    if not issparse(rows):
        rows -= rows[: len(few)].mean(axis=0)
    products: Any = rows @ rows[: len(few)].T
    if issparse(products):
        products = products.toarray()
    return products[: len(few)], products[len(few) :]
