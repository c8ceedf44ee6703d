"""The version stands in one place, and what repeats it agrees."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_the_citation_is_of_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == VERSION


def test_the_changelog_begins_with_what_is_unreleased_or_with_this_version():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert headings and "Unreleased" not in headings[1:]
    assert all(re.match(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)$", heading) for heading in released)
    assert not released or released[0].split()[0] == VERSION


def test_versions_are_semantic():
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
