# From CNN to locally and fully connected networks (Sanford, Ardeshir, Hsu 2022; d'Ascoli et al. 2019):
# image set -> CNN -> networks that go on from it -> tables, interpolations -> figures.


rule untied:
    input:
        "figures/untied.pdf",
        "figures/untied_splits.pdf",
        "figures/untied_deviation.pdf",
        "figures/untied_interpolation.pdf",
        f"{UNTIED}/claims.csv",


rule untied_train:
    """Train one network from scratch: CNN, locally or fully connected; one learning rate, one seed."""
    input:
        UNTIED_IMAGES,
    output:
        UNTIED_SCRATCH_RUN,
    log:
        log_of(UNTIED_SCRATCH_RUN),
    benchmark:
        benchmark_of(UNTIED_SCRATCH_RUN)
    threads: 1
    resources:
        mem_mb=untied_memory,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        settings=untied_scratch_settings,
        checkpoint=checkpoint_of(UNTIED_SCRATCH_RUN),
        code=fingerprint("untied_train.py"),
    message:
        "untied: train {wildcards.network}, learning rate {wildcards.learning_rate}, seed {wildcards.seed}"
    script:
        by_content("untied_train.py")


rule untied_go_on:
    """Let one network go on from the CNN as it was at one epoch; cnn is the control, whose weights stay tied."""
    input:
        images=UNTIED_IMAGES,
        cnn=UNTIED_CNN_RUN,
    output:
        UNTIED_SPLIT_RUN,
    log:
        log_of(UNTIED_SPLIT_RUN),
    benchmark:
        benchmark_of(UNTIED_SPLIT_RUN)
    threads: 1
    resources:
        mem_mb=untied_memory,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        asked=UNTIED_ASKED,
        settings=untied_continued_settings,
        checkpoint=checkpoint_of(UNTIED_SPLIT_RUN),
        code=fingerprint("untied_go_on.py"),
    message:
        "untied: go on from epoch {wildcards.split} as {wildcards.network}, learning rate {wildcards.learning_rate} "
        "after {wildcards.cnn_learning_rate}, seed {wildcards.seed}"
    script:
        by_content("untied_go_on.py")


rule untied_collect:
    """Gather all runs in one table, and judge the claims of the papers."""
    input:
        available(UNTIED_RUNS),
    output:
        runs=f"{UNTIED}/runs.csv",
        claims=report(
            f"{UNTIED}/claims.csv",
            caption="../report/untied_claims.rst",
            category="Untied weights",
            labels={"result": "Untied weights: claims", "scale": cfg.scale},
        ),
    log:
        log_of(f"{UNTIED}/runs.csv"),
    localrule: True
    params:
        asked=UNTIED_ASKED,
        accept_older_code=cfg.accept_older_code,
        shown=cfg.untied.shown.plain(),
        code=fingerprint("untied_collect.py"),
    message:
        "untied: collect the runs"
    script:
        by_content("untied_collect.py")


rule untied_plot:
    """Draw norm and accuracy over epochs."""
    input:
        f"{UNTIED}/runs.csv",
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
        settings=UNTIED_DRAWN,
        drawn="curves",
        code=fingerprint("untied_plot.py"),
    message:
        "untied: draw figures/untied.pdf"
    script:
        by_content("untied_plot.py")


rule untied_plot_splits:
    """Draw norm and accuracy at the end against the epoch of the split."""
    input:
        f"{UNTIED}/runs.csv",
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
        settings=UNTIED_DRAWN,
        drawn="splits",
        code=fingerprint("untied_plot.py"),
    message:
        "untied: draw figures/untied_splits.pdf"
    script:
        by_content("untied_plot.py")


rule untied_plot_deviation:
    """Draw how far weights are from being tied, layer by layer over epochs."""
    input:
        f"{UNTIED}/runs.csv",
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
        settings=UNTIED_DRAWN,
        drawn="deviation",
        code=fingerprint("untied_plot.py"),
    message:
        "untied: draw figures/untied_deviation.pdf"
    script:
        by_content("untied_plot.py")


rule untied_interpolate:
    """Follow ways between two networks at the end of their training; one seed."""
    input:
        images=UNTIED_IMAGES,
        origin=untied_origin,
        target=untied_target,
    output:
        UNTIED_WAY,
    log:
        log_of(UNTIED_WAY),
    benchmark:
        benchmark_of(UNTIED_WAY)
    threads: 1
    resources:
        mem_mb=untied_interpolate_memory,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        asked=UNTIED_ASKED,
        settings=cfg.untied.interpolation_run.plain(),
        epochs={"scratch": cfg.untied.scratch.epochs, "split": cfg.untied.continued.epochs},
        checkpoint=checkpoint_of(UNTIED_WAY),
        code=fingerprint("untied_interpolate.py"),
    message:
        "untied: interpolate from {wildcards.origin} to {wildcards.target}, learning rates {wildcards.cnn_learning_rate} and "
        "{wildcards.learning_rate}, seed {wildcards.seed}"
    script:
        by_content("untied_interpolate.py")


rule untied_interpolation_collect:
    """Gather all interpolations in one table."""
    input:
        available(UNTIED_WAYS),
    output:
        f"{UNTIED}/interpolations.csv",
    log:
        log_of(f"{UNTIED}/interpolations.csv"),
    localrule: True
    params:
        asked=UNTIED_WAYS_ASKED,
        accept_older_code=cfg.accept_older_code,
        code=fingerprint("untied_interpolation_collect.py"),
    message:
        "untied: collect the interpolations"
    script:
        by_content("untied_interpolation_collect.py")


rule untied_interpolation_plot:
    """Draw loss and accuracy on the ways between networks."""
    input:
        f"{UNTIED}/interpolations.csv",
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
        asked=UNTIED_WAYS_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(UNTIED_WAYS),
        settings=UNTIED_WAYS_DRAWN,
        code=fingerprint("untied_interpolation_plot.py"),
    message:
        "untied: draw figures/untied_interpolation.pdf"
    script:
        by_content("untied_interpolation_plot.py")
