"""What docs/originals.md says of each argument of the original programs: that it is there, and that it is right."""

import argparse
import fnmatch
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from tacit import __main__ as command_line
from tacit import looking, paths, settings
from tacit.paths import Files
from tacit.settings.run_figures import RunFigure
from tacit.studies import recorded

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "originals.md").read_text(encoding="utf-8")
EVERYWHERE = "everywhere"

ARGUMENTS = {
    "experiments.py": "--epochs --n_splits --cnn_lr --lc_lr --exec",
    "job.sh": "cnn_lr lc_lr epochs n_splits",
    "main.py": "--dataset --path --data_size --model --convert_to --load_model --save_dir --epochs --n_saves --bs_train"
    " --bs_eval --lr --mom --wd --seed --double --no_cuda --load_opt",
    "interp.py": "--net1_path --net2_path --interp_method --n_points --stiffness --epochs --data_size --bs_train"
    " --bs_eval --lr --mom --wd --dataset --data_path --log_path --seed --no_cuda --device",
    "main.py fit, main.py test": "--seed_everything --model --model.L --model.dim --model.alpha --model.gamma"
    " --model.lr --model.p_var --model.p_loss --model.activation --model.augmentation --model.init --model.dynamic_lr"
    " --model.store_grad --model.classes --model.input_size --data --data.batch_size --data.training_data_percentage"
    " --data.num_samples --data.c --data.num_workers --data.path --trainer.max_epochs --trainer.default_root_dir"
    " --trainer.accelerator --trainer.devices --trainer.precision --trainer.* --config --print_config --ckpt_path",
    "ll-render, ll-vis": "--config_path --checkpoint_path --steps --res --seed --device --out --visualize"
    " --surface_path",
    "path-norm, path-weights": "--dir_path --ext --beta --pvar --pvar_only --visualize_CI --verbose",
    "curve-fit": "--event_path --filter_period --window_size --scaling_x --infer_shift",
    "resnet_cifar10.py": "--L --seed",
    "ewfcm.py": "--logs_dir --weights_dir --manual --verbose",
    "make.py": "trials devices results one_gpu one_trial",
    "trainer.py": "--arch --data --device --workers --epochs --start-epoch --batch-size --lr --momentum --weight-decay"
    " --print-freq --resume --evaluate --pretrained --half --save-dir --save-every --rank-scale --square --residual"
    " --wd2fd --spectral --dump-frobnorms --normalize --no-frob --seed",
    "main_pretrain.py": "--learning_rate --weight_decay --batch_size --network --depth --dataset --epoch --decay_every"
    " --decay_ratio --device --resume --auto-resume --load_path --log_dir --rank-scale --target-ratio --wd2fd"
    " --spectral --kaiming",
    "main.py of tensors": "dataset mode --imagenet_loc --workers --resume --GPU --student_checkpoint"
    " --teacher_checkpoint --network --wrn_depth --wrn_width --module --blocktype --conv --AT_split --budget --lr"
    " --momentum --lr_decay_ratio --temperature --alpha --aux_loss --beta --epoch_step --epochs --print_freq"
    " --batch_size --weight_decay --nocrswd --clip_grad --rank-scale --target-ratio --wd2fd --spectral",
    "count.py": "--conv",
    "train.py": "data --arch --hidden_size --filter_size --num_layers --num_head --dropout --position"
    " --share-input-output-embed --rank-scale --spectral --spectral-quekey --spectral-outval --wd2fd --wd2fd-quekey"
    " --wd2fd-outval --frobenius-decay --weight-decay --optimizer --momentum --lr --lr-scheduler --warmup-updates"
    " --warmup-init-lr --force-anneal --lr-shrink --min-lr --clip-norm --adam-betas --adam-eps --sentence-avg"
    " --criterion --label-smoothing --max-epoch --max-update --max-tokens --max-sentences --batch-size"
    " --max-sentences-valid --max-source-positions --max-target-positions --skip-invalid-size-inputs-valid-test"
    " --train-subset --valid-subset -s -t --sample-without-replacement --curriculum --save-dir --restore-file"
    " --save-interval --validate-interval --no-save --no-epoch-checkpoints --seed --distributed-world-size"
    " --distributed-rank --distributed-backend --distributed-init-method --distributed-port --device-id"
    " --no-progress-bar --log-interval --log-format",
    "generate.py": "data --path --gen-subset --beam --nbest --max-len-a --max-len-b --remove-bpe --no-early-stop"
    " --unnormalized --lenpen --unkpen --cpu --quiet --score-reference --sampling --prefix-size --replace-unk"
    " --no-beamable-mm --num-shards --shard-id --dump --rank-scale --batch-size",
    "preprocess.py": "-s -t --trainpref --validpref --testpref --destdir --thresholdsrc --thresholdtgt --srcdict"
    " --tgtdict --nwordssrc --nwordstgt --alignfile --output-format --joined-dictionary --only-source",
    "score.py": "-s -r -o --ignore-case",
    "average_checkpoints.py": "--inputs --output",
    "matrix_factorization_data_generator.py": "--custom_file_name --random_seed --output_dir --num_samples --num_rows"
    " --num_cols --rank --use_symmetric_target --target_fro_norm --task_type",
    "tensor_sensing_data_generator.py": "--random_seed --output_dir --custom_file_name --task_type --num_samples"
    " --order --mode_dim_size --target_tensor_factorization_type --target_tensor_cp_rank --target_tensor_ht_rank"
    " --target_tensor_ht_pool_size --target_tensor_ht_pool_pattern --target_init_mean --target_init_std"
    " --target_fro_norm --target_calibrate_fro_norm",
    "All five runners": "--experiment_name --random_seed --gpu_ids --trainer_checkpoint --epochs --validate_every"
    " --use_test_dataset --outputs_dir --disable_console_log --save_logs --train_batch_log_interval"
    " --epoch_log_interval --save_metric_plots --save_every_num_val --use_tensorboard --use_wandb"
    " --wandb_project_name --wandb_entity_name --wandb_resume_path --wandb_track_model"
    " --wandb_exclude_files --score_metric_name --is_train_metric --return_best_score --score_largest"
    " --save_checkpoints --num_checkpoints --save_checkpoints_by_score --early_stop --early_stop_min_delta"
    " --early_stop_patience --early_stop_cooldown",
    "Runners of matrix, tensor and hierarchical tensor factorization": "--dataset_path --num_train_samples --lr"
    " --optimizer --momentum --stop_on_zero_loss_tol --stop_on_zero_loss_patience --depth --weight_init_type --init_std"
    " --load_dataset_to_gpu --num_test_samples --batch_size --loss --huber_loss_thresh --init_mean --num_cp_components"
    " --num_top_to_track --ht_pool_size --ht_layer_widths --additional_matricizations_to_track --compute_svd_on_cpu",
    "Runners of Is Same Class and Pathfinder": "--train_dataset_path --test_dataset_path --preload_data_to_memory"
    " --distance --input_width --input_height --num_train_samples --num_test_samples --dataset_path --reg_patch_size"
    " --reg_distance --reg_only_adjecent_patches --model --batch_size --gradient_accumulation --lr --optimizer"
    " --momentum --weight_decay --dropout --stop_on_perfect_train_acc --stop_on_perfect_train_acc_patience"
    " --grad_change_reg_coeff",
    "is_same_class_data_generator.py": "--random_seed --output_dir --custom_file_name --train --num_samples",
    "pathfinder_raw_images_generator.py": "--output_dir --num_samples --path_lengths --window_size --padding"
    " --continuity --antialias_scale --snake_contrast_list --marker_radius"
    " --max_distractor_contour_retrial --use_single_paddles --seed_distance --paddle_length"
    " --paddle_thickness --paddle_contrast_list --paddle_margin_list --max_paddle_retrial",
    "pathfinder_data_generator.py": "--dataset_path --output_dir --num_train_samples --num_test_samples",
    "dynamical_analysis_results_multi_plotter.py": "--plot_config_path",
    "locality_bias_plotter.py": "--experiments_dir --experiment_groups_dir_names"
    " --per_experiment_group_y_axis_value_name --per_experiment_group_label --per_experiment_group_marker"
    " --per_experiment_group_linestyle --per_experiment_group_color --error_bars_opacity --x_axis_value_name"
    " --x_axis_ticks --use_x_axis_ticks_values --y_axis_ticks --use_y_axis_ticks_values --y_axis_format_str"
    " --horizontal_lines --horizontal_lines_colors --horizontal_lines_styles --vertical_lines --vertical_lines_colors"
    " --vertical_lines_styles --y_value_scale_factor --plot_title --x_label --y_label --x_log_scale --y_log_scale"
    " --x_autoscale_tight --y_bottom_lim --y_top_lim --plot_linewidth --save_plot_to",
    "dmf_experiment_runner.py": "-experiment_name -dataset_path -num_samples -random_seed -output_dir -file_log"
    " -store_checkpoints -plot_metrics -save_results -disable_gpu -gpu_id -depth -weight_init_type -init_alpha"
    " -use_balanced_init -enforce_pos_det -enforce_neg_det -epochs -stop_on_zero_loss_tol -validate_every"
    " -save_every_num_val -lr -tracked_e2e_value_of -track_singular_values",
    "dmf_data_generator.py": "-custom_file_name -random_seed -output_dir -num_samples -num_rows -num_cols -rank"
    " -use_symmetric_target -use_custom_target -use_custom_sensing_matrices -task_type -sensing_std",
    "dmf_results_plotter.py": "-experiments_checkpoint_paths -experiments_names -plot_title -min_loss -save_plot_to",
    "tc_experiment_runner.py": "-experiment_name -dataset_path -num_samples -random_seed -output_dir -file_log"
    " -store_checkpoints -plot_metrics -disable_gpu -gpu_id -trainer_checkpoint -compute_final_tensor_ranks -epochs"
    " -validate_every -save_every_num_val -lr -use_adaptive_lr -init_std -stop_on_zero_loss_tol -tensor_rank_tol"
    " -track_tensor_rank",
    "tc_data_generator.py": "-random_seed -output_dir -custom_file_name -target_tensor_cp_rank -target_fro_norm"
    " -mode_dim_size -order",
    "tc_results_plotter.py": "-experiments_dir -plot_title -save_plot_to",
}  # fmt: skip
"""All arguments of each program, by the title of its table."""

