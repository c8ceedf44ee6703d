# From CNN to locally and fully connected networks (Sanford, Ardeshir, Hsu 2022; d'Ascoli et al. 2019):
# image set -> CNN -> networks that continue from it -> tables, interpolations -> figures.


include: "untied.paths.smk"


rule untied:
    input:
        "figures/untied.pdf",
        "figures/untied_splits.pdf",
        "figures/untied_deviation.pdf",
        "figures/untied_interpolation.pdf",
        UNTIED_MARGINS_FIGURE,
        f"{UNTIED}/claims.csv",


rule untied_train:
    """Train one network from scratch: CNN, locally or fully connected; one learning rate, one seed."""
    input:
        UNTIED_IMAGES,
    output:
        UNTIED_SCRATCH.output,
    log:
        UNTIED_SCRATCH.log,
    benchmark:
        UNTIED_SCRATCH.benchmark
    threads: 1
    resources:
        mem_mb=untied_memory,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        settings=untied_scratch_settings,
        checkpoint=UNTIED_SCRATCH.checkpoint,
        code=fingerprint("untied_train.py"),
    message:
        "untied: train {wildcards.network}, learning rate {wildcards.learning_rate}, seed {wildcards.seed}"
    script:
        by_content("untied_train.py")


rule untied_continue:
    """Have one network continue from the CNN as it was at one epoch; cnn is the control, whose weights stay tied."""
    input:
        images=UNTIED_IMAGES,
        cnn=UNTIED_CNN,
    output:
        UNTIED_CONTINUED.output,
    log:
        UNTIED_CONTINUED.log,
    benchmark:
        UNTIED_CONTINUED.benchmark
    threads: 1
    resources:
        mem_mb=untied_memory,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        asked=UNTIED_ASKED,
        settings=untied_continued_settings,
        checkpoint=UNTIED_CONTINUED.checkpoint,
        code=fingerprint("untied_continue.py"),
    message:
        "untied: continue from epoch {wildcards.split} as {wildcards.network}, learning rate {wildcards.learning_rate} "
        "after {wildcards.cnn_learning_rate}, seed {wildcards.seed}"
    script:
        by_content("untied_continue.py")


rule untied_collect:
    """Gather all runs in one table, with the best epochs of each in another, and judge the claims of the papers."""
    input:
        runs=available(UNTIED_RUNS),
    output:
        runs=f"{UNTIED}/runs.csv",
        best=f"{UNTIED}/best_epochs.csv",
        claims=report(
            f"{UNTIED}/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Untied weights", "scale": cfg.scale},
        ),
    log:
        log_of(f"{UNTIED}/runs.csv"),
    localrule: True
    params:
        asked=UNTIED_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(UNTIED_RUNS),
        settings={"shown": cfg.untied.shown.plain(), "planned": UNTIED_PLANNED},
        uses="tacit.studies.untied_claims.tables",
        code=fingerprint("collect.py", "tacit.studies.untied_claims.tables"),
    message:
        "untied: collect the runs"
    script:
        by_content("collect.py")


rule untied_plot:
    """Draw norm and accuracy over epochs."""
    input:
        runs=rules.untied_collect.output.runs,
    output:
        figure=report(
            "figures/untied.pdf",
            caption="../report/untied.rst",
            category="Untied weights",
            labels={"result": "Untied weights: norm and accuracy", "scale": cfg.scale},
        ),
        numbers="figures/untied.csv",
    log:
        "logs/figures/untied.log",
    localrule: True
    params:
        asked=UNTIED_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(UNTIED_RUNS),
        settings=drawn(cfg.untied, "interpolation"),
        uses="tacit.figures.untied.CURVES",
        code=fingerprint("plot.py", "tacit.figures.untied.CURVES"),
    message:
        "untied: draw figures/untied.pdf"
    script:
        by_content("plot.py")


rule untied_plot_splits:
    """Draw norm and accuracy at the end against the epoch of the split."""
    input:
        runs=rules.untied_collect.output.runs,
    output:
        figure=report(
            "figures/untied_splits.pdf",
            caption="../report/untied_splits.rst",
            category="Untied weights",
            labels={"result": "Untied weights: what is reached by split", "scale": cfg.scale},
        ),
        numbers="figures/untied_splits.csv",
    log:
        "logs/figures/untied_splits.log",
    localrule: True
    params:
        asked=UNTIED_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(UNTIED_RUNS),
        settings=drawn(cfg.untied, "interpolation"),
        uses="tacit.figures.untied.SPLITS",
        code=fingerprint("plot.py", "tacit.figures.untied.SPLITS"),
    message:
        "untied: draw figures/untied_splits.pdf"
    script:
        by_content("plot.py")


