"""Settings cannot smuggle commands into what is executed."""

import copy
import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from project import CHECKOUT, run_file
from tacit import settings

SCALES = CHECKOUT / "config" / "scales"
CONFIG = yaml.safe_load((CHECKOUT / "config" / "config.yaml").read_text(encoding="utf-8"))
HOSTILE = [
    "; touch executed",
    "$(touch executed)",
    "`touch executed`",
    "' ; touch executed ; '",
    '"; touch executed; "',
]
SAFE = re.compile(r"[A-Za-z0-9_~./+-]*")

TO_A_SHELL = frozenset("$`;|&<>(){}[]'\"\\\n\r\t*?#!%^")
"""What means something to a shell, and must not be in the name of a folder."""


def leaves(values, path=()):
    """All places in nested blocks and lists that hold no more blocks."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for name, value in items:
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


LOADED = {"config": CONFIG | {"scale": "smoke"}}
LOADED["all"] = settings.load(LOADED["config"], SCALES).model_dump(mode="json")
PLACES = sorted(leaves(LOADED["all"]), key=str)


def at(values, path):
    for part in path:
        values = values[part]
    return values


def replaced(path, value):
    changed = copy.deepcopy(LOADED["all"])
    at(changed, path[:-1])[path[-1]] = value
    return changed


def texts(values):
    return {at(values, path) for path in leaves(values) if isinstance(at(values, path), str)}


KNOWN = texts(LOADED["all"])


def check(path, value):
    try:
        loaded = settings.load(replaced(path, value), SCALES).model_dump(mode="json")
    except settings.SettingsError:
        return
    if path == ("images_folder",):
        assert not TO_A_SHELL & set(at(loaded, path))
        assert at(loaded, path).isprintable()
        return
    # What was taken is a number, a truth value, nothing, or one of the words that are allowed there.
    found = at(loaded, path)
    assert not isinstance(found, str) or SAFE.fullmatch(found), (path, value, found)
    for text in texts(loaded) - {loaded["images_folder"]}:
        assert SAFE.fullmatch(text), text


@pytest.mark.parametrize("value", HOSTILE)
def test_commands_are_refused_wherever_they_stand(value):
    assert len(PLACES) > 100
    for path in PLACES:
        check(path, value)


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), st.text() | st.text(alphabet="$`;|&<>(){}[]'\"\\ \n*?~#!%") | st.floats() | st.none())
@example(("scale",), "../smoke")
@example(("scale",), "smoke\n")
@example(("pathfinder", "coefficients", 0), "1;2")
@example(("pathfinder", "coefficients", 0), float("nan"))
def test_whatever_is_taken_is_harmless(path, value):
    check(path, value)


@pytest.mark.slow
def test_a_folder_may_have_blanks_and_any_letters_but_no_commands(smoke, copy_of):
    project = copy_of(smoke)
    run = run_file(path_length=2, coefficient=0)
    (project / run).unlink()
    call = project.call(run, "--cores", "1", images_folder=" ".join(HOSTILE))
    assert call.code != 0
    assert "images_folder" in call.output
    assert "may hold letters, digits, blanks" in call.output
    assert project.run(run, images_folder="Bilder für Tests/2026").plan == {"pathfinder_train": 1}
    assert not list(project.folder.rglob("executed"))


@pytest.mark.slow
@pytest.mark.parametrize("value", HOSTILE)
def test_targets_are_files_and_no_commands(smoke, copy_of, value):
    project = copy_of(smoke)
    call = project.call(f"results/smoke/pathfinder/path_length~2/coefficient~0{value}/seed~0.h5", "--cores", "1")
    assert call.code != 0
    assert not list(project.folder.rglob("executed"))