WORDS = {
    *("none", "recorded", "replayed"),
    # Of a problem within `norms.matrix.further`.
    *("num_samples", "sensing_file", "target_file", "task: sensing"),
    *("--configfile mine.yaml", "factorize(model, rank_scale=...)", "multiply_add_cost", "metadata.npy", "OUT.csv"),
}
"""What else stands as code in the last column: values in the path of a run, names of a user's own, calls in Python."""


def rows():
    """Title of the table, arguments, and last column of every row."""
    found, title = [], ""
    for line in PAGE.splitlines():
        if line.startswith("#"):
            title = line.lstrip("# ").replace("`", "")
            title = EVERYWHERE if title == "From the original code" else title
        elif line.startswith("|") and not line.startswith(("|---", "| argument |", "| everywhere |")):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            assert len(cells) == (2 if title == EVERYWHERE else 3), line
            found.append((title, re.findall(r"`([^`]+)`", cells[0]), cells[-1]))
    return found


ROWS = rows()
PROGRAMS = [(title, arguments, cell) for title, arguments, cell in ROWS if title != EVERYWHERE]
NAMES = [f"{title}: {(arguments or ['-'])[0]}" for title, arguments, _ in PROGRAMS]


def spans(text):
    return re.findall(r"`([^`]+)`", text)