rule untied_plot_deviation:
    """Draw how far weights are from being tied, layer by layer over epochs."""
    input:
        runs=rules.untied_collect.output.runs,
    output:
        figure=report(
            "figures/untied_deviation.pdf",
            caption="../report/untied_deviation.rst",
            category="Untied weights",
            labels={"result": "Untied weights: distance from tying", "scale": cfg.scale},
        ),
        numbers="figures/untied_deviation.csv",
    log:
        "logs/figures/untied_deviation.log",
    localrule: True
    params:
        asked=UNTIED_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(UNTIED_RUNS),
        settings=drawn(cfg.untied, "interpolation"),
        uses="tacit.figures.untied.DEVIATION",
        code=fingerprint("plot.py", "tacit.figures.untied.DEVIATION"),
    message:
        "untied: draw figures/untied_deviation.pdf"
    script:
        by_content("plot.py")


rule untied_margins_collect:
    """Gather histograms of the margins of the networks that are shown, if they are kept."""
    input:
        runs=untied_margin_runs,
    output:
        margins=f"{UNTIED}/margins.csv",
    log:
        log_of(f"{UNTIED}/margins.csv"),
    localrule: True
    params:
        asked=UNTIED_ASKED,
        accept_older_code=cfg.accept_older_code,
        settings={"shown": cfg.untied.shown.plain()},
        uses="tacit.studies.untied_results.collect_margins",
        code=fingerprint("collect.py", "tacit.studies.untied_results.collect_margins"),
    message:
        "untied: collect the margins"
    script:
        by_content("collect.py")


rule untied_margins_plot:
    """Draw histograms of margins."""
    input:
        margins=rules.untied_margins_collect.output.margins,
    output:
        figure=report(
            "figures/untied_margins.pdf",
            caption="../report/untied_margins.rst",
            category="Untied weights",
            labels={"result": "Untied weights: margins", "scale": cfg.scale},
        ),
        numbers="figures/untied_margins.csv",
    log:
        "logs/figures/untied_margins.log",
    localrule: True
    params:
        asked=UNTIED_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(UNTIED_MARGIN_RUNS),
        settings=drawn(cfg.untied, "interpolation"),
        uses="tacit.figures.untied.MARGINS",
        code=fingerprint("plot.py", "tacit.figures.untied.MARGINS"),
    message:
        "untied: draw figures/untied_margins.pdf"
    script:
        by_content("plot.py")


rule untied_interpolate:
    """Follow paths between two networks at the end of their training, or at other epochs; one seed."""
    input:
        images=UNTIED_IMAGES,
        origin=untied_origin,
        target=untied_target,
    output:
        UNTIED_PATH.output,
    log:
        UNTIED_PATH.log,
    benchmark:
        UNTIED_PATH.benchmark
    threads: 1
    resources:
        mem_mb=untied_interpolate_memory,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        asked=UNTIED_ASKED,
        settings=cfg.untied.interpolation_run.plain(),
        epochs={"scratch": cfg.untied.scratch.epochs, "continued": cfg.untied.continued.epochs},
        checkpoint=UNTIED_PATH.checkpoint,
        code=fingerprint("untied_interpolate.py"),
    message:
        "untied: interpolate from {wildcards.origin} to {wildcards.target}, learning rates {wildcards.cnn_learning_rate} and "
        "{wildcards.learning_rate}, seed {wildcards.seed}"
    script:
        by_content("untied_interpolate.py")


rule untied_interpolation_collect:
    """Gather all interpolations in one table, and judge the claims of the paper."""
    input:
        runs=available(UNTIED_PATHS),
    output:
        interpolations=f"{UNTIED}/interpolations.csv",
        claims=report(
            f"{UNTIED}/interpolation_claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Untied weights, interpolation", "scale": cfg.scale},
        ),
    log:
        log_of(f"{UNTIED}/interpolations.csv"),
    localrule: True
    params:
        asked=UNTIED_PATHS_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(UNTIED_PATHS),
        settings={"pairs": UNTIED_PAIRS, "methods": list(cfg.untied.interpolation.methods)},
        uses="tacit.studies.untied_claims.interpolation_tables",
        code=fingerprint("collect.py", "tacit.studies.untied_claims.interpolation_tables"),
    message:
        "untied: collect the interpolations"
    script:
        by_content("collect.py")


rule untied_interpolation_plot:
    """Draw loss and accuracy on the paths between networks."""
    input:
        interpolations=rules.untied_interpolation_collect.output.interpolations,
    output:
        figure=report(
            "figures/untied_interpolation.pdf",
            caption="../report/untied_interpolation.rst",
            category="Untied weights",
            labels={"result": "Untied weights: interpolation", "scale": cfg.scale},
        ),
        numbers="figures/untied_interpolation.csv",
    log:
        "logs/figures/untied_interpolation.log",
    localrule: True
    params:
        asked=UNTIED_PATHS_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(UNTIED_PATHS),
        settings=drawn(cfg.untied, "scratch", "continued"),
        uses="tacit.figures.untied.INTERPOLATION",
        code=fingerprint("plot.py", "tacit.figures.untied.INTERPOLATION"),
    message:
        "untied: draw figures/untied_interpolation.pdf"
    script:
        by_content("plot.py")
