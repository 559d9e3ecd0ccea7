"""The README and the pages of the site: their blocks run, and print what they show.

That links and anchors lead somewhere is checked where the site is built: `make docs`.
"""

import importlib
import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, agree, read_blocks, run_blocks

README = ROOT / "README.md"
PUBLIC = [
    "mtrl_sklearn",
    *(
        f"mtrl_sklearn.{name}"
        for name in (
            "datasets",
            "metrics",
            "model_selection",
            "persistence",
            "plotting",
            "preprocessing",
            "probing",
        )
    ),
]


def with_blocks():
    return [path for path in PAGES if read_blocks(path.read_text(encoding="utf-8"))]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def test_what_is_installed_first_is_what_the_blocks_run_with():
    """The Makefile makes the environment of the tests, and so that of the blocks."""
    pattern = r"""^pip install -c constraints.txt "\.\[(\w+)\]"$"""
    for path in (README, ROOT / "docs" / "install.md"):
        text = path.read_text(encoding="utf-8")
        assert re.search(pattern, text, re.MULTILINE)[1] == "all", path
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^EXTRA := (\w+)$", makefile, re.MULTILINE)[1] == "all"


def test_the_readme_is_a_page():
    text = README.read_text(encoding="utf-8")
    assert text.count("\n") <= 130
    assert ">>>" not in text
    assert len(read_blocks(text)) >= 2


@pytest.mark.parametrize("path", with_blocks(), ids=name_of)
def test_blocks_print_what_they_show(path, tmp_path, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    for block, printed in run_blocks(path):
        place = f"{path}:{block.line}"
        assert printed, f"{place} prints nothing"
        assert block.output is not None, f"{place} shows no output"
        assert agree(block.output, printed), f"{place} prints\n{printed}"
    plt.close("all")


def test_a_wrong_output_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nprint(f'{0.5:.2f} of 3')\n```\n\n```text\n0.50 of 3\n```\n"
    )
    [(block, printed)] = run_blocks(page)
    assert agree(block.output, printed)
    for wrong in ("0.60 of 3", "0.50 of 4", "0.50", "0.50 of 3 rows"):
        assert not agree(wrong, printed)


def links(text):
    """Targets of links and pictures, without code."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_outside_of_the_site_lead_to_files(name):
    found = links((ROOT / name).read_text(encoding="utf-8"))
    inside = [link for link in found if "://" not in link]
    assert inside
    for link in inside:
        assert (ROOT / link.partition("#")[0]).exists(), link


def test_the_reference_has_every_public_name():
    text = (ROOT / "docs" / "reference.rst").read_text(encoding="utf-8")
    sections = re.split(r"^(mtrl_sklearn[.\w]*)\n-+$", text, flags=re.MULTILINE)[1:]
    listed = {
        module: set(re.findall(r"^   (\w+)$", section, re.MULTILINE))
        for module, section in zip(sections[::2], sections[1::2])
    }
    assert set(listed) == set(PUBLIC)
    for module in PUBLIC:
        public = set(importlib.import_module(module).__all__) - {"__version__"}
        elsewhere = public & listed["mtrl_sklearn"]  # save, load, to_onnx
        assert listed[module] | elsewhere == public, module


def test_decisions_name_files_that_are_there():
    there = [
        path.relative_to(ROOT).as_posix()
        for folder in ("mtrl_sklearn", "tests", "benchmarks", "examples")
        for path in (ROOT / folder).rglob("*.py")
    ]
    for page in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        named = re.findall(r"`([\w/]+\.py)[` ]", page.read_text(encoding="utf-8"))
        for name in named:
            found = any(f"/{path}".endswith(f"/{name}") for path in there)
            assert found, f"{page.name} names {name}"


def test_pictures_of_the_site_are_there():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"^```\{figure\} (\S+)$", text, re.MULTILINE):
            assert Path(page.parent, name).is_file(), f"{page} shows {name}"