def is_setting(span):
    key = re.match(r"([a-z_]+)(\.[a-zA-Z0-9_]+)*: ", span)
    return key is not None and key[1] in settings.Configuration.model_fields


def is_block(span):
    """Tell whether a span is the name of settings, without a value."""
    model = settings.Configuration
    for part in span.split("."):
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            return False
        model = fields[part].annotation
    return True


def laid_over(given):
    """Nested blocks of settings with dots, each a mapping of one of them to its value."""
    config = {}
    for one in given:
        ((key, value),) = yaml.safe_load(one).items()
        inner = config
        *blocks, last = key.split(".")
        for block in blocks:
            inner = inner.setdefault(block, {})
        assert last not in inner, f"{key} is there twice; divide what are alternatives by a semicolon"
        inner[last] = value
    return config


def load(config):
    return settings.load(config, ROOT / "config" / "scales", files=[ROOT / "config" / "config.yaml"])


def is_within(given, found):
    """Tell whether settings have all that is given, whatever else they have."""
    if isinstance(given, dict):
        own = found if isinstance(found, dict) else dict(found)
        return all(name in own and is_within(value, own[name]) for name, value in given.items())
    if isinstance(given, list):
        return len(given) == len(found) and all(map(is_within, given, found))
    return given == found and isinstance(given, bool) == isinstance(found, bool)


