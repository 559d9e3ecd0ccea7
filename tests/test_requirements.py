"""Versions that are tested are those that pyproject.toml admits, down to its bounds."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]

# Of packages whose old releases are too large for every run: docs/release.md has what
# ran with them.
TRIED_BY_HAND = {"torch": "2.4.1"}


def pinned(name):
    """Versions by the name of the package."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if "==" in line]
    return {canonicalize_name(package): version for package, version in pins}


def required():
    """Requirements of the package and of its extras but for those on itself."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"].values()
    lines = sum(extras, project["dependencies"])
    requirements = [Requirement(line) for line in lines]
    return [r for r in requirements if r.name != project["name"]]


@pytest.mark.parametrize("requirement", required(), ids=str)
def test_versions_that_are_tested_are_admitted(requirement):
    name = canonicalize_name(requirement.name)
    bounds = {bound.operator: Version(bound.version) for bound in requirement.specifier}
    newest = Version(pinned("constraints.txt")[name])
    assert newest in requirement.specifier
    # The site is built with one version of each.
    oldest = pinned("constraints.txt") | pinned("constraints-oldest.txt")
    oldest |= TRIED_BY_HAND
    assert bounds.pop(">=") == Version(oldest[name])
    if "<" in bounds:  # the release after the last one that is tested
        next_release = Version(f"{newest.major}.{newest.minor + 1}")
        assert bounds.pop("<") == next_release
    assert bounds == {}
