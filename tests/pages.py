"""Blocks of the README and of the site: run, and compared with the output they show.

A fence of ``python`` is a block. The fence of ``text`` after it, with nothing but white
space between, is what it prints. Blocks of a page run in order, in one namespace.

``python tests/pages.py PAGE...`` runs pages and writes what they print into them.
"""

import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
WRITTEN = [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
PAGES = [ROOT / "README.md", *sorted(WRITTEN)]  # what is built holds them again
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?P<shown>\s*?^```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
NUMBER = re.compile(r"-?\d+\.\d*|-?\.\d+")
# Of decimal fractions: accuracies of small fits, which processors round differently.
TOLERANCE = 0.03


class Block(NamedTuple):
    """A block of a page."""

    line: int  # of its first line of code
    code: str
    output: str | None  # None where the page shows none
    end: int  # of its code, as a position in the page
    shown: slice  # where output stands


def read_blocks(text):
    """Blocks of a page, in order.

    >>> page = "```python\\nprint(1)\\n```\\n\\n```text\\n1\\n```\\n"
    >>> [(block.code, block.output) for block in read_blocks(page)]
    [('print(1)\\n', '1\\n')]
    """
    return [
        Block(
            text.count("\n", 0, found.start("code")) + 1,
            found["code"],
            found["output"],
            found.end("code") + len("```"),
            slice(found.end("code") + len("```"), found.end()),
        )
        for found in BLOCK.finditer(text)
    ]


def agree(shown, printed):
    """Whether texts are the same but for rounding of decimal fractions.

    >>> agree("ROC-AUC 0.81", "ROC-AUC 0.82"), agree("64 labels", "63 labels")
    (True, False)
    """
    words = [NUMBER.sub("#", text).split() for text in (shown, printed)]
    numbers = [list(map(float, NUMBER.findall(text))) for text in (shown, printed)]
    return words[0] == words[1] and all(
        abs(a - b) <= TOLERANCE + 1e-9 for a, b in zip(*numbers, strict=True)
    )


def run_blocks(path):
    """Yield each block of a page with what it printed."""
    text, namespace = path.read_text(encoding="utf-8"), {"__name__": path.stem}
    for block in read_blocks(text):
        # Leading blank lines make a traceback show the line of the page.
        code = compile("\n" * (block.line - 1) + block.code, str(path), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, namespace)
        yield block, printed.getvalue()


def write_outputs(path):
    """Put what blocks print into the page."""
    text = path.read_text(encoding="utf-8")
    for block, printed in reversed(list(run_blocks(path))):
        printed = re.sub(r"[ \t]+$", "", printed, flags=re.MULTILINE)
        shown = f"\n\n```text\n{printed}```" if printed else ""
        text = text[: block.end] + shown + text[block.shown.stop :]
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for page in [Path(name).resolve() for name in sys.argv[1:]]:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            write_outputs(page)
