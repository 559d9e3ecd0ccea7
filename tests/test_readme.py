"""The README's python blocks run, in order, in one namespace."""

import re
from pathlib import Path

import numpy as np

from mtrl_sklearn import MultiTaskReLURepresentation

README = Path(__file__).parents[1] / "README.md"


def test_what_is_installed_first_is_what_the_blocks_run_with():
    """The Makefile makes the environment of the tests, and so that of the blocks."""
    pattern = r"""pip install .*?constraint.*?(\.[\[\]\w,]*)"?$"""
    found = []
    for path in (README, README.with_name("Makefile")):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        found.append(re.search(pattern, text, re.MULTILINE)[1])
    assert found[0] == found[1] != "."


def test_blocks_run(tmp_path, monkeypatch):
    """As they stand, but for the width of representations, which is not set there."""
    monkeypatch.chdir(tmp_path)
    init = MultiTaskReLURepresentation.__init__
    assert init.__defaults__ == (512,)
    monkeypatch.setattr(init, "__defaults__", (64,))
    text = README.read_text(encoding="utf-8")
    blocks = list(
        re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    )
    assert blocks
    namespace = {"__name__": "readme"}
    for block in blocks:
        # Leading blank lines make a traceback show the line of the README.
        above = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(above + block[1], str(README), "exec"), namespace)
    assert np.mean(namespace["accuracy"]) > 0.8