# Completeness.


def test_every_argument_of_every_program_is_there():
    found = {}
    for title, arguments, _ in PROGRAMS:
        found.setdefault(title, []).extend(arguments)
    assert {title: set(arguments) for title, arguments in found.items()} == {
        title: set(names.split()) for title, names in ARGUMENTS.items()
    }
    for title, arguments in found.items():
        assert len(arguments) == len(set(arguments)), title


def test_every_row_says_something():
    for title, arguments, cell in ROWS:
        assert cell and "TODO" not in cell, (title, arguments)


# Settings.


@pytest.mark.parametrize("scale", ["smoke", "demo", "paper"])
@pytest.mark.parametrize(
    ("title", "arguments", "cell"), ROWS, ids=[f"{row[0]}: {(row[1] or ['-'])[0]}" for row in ROWS]
)
def test_settings_are_accepted_and_have_that_value(title, arguments, cell, scale):
    """Those between semicolons together, over any scale."""
    for part in cell.split(";"):
        if config := laid_over([span for span in spans(part) if is_setting(span)]):
            assert is_within(config, load(config | {"scale": scale}))


def test_settings_between_tables_are_accepted():
    prose = [span for line in PAGE.splitlines() if not line.startswith("|") for span in spans(line)]
    given = [span for span in prose if is_setting(span)]
    assert len(given) > 2
    for span in given:
        assert is_within(laid_over([span]), load(laid_over([span])))
    (words,) = [shlex.split(span)[1] for span in prose if span.startswith("--config '")]
    name, _, value = words.partition("=")
    assert is_within({name: yaml.safe_load(value)}, load({name: yaml.safe_load(value)}))


# Commands.


class Parsed(Exception):
    """Arguments of a command, in place of what it would do."""


def arguments_of(command, monkeypatch):
    """What `python -m tacit` takes a command for."""
    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser, *given):
        raise Parsed(parse(parser, *given))

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_only)
        patched.setattr(sys, "argv", ["tacit", *shlex.split(command.removeprefix("python -m tacit "))])
        with pytest.raises(Parsed) as raised:
            command_line.main()
    return raised.value.args[0]


def commands(start):
    return sorted({span for span in spans(PAGE) if span.startswith(start)})


@pytest.mark.parametrize("command", commands("python -m tacit "))
def test_commands_of_tacit_are_ones(command, monkeypatch):
    asked = arguments_of(command, monkeypatch)
    if asked.command == "plot" and Path(asked.runs[0]).suffix == ".h5":
        plain, source = looking._described(asked)
        (first, *others) = RunFigure.from_plain(plain, source=source).panels
        for name in (*first.y, *(name for panel in others for name in panel.y)):
            assert name in QUANTITIES, name
        assert first.x is None or first.x in QUANTITIES | AXES, first.x


