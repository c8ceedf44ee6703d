# Pathfinder (Razin, Maman, Cohen 2022): raw images -> dataset -> one training a setting and seed -> table -> figure.


include: "pathfinder.paths.smk"


rule pathfinder:
    input:
        "figures/pathfinder.pdf",
        "figures/pathfinder_examples.pdf",
        f"{PATHFINDER}/claims.csv",


rule pathfinder_render:
    """Draw raw images of one path length. Each depends on seed, path length and its number alone."""
    output:
        PATHFINDER_RAW.output,
    log:
        PATHFINDER_RAW.log,
    benchmark:
        PATHFINDER_RAW.benchmark
    threads: 1
    resources:
        mem_mb=pathfinder_render_memory,
        runtime="10m",
    params:
        settings=PATHFINDER_RAW_SETTINGS,
        code=fingerprint("pathfinder_render.py"),
    message:
        "pathfinder: render images {wildcards.images} of path length {wildcards.path_length}"
    script:
        by_content("pathfinder_render.py")


rule pathfinder_assemble:
    """Resize the raw images of one path length and split them into train and test."""
    input:
        pathfinder_shards,
    output:
        PATHFINDER_DATASET.output,
    log:
        PATHFINDER_DATASET.log,
    benchmark:
        PATHFINDER_DATASET.benchmark
    threads: 1
    resources:
        mem_mb=PATHFINDER_ASSEMBLE_MEMORY,
        runtime="10m",
    params:
        settings=cfg.pathfinder.dataset.plain(),
        rendering=cfg.pathfinder.rendering.plain(),
        asked=[[{}, PATHFINDER_RAW_SETTINGS]],
        code=fingerprint("pathfinder_assemble.py"),
    message:
        "pathfinder: assemble the dataset of path length {wildcards.path_length}"
    script:
        by_content("pathfinder_assemble.py")


rule pathfinder_train:
    """Train one network: one path length, one coefficient of the regulariser, one seed."""
    input:
        PATHFINDER_DATASET.path,
    output:
        PATHFINDER_RUN.output,
    log:
        PATHFINDER_RUN.log,
    benchmark:
        PATHFINDER_RUN.benchmark
    threads: 1
    resources:
        mem_mb=PATHFINDER_TRAIN_MEMORY,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        settings=cfg.pathfinder.run.plain(),
        asked=PATHFINDER_DATASET_ASKED,
        checkpoint=PATHFINDER_RUN.checkpoint,
        code=fingerprint("pathfinder_train.py"),
    message:
        "pathfinder: train path length {wildcards.path_length}, coefficient {wildcards.coefficient}, seed {wildcards.seed}"
    script:
        by_content("pathfinder_train.py")


rule pathfinder_collect:
    """Gather all runs in one table, and judge the claims of the paper."""
    input:
        runs=available(PATHFINDER_RUNS),
    output:
        runs=f"{PATHFINDER}/runs.csv",
        claims=report(
            f"{PATHFINDER}/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Pathfinder", "scale": cfg.scale},
        ),
    log:
        log_of(f"{PATHFINDER}/runs.csv"),
    localrule: True
    params:
        asked=PATHFINDER_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(PATHFINDER_RUNS),
        settings={"planned": PATHFINDER_PLANNED},
        uses="tacit.studies.pathfinder.tables",
        code=fingerprint("collect.py", "tacit.studies.pathfinder.tables"),
    message:
        "pathfinder: collect the runs"
    script:
        by_content("collect.py")


rule pathfinder_plot:
    """Draw test accuracy against path length, a line a coefficient."""
    input:
        runs=rules.pathfinder_collect.output.runs,
    output:
        figure=report(
            "figures/pathfinder.pdf",
            caption="../report/pathfinder.rst",
            category="Locality",
            labels={"result": "Pathfinder: accuracy", "scale": cfg.scale},
        ),
        numbers="figures/pathfinder.csv",
    log:
        "logs/figures/pathfinder.log",
    localrule: True
    params:
        asked=PATHFINDER_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(PATHFINDER_RUNS),
        settings=drawn(cfg.pathfinder, "images_per_shard", "path_lengths"),
        uses="tacit.figures.pathfinder.ACCURACY",
        code=fingerprint("plot.py", "tacit.figures.pathfinder.ACCURACY"),
    message:
        "pathfinder: draw figures/pathfinder.pdf"
    script:
        by_content("plot.py")


rule pathfinder_examples_collect:
    """Gather some of the training images, by difficulty and label."""
    input:
        datasets=PATHFINDER_DATASET.grid(path_length=cfg.pathfinder.path_lengths),
    output:
        examples=f"{PATHFINDER}/examples.csv",
    log:
        log_of(f"{PATHFINDER}/examples.csv"),
    localrule: True
    params:
        asked=PATHFINDER_DATASET_ASKED,
        uses="tacit.studies.pathfinder.show",
        code=fingerprint("collect.py", "tacit.studies.pathfinder.show"),
    message:
        "pathfinder: collect examples"
    script:
        by_content("collect.py")


rule pathfinder_examples_plot:
    """Draw what networks are shown: some images by difficulty and label."""
    input:
        examples=rules.pathfinder_examples_collect.output.examples,
    output:
        figure=report(
            "figures/pathfinder_examples.pdf",
            caption="../report/pathfinder_examples.rst",
            category="Locality",
            labels={"result": "Pathfinder: examples", "scale": cfg.scale},
        ),
        numbers="figures/pathfinder_examples.csv",
    log:
        "logs/figures/pathfinder_examples.log",
    localrule: True
    params:
        asked=PATHFINDER_DATASET_ASKED,
        settings=drawn(None, dataset=cfg.pathfinder.dataset.plain(), rendering=cfg.pathfinder.rendering.plain()),
        uses="tacit.figures.pathfinder.EXAMPLES",
        code=fingerprint("plot.py", "tacit.figures.pathfinder.EXAMPLES"),
    message:
        "pathfinder: draw figures/pathfinder_examples.pdf"
    script:
        by_content("plot.py")
