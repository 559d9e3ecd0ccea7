"""What a release says of itself: version, citation, address."""

import re
import tomllib
from pathlib import Path

import pytest

import mtrl_sklearn
from mtrl_sklearn import _version
from mtrl_sklearn.probing import LinearProbe

ROOT = Path(__file__).parents[1]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("CITATION.cff", r"^version: (\S+)$"),
        ("docs/cite.md", r"^  version = \{(\S+)\},$"),
    ],
)
def test_citations_are_of_this_version(name, pattern):
    [version] = re.findall(pattern, read(name), re.MULTILINE)
    assert version == mtrl_sklearn.__version__


def test_the_address_is_the_same_everywhere():
    urls = tomllib.loads(read("pyproject.toml"))["project"].get("urls", {})
    assert urls.get("Documentation") == _version.ADDRESS


@pytest.mark.parametrize(
    "estimator",
    [
        mtrl_sklearn.MultiTaskReLURepresentation(),
        mtrl_sklearn.ConvMultiTaskClassifier(),
        LinearProbe(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_html_representation_links_to_no_page_that_is_not_there(estimator):
    links = re.findall(r'href="([^"]*)"', estimator._repr_html_())
    if _version.ADDRESS is None:
        assert not [link for link in links if "mtrl" in link]
    else:
        page = f"mtrl_sklearn.{type(estimator).__name__}".replace(
            "mtrl_sklearn.LinearProbe", "mtrl_sklearn.probing.LinearProbe"
        )
        assert f"{_version.ADDRESS}/generated/{page}.html" in links


def test_types_come_with_the_package():
    assert (Path(mtrl_sklearn.__file__).parent / "py.typed").is_file()