@pytest.mark.parametrize("command", commands("snakemake "))
def test_commands_of_snakemake_ask_for_what_rules_make(command):
    from snakemake.cli import parse_args

    _, asked = parse_args(shlex.split(command.removeprefix("snakemake ")))
    assert asked.targets or asked.directory
    for target in asked.targets:
        assert target in RULES or any(re.fullmatch(made, target) for made in MADE), target
        assert paths.proper(target, KINDS) == target
    for word in asked.config or ():
        name, _, value = word.partition("=")
        load({"scale": "smoke", name: yaml.safe_load(value)})


# What files there are.

VARIABLE = re.compile(r'^(\w+) = f"(results/[^"]*)"$', re.M)
FILES = re.compile(r'^\w+ = files\((\w+|f"[^"]*"), _(\w+)\.(\w+)((?:, name="[^"]*")?)\)$', re.M)
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
RULES = set(re.findall(r"^rule (\w+):$", TEXT, re.M))


def made():
    """Regular expressions of what rules make, at demo scale, and the axes of run files."""
    folders = {name: path.replace("{cfg.scale}", "demo") for name, path in VARIABLE.findall(TEXT)}
    found = {re.escape(name) for name in re.findall(r'"(figures/\w+\.(?:pdf|csv))"', TEXT)}
    for variable, name in re.findall(r'f"\{(\w+)\}/([\w/{},|]+\.(?:csv|txt))"', TEXT):
        tail = re.sub(r"\{\{\w+(?:,([^}]+))?\}\}", lambda wildcard: f"(?:{wildcard[1] or '.+'})", name)
        found.add(f"{re.escape(folders[variable])}/{tail}")
    kinds = []
    for folder, module, axes, name in FILES.findall(TEXT):
        where = (
            folders[folder]
            if folder in folders
            else folder[2:-1].format(**folders, cfg=argparse.Namespace(scale="demo"))
        )
        kinds.append(getattr(importlib.import_module(f"tacit.settings.{module}"), axes))
        files = Files(where, kinds[-1], **({"name": name.split('"')[1]} if name else {}))
        run = re.sub(r"\{(\w+),((?:[^{}]|\{[^{}]*\})+)\}", r"(?:\2)", files.output).replace(".h5", r"\.h5")
        found |= {run, run.replace(r"\.h5", r"\.metrics\.pdf")}
    return found, kinds


MADE, KINDS = made()
QUANTITIES = {name for kind in recorded.kinds().values() for name in (*kind.arrays, *kind.attributes)}
AXES = {axis for axes in KINDS for axis in axes.axes}


def test_rules_are_read_as_they_are():
    assert len(RULES) > 50
    assert len(KINDS) > 10
    assert any(re.fullmatch(form, "figures/pathfinder.pdf") for form in MADE)
    assert any(re.fullmatch(form, "results/demo/norms/tensor/runs.csv") for form in MADE)
    assert any(
        re.fullmatch(form, "results/demo/rank_dynamics/factorization~matrix/task~completion/seed~0.h5") for form in MADE
    )
    assert not any(re.fullmatch(form, "results/demo/untied/no.csv") for form in MADE)


# All code in the last column is of a kind that is looked at.


@pytest.mark.parametrize(("title", "arguments", "cell"), PROGRAMS, ids=NAMES)
def test_all_that_stands_as_code_is_known(title, arguments, cell):
    originals = {name for names in ARGUMENTS.values() for name in names.split()}
    for span in spans(cell):
        named = span in WORDS | originals or f"{span}" in ARGUMENTS
        command = span.startswith(("python -m tacit ", "snakemake "))
        recorded_ = any(fnmatch.fnmatchcase(span, name) for name in QUANTITIES)
        there = (ROOT / span).exists() or span in ("logs/", "figures/", "results/")
        file = any(re.fullmatch(form, span) for form in MADE) or span.startswith("results/data/")
        assert is_setting(span) or is_block(span) or command or named or recorded_ or there or file, span


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)]+)\)", PAGE):
        path, _, anchor = link.partition("#")
        file = ROOT / "docs" / path
        assert file.is_file(), link
        titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
        assert not anchor or anchor in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
