# Factorized layers (Khodak, Tenenholtz, Mackey, Fusi 2021): image sets -> one training a network, start, decay and seed
# -> tables of each experiment -> figures.


include: "factorized.paths.smk"


rule factorized:
    input:
        [f"figures/factorized_{experiment}.pdf" for experiment in FACTORIZED_RUNS],
        [f"{FACTORIZED}/{experiment}_claims.csv" for experiment in FACTORIZED_RUNS],


rule factorized_train:
    """Train one residual network: how its layers are made of factors, how these start and decay, one seed."""
    input:
        images=factorized_images,
        replayed=factorized_replayed,
    output:
        FACTORIZED_RUN.output,
    log:
        FACTORIZED_RUN.log,
    benchmark:
        FACTORIZED_RUN.benchmark
    threads: 1
    resources:
        mem_mb=factorized_memory,
        runtime="24h",
        gpu=cfg.gpus_per_run,
    params:
        asked=factorized_asked,
        settings=factorized_settings,
        checkpoint=FACTORIZED_RUN.checkpoint,
        code=fingerprint("factorized_train.py"),
    message:
        "factorized: train {wildcards.depth} layers on {wildcards.source}, {wildcards.factors} at rank scale {wildcards.rank_scale}, "
        "{wildcards.initialization} start, {wildcards.decay} decay {wildcards.coefficient}, seed {wildcards.seed}"
    script:
        by_content("factorized_train.py")


rule factorized_collect:
    """Gather the runs of one experiment, and judge its claims."""
    input:
        runs=factorized_runs,
    output:
        runs=f"{FACTORIZED}/{{experiment,resnet|decay|normalization|distillation}}_runs.csv",
        curves=f"{FACTORIZED}/{{experiment}}_curves.csv",
        claims=report(
            f"{FACTORIZED}/{{experiment}}_claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Factorized layers, {experiment}", "scale": cfg.scale},
        ),
    log:
        log_of(f"{FACTORIZED}/{{experiment}}_runs.csv"),
    localrule: True
    params:
        asked=FACTORIZED_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=factorized_count,
        settings=factorized_claims,
        uses="tacit.studies.factorized_results.tables",
        code=fingerprint("collect.py", "tacit.studies.factorized_results.tables"),
    message:
        "factorized: collect the runs of {wildcards.experiment}"
    script:
        by_content("collect.py")


rule factorized_plot_resnet:
    """Draw accuracy against number of parameters."""
    input:
        runs=f"{FACTORIZED}/resnet_runs.csv",
    output:
        figure=report(
            "figures/factorized_resnet.pdf",
            caption="../report/factorized_resnet.rst",
            category="Factorized layers",
            labels={"result": "Factorized layers: accuracy by size", "scale": cfg.scale},
        ),
        numbers="figures/factorized_resnet.csv",
    log:
        "logs/figures/factorized_resnet.log",
    localrule: True
    params:
        asked=FACTORIZED_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(FACTORIZED_RUNS["resnet"]),
        settings=drawn(cfg.factorized, "decay", "normalization", "distillation"),
        uses="tacit.figures.factorized.RESNET",
        code=fingerprint("plot.py", "tacit.figures.factorized.RESNET"),
    message:
        "factorized: draw figures/factorized_resnet.pdf"
    script:
        by_content("plot.py")


rule factorized_plot_decay:
    """Draw accuracy against the coefficient of decay."""
    input:
        runs=f"{FACTORIZED}/decay_runs.csv",
    output:
        figure=report(
            "figures/factorized_decay.pdf",
            caption="../report/factorized_decay.rst",
            category="Factorized layers",
            labels={"result": "Factorized layers: accuracy by coefficient of decay", "scale": cfg.scale},
        ),
        numbers="figures/factorized_decay.csv",
    log:
        "logs/figures/factorized_decay.log",
    localrule: True
    params:
        asked=FACTORIZED_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(FACTORIZED_RUNS["decay"]),
        settings=drawn(cfg.factorized, "resnet", "normalization", "distillation"),
        uses="tacit.figures.factorized.DECAY",
        code=fingerprint("plot.py", "tacit.figures.factorized.DECAY"),
    message:
        "factorized: draw figures/factorized_decay.pdf"
    script:
        by_content("plot.py")


rule factorized_plot_normalization:
    """Draw norms and effective step sizes along training."""
    input:
        curves=f"{FACTORIZED}/normalization_curves.csv",
    output:
        figure=report(
            "figures/factorized_normalization.pdf",
            caption="../report/factorized_normalization.rst",
            category="Factorized layers",
            labels={"result": "Factorized layers: norms along training", "scale": cfg.scale},
        ),
        numbers="figures/factorized_normalization.csv",
    log:
        "logs/figures/factorized_normalization.log",
    localrule: True
    params:
        asked=FACTORIZED_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(FACTORIZED_RUNS["normalization"]),
        settings=drawn(cfg.factorized, "resnet", "decay", "distillation"),
        uses="tacit.figures.factorized_norms.NORMALIZATION",
        code=fingerprint("plot.py", "tacit.figures.factorized_norms.NORMALIZATION"),
    message:
        "factorized: draw figures/factorized_normalization.pdf"
    script:
        by_content("plot.py")


rule factorized_plot_distillation:
    """Draw accuracy against depth of networks with more parameters in training, and their numbers."""
    input:
        runs=f"{FACTORIZED}/distillation_runs.csv",
    output:
        figure=report(
            "figures/factorized_distillation.pdf",
            caption="../report/factorized_distillation.rst",
            category="Factorized layers",
            labels={"result": "Factorized layers: overcomplete networks", "scale": cfg.scale},
        ),
        numbers="figures/factorized_distillation.csv",
    log:
        "logs/figures/factorized_distillation.log",
    localrule: True
    params:
        asked=FACTORIZED_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(FACTORIZED_RUNS["distillation"]),
        settings=drawn(cfg.factorized, "resnet", "decay", "normalization"),
        uses="tacit.figures.factorized.DISTILLATION",
        code=fingerprint("plot.py", "tacit.figures.factorized.DISTILLATION"),
    message:
        "factorized: draw figures/factorized_distillation.pdf"
    script:
        by_content("plot.py")
