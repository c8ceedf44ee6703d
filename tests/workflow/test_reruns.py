"""What runs again after which change, and what does not. All of it is planned only."""

import ast
import os
import shutil
from contextlib import ExitStack, contextmanager

import pytest

from project import CHECKOUT, CODE, FIGURE, pathfinder, run_file

pytestmark = pytest.mark.slow

NOTHING = {}
PLOT = pathfinder(plot=1)
COLLECT = pathfinder(collect=1, plot=1)
TRAIN = pathfinder(train=4, collect=1, plot=1)
ASSEMBLE = pathfinder(assemble=2, train=4, collect=1, plot=1)
RENDER = pathfinder(render=4, assemble=2, train=4, collect=1, plot=1)


def test_a_moved_project_reruns_nothing(project):
    assert project.plan() == NOTHING


def test_touched_files_rerun_nothing(project):
    for path in project.files("Snakefile", "config/**/*", "workflow/**/*", "src/**/*"):
        os.utime(project / path)
    assert project.plan() == NOTHING


@pytest.mark.parametrize("kept", [False, True], ids=["without Tacit's own", "with new times"])
def test_a_fresh_clone_around_old_results_reruns_nothing(project, kept):
    for name in CODE:
        if (CHECKOUT / name).is_dir():
            shutil.rmtree(project / name)
            shutil.copytree(CHECKOUT / name, project / name, copy_function=shutil.copyfile)
    if kept:
        # As cp -r leaves them.
        for path in (project / ".snakemake" / "tacit").rglob("*.py"):
            path.touch()
    else:
        shutil.rmtree(project / ".snakemake" / "tacit")
    assert project.plan() == NOTHING


def test_a_damaged_copy_of_a_script_is_made_again(project):
    (copy,) = (project / ".snakemake" / "tacit").rglob("collect.py")
    sound = copy.read_bytes()
    copy.write_bytes(sound[:300])
    os.utime(copy, (0, 0))
    assert project.plan() == NOTHING
    assert copy.read_bytes() == sound


class Redocument(ast.NodeTransformer):
    """Gives every module, class and function another docstring, or a first one."""

    def generic_visit(self, node):
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            rest = node.body[1:] if ast.get_docstring(node) else node.body
            # Statements of __future__ stay the first ones after the docstring, wherever it is.
            node.body = [ast.Expr(ast.Constant("Something else.")), *rest]
        return node


def reworded(source):
    """The same program with other docstrings, comments, blank lines and layout."""
    tree = ast.fix_missing_locations(Redocument().visit(ast.parse(source)))
    return "# Another comment.\n\n\n" + ast.unparse(tree).replace("\n", "  # and one more\n\n", 1) + "\n\n# The end.\n"


def test_comments_docstrings_and_layout_rerun_nothing(project):
    with ExitStack() as changes:
        for path in project.files("src/**/*.py", "workflow/**/*.py"):
            changes.enter_context(project.changed(path, reworded))
        for path in project.files("Snakefile", "workflow/**/*.smk", "config/**/*.yaml"):
            changes.enter_context(project.changed(path, "# Another comment.\n\n{}\n# The end.\n".format))
        assert project.plan() == NOTHING


