"""Conventions that all rules and scripts keep."""

import re

import pytest

pytestmark = pytest.mark.slow

RULE = re.compile(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", re.M | re.S)


@pytest.fixture(scope="module")
def rules(fresh):
    """The text of each rule by its name."""
    files = fresh.files("Snakefile", "workflow/**/*.smk")
    return {name: body for content in files.values() for name, body in RULE.findall(content.decode())}


@pytest.fixture(scope="module")
def scripts(fresh):
    """The text of each script by its name."""
    return {path.rpartition("/")[2]: content.decode() for path, content in fresh.files("workflow/scripts/*").items()}


def scripts_of(rules):
    """The name of the script by the name of the rule, for those that have one."""
    found = {name: re.findall(r"^    script:\n\s+(.*)$", body, re.M) for name, body in rules.items()}
    return {name: lines[0] for name, lines in found.items() if lines}


def test_the_linter_asks_for_nothing_but_environments(fresh):
    output = fresh.call("--lint").output
    advice = {line.strip(" *:.") for line in output.splitlines() if line.startswith("    * ")}
    assert advice <= {"Specify a conda environment or container for each rule"}, output
    assert "Lints for" in output or "Congratulations" in output


def test_rules_run_scripts_and_nothing_else(rules):
    for name, body in rules.items():
        assert not re.search(r"^    (run|shell|notebook|wrapper):", body, re.M), name
        assert "lambda" not in body, name


def test_every_rule_with_a_script_names_it_for_content_and_fingerprint(rules):
    by_script = scripts_of(rules)
    assert len(by_script) >= 5
    for name, script in by_script.items():
        (by_content,) = re.findall(r'^by_content\("(\w+\.py)"\)$', script)
        (code,) = re.findall(r"^        code=fingerprint\((.*?)\),?$", rules[name], re.M)
        uses = re.findall(r'^        uses="(.*?)",?$', rules[name], re.M)
        assert code == ", ".join(f'"{part}"' for part in [by_content, *uses]), name


def test_every_script_belongs_to_rules_of_its_name(rules, scripts):
    used = {name: script.split('"')[1].removesuffix(".py") for name, script in scripts_of(rules).items()}
    assert {f"{script}.py" for script in used.values()} == set(scripts)
    # Of those that are told what to use, the name says what is done.
    assert [name for name, script in used.items() if not (name == script or f"_{script}" in name)] == []


def test_every_rule_with_a_script_has_a_log_and_says_what_it_does(rules):
    for name in scripts_of(rules):
        for directive in ("log", "message"):
            assert re.search(rf"^    {directive}:", rules[name], re.M), f"{name} has no {directive}"
        assert re.match(r' *"""[A-Z].*\."""\n', rules[name]), f"{name} has no docstring"


def test_scripts_read_no_configuration(scripts):
    for name, text in scripts.items():
        read = set(re.findall(r"\bsnakemake\.(\w+)", text))
        assert read <= {"input", "output", "params", "wildcards", "log", "threads"}, name
        assert "config" not in text, name


def test_the_profile_names_rules_that_there_are(rules, fresh):
    text = (fresh / "profiles" / "slurm" / "config.yaml").read_text(encoding="utf-8")
    grouped = set(re.findall(r"^  (\w+): (?!\d)\w+$", text.partition("\ngroups:\n")[2].partition("\ngroup-")[0], re.M))
    advised = set(re.findall(r"^#   (\w+):$", text.partition("# set-resources:\n")[2], re.M))
    assert len(grouped) > 5 and len(advised) > 3
    assert grouped | advised <= set(rules)
