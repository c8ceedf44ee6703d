# Pathfinder (Razin, Maman, Cohen 2022): raw images -> dataset -> one training a setting and seed -> table -> figure.


rule pathfinder:
    input:
        "figures/pathfinder.pdf",
        f"{PATHFINDER}/claims.csv",


rule pathfinder_render:
    """Draw raw images of one path length. Each depends on seed, path length and its number alone."""
    output:
        PATHFINDER_RAW,
    log:
        log_of(PATHFINDER_RAW),
    benchmark:
        benchmark_of(PATHFINDER_RAW)
    threads: 1
    resources:
        mem_mb=pathfinder_render_memory,
        runtime="10m",
    params:
        settings={"rendering": cfg.pathfinder.rendering.plain(), "seed": cfg.pathfinder.dataset.seed},
        code=fingerprint("pathfinder_render.py"),
    message:
        "pathfinder: render images {wildcards.first} to {wildcards.last} of path length {wildcards.path_length}"
    script:
        by_content("pathfinder_render.py")


rule pathfinder_assemble:
    """Resize the raw images of one path length and split them into train and test."""
    input:
        pathfinder_shards,
    output:
        PATHFINDER_DATASET,
    log:
        log_of(PATHFINDER_DATASET),
    benchmark:
        benchmark_of(PATHFINDER_DATASET)
    threads: 1
    resources:
        mem_mb=PATHFINDER_ASSEMBLE_MEMORY,
        runtime="10m",
    params:
        settings=cfg.pathfinder.dataset.plain(),
        rendering=cfg.pathfinder.rendering.plain(),
        asked=[[{}, {"rendering": cfg.pathfinder.rendering.plain(), "seed": cfg.pathfinder.dataset.seed}]],
        code=fingerprint("pathfinder_assemble.py"),
    message:
        "pathfinder: assemble the dataset of path length {wildcards.path_length}"
    script:
        by_content("pathfinder_assemble.py")


rule pathfinder_train:
    """Train one network: one path length, one coefficient of the regulariser, one seed."""
    input:
        PATHFINDER_DATASET,
    output:
        PATHFINDER_RUN,
    log:
        log_of(PATHFINDER_RUN),
    benchmark:
        benchmark_of(PATHFINDER_RUN)
    threads: 1
    resources:
        mem_mb=PATHFINDER_TRAIN_MEMORY,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        settings=cfg.pathfinder.run.plain(),
        asked=[[{}, PATHFINDER_DATASET_SETTINGS]],
        checkpoint=checkpoint_of(PATHFINDER_RUN),
        code=fingerprint("pathfinder_train.py"),
    message:
        "pathfinder: train path length {wildcards.path_length}, coefficient {wildcards.coefficient}, seed {wildcards.seed}"
    script:
        by_content("pathfinder_train.py")


rule pathfinder_collect:
    """Gather all runs in one table, and judge the claims of the paper."""
    input:
        available(PATHFINDER_RUNS),
    output:
        runs=f"{PATHFINDER}/runs.csv",
        claims=report(
            f"{PATHFINDER}/claims.csv",
            caption="../report/claims.rst",
            category="Locality",
            labels={"result": "Pathfinder: claims", "scale": cfg.scale},
        ),
    log:
        log_of(f"{PATHFINDER}/runs.csv"),
    localrule: True
    params:
        asked=PATHFINDER_ASKED,
        accept_older_code=cfg.accept_older_code,
        code=fingerprint("pathfinder_collect.py"),
    message:
        "pathfinder: collect the runs"
    script:
        by_content("pathfinder_collect.py")


rule pathfinder_plot:
    """Draw test accuracy against path length, a line a coefficient."""
    input:
        f"{PATHFINDER}/runs.csv",
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
        settings={"scale": cfg.scale, "num_runs": len(PATHFINDER_RUNS), "partial": cfg.partial} | cfg.pathfinder.plain(),
        code=fingerprint("pathfinder_plot.py"),
    message:
        "pathfinder: draw figures/pathfinder.pdf"
    script:
        by_content("pathfinder_plot.py")