EDITS = {
    "how an image is drawn": (
        "src/tacit/data/pathfinder_kernel.py",
        "end_path = origin_path if label == 1",
        "end_path = origin_path if label == 0",
        RENDER,
    ),
    "how a stroke is drawn": (
        "src/tacit/data/strokes.py",
        "return angle + math.pi if angle < 0",
        "return angle + math.pi if angle <= 0",
        RENDER,
    ),
    "how images are split": (
        "src/tacit/studies/pathfinder.py",
        "return order[:num_train], order[num_train:]",
        "return order[num_test:], order[:num_test]",
        ASSEMBLE,
    ),
    "the training loop": (
        "src/tacit/training/networks.py",
        'engine.trailing(moving, "accuracy", least=1.0)',
        'engine.trailing(moving, "accuracy", least=0.99)',
        TRAIN,
    ),
    "what is imported by a name": (
        "src/tacit/training/objectives.py",
        "from torch.nn.functional import binary_cross_entropy_with_logits",
        "from torch.nn.functional import mse_loss as binary_cross_entropy_with_logits",
        TRAIN,
    ),
    "the network": ("src/tacit/nn/resnets.py", ".mean(dim=(2, 3))", ".amax(dim=(2, 3))", TRAIN),
    "how a claim is judged": (
        "src/tacit/studies/ledger.py",
        "CONFIDENCE = 0.95",
        "CONFIDENCE = 0.99",
        COLLECT,
    ),
    "what is summarized": ("src/tacit/studies/tables.py", "groups.std(ddof=1)", "groups.std(ddof=0)", PLOT),
    "how the figure looks": (
        "src/tacit/figures/accuracy.py",
        "axes.set_ylim(low - room",
        "axes.set_ylim(low - 2 * room",
        PLOT,
    ),
    "the style of all figures": ("src/tacit/figures/style.py", '"font.size": 8', '"font.size": 9', PLOT),
    "the script of the plot": (
        "workflow/scripts/plot.py",
        "missing=origin.missing",
        "missing=1 + origin.missing",
        PLOT,
    ),
    "the script of the training": (
        "workflow/scripts/pathfinder_train.py",
        "identity=RUN.values(snakemake.wildcards)",
        "identity=RUN.values(snakemake.wildcards) | {}",
        TRAIN,
    ),
    "what a job says": ("src/tacit/runlog.py", "every: float = 10.0", "every: float = 20.0", NOTHING),
    "how a GPU is leased": ("src/tacit/devices.py", "_POLL_SECONDS = 0.5", "_POLL_SECONDS = 0.7", NOTHING),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_reruns_what_depends_on_it(project, edit):
    path, old, new, expected = EDITS[edit]
    with project.edited(path, old, new):
        assert project.plan(FIGURE) == expected


def test_undone_edits_rerun_nothing(project):
    with ExitStack() as edits:
        for path, old, new, _ in EDITS.values():
            edits.enter_context(project.edited(path, old, new))
        assert project.plan(FIGURE) == RENDER
    assert project.plan(FIGURE) == NOTHING


SETTINGS = {
    "one more seed": ({"seeds": 2}, TRAIN),
    "one more coefficient": ({"coefficients": [0, 0.5, 1]}, TRAIN | pathfinder(train=2)),
    "one more path length": (
        {"path_lengths": [2, 3, 4]},
        pathfinder(render=2, assemble=1, train=2, collect=1, plot=1),
    ),
    "fewer path lengths": ({"path_lengths": [3]}, COLLECT),
    "more epochs": ({"training": {"epochs": 4}}, TRAIN),
    "another network": ({"network": {"width": 4}}, TRAIN),
    "another size": ({"dataset": {"size": 24}}, ASSEMBLE),
    "other shards": ({"images_per_shard": 50}, pathfinder(render=8, assemble=2, train=4, collect=1, plot=1)),
    "another rendering": ({"rendering": {"continuity": 2}}, RENDER),
    "the same values again": ({"seeds": 1, "training": {"epochs": 3}, "rendering": {"continuity": 1.8}}, NOTHING),
}


@pytest.mark.parametrize("change", SETTINGS)
def test_a_change_of_settings_runs_what_is_new(project, change):
    settings, expected = SETTINGS[change]
    assert project.plan(FIGURE, pathfinder=settings) == expected


def test_where_and_how_a_job_runs_reruns_nothing(project):
    assert project.plan(FIGURE, device="cpu", gpus_per_run=1, gpu_slots=3, checkpoint_epochs=5) == NOTHING


def test_a_look_at_another_scale_reruns_nothing_of_this_one(project):
    demo = project.plan(FIGURE, scale="demo")
    assert demo["pathfinder_plot"] == demo["pathfinder_collect"] == 1
    assert project.plan(FIGURE) == NOTHING


@contextmanager
def moved_away(path):
    aside = path.rename(path.with_name("aside"))
    try:
        yield
    finally:
        aside.rename(path)


def test_a_missing_run_is_trained_as_soon_as_it_is_needed(project):
    run, table = run_file(path_length=2, coefficient=1), "results/smoke/pathfinder/runs.csv"
    with moved_away(project / run):
        assert project.plan(FIGURE) == NOTHING
        assert project.plan(run) == pathfinder(train=1)
        with moved_away(project / table):
            assert project.plan(table) == pathfinder(train=1, collect=1)
    assert project.plan(FIGURE) == NOTHING


def test_images_may_be_deleted_until_they_are_needed(project):
    with moved_away(project / "results" / "data"):
        assert project.plan(FIGURE) == NOTHING
        more = project.plan(FIGURE, pathfinder={"seeds": 2})
    assert more["pathfinder_render"] == 4
    assert project.plan(FIGURE) == NOTHING
