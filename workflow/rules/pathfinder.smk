# Pathfinder (Razin, Maman, Cohen 2022): raw images -> dataset -> one training a setting and seed -> table -> figure.


rule pathfinder:
    input:
        "figures/pathfinder.pdf",
        f"results/{cfg.scale}/pathfinder/claims.csv",


rule pathfinder_render:
    """Draw raw images of one path length. Each depends on seed, path length and its number alone."""
    output:
        PATHFINDER_RAW,
    log:
        PATHFINDER_RAW.replace("results", "logs", 1).replace(".h5", ".log"),
    benchmark:
        PATHFINDER_RAW.replace("results", "benchmarks/results", 1).replace(".h5", ".jsonl")
    threads: 1
    resources:
        mem_mb=2000,
        runtime="30m",
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
        PATHFINDER_DATASET.replace("results", "logs", 1).replace(".h5", ".log"),
    benchmark:
        PATHFINDER_DATASET.replace("results", "benchmarks/results", 1).replace(".h5", ".jsonl")
    threads: 1
    resources:
        mem_mb=4000,
        runtime="30m",
    params:
        settings=cfg.pathfinder.dataset.plain(),
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
        f"results/{PATHFINDER_RUN}.h5",
    log:
        f"logs/{PATHFINDER_RUN}.log",
    benchmark:
        f"benchmarks/results/{PATHFINDER_RUN}.jsonl"
    threads: 1
    resources:
        mem_mb=6000,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        settings=cfg.pathfinder.run.plain(),
        checkpoint=f"results/.checkpoints/{PATHFINDER_RUN}.pt",
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
        runs=f"results/{cfg.scale}/pathfinder/runs.csv",
        claims=report(
            f"results/{cfg.scale}/pathfinder/claims.csv",
            caption="../report/claims.rst",
            category="Locality",
            labels={"result": "Pathfinder: claims", "scale": cfg.scale},
        ),
    log:
        f"logs/{cfg.scale}/pathfinder/runs.log",
    localrule: True
    params:
        code=fingerprint("pathfinder_collect.py"),
    message:
        "pathfinder: collect the runs"
    script:
        by_content("pathfinder_collect.py")


rule pathfinder_plot:
    """Draw test accuracy against path length, a line a coefficient."""
    input:
        f"results/{cfg.scale}/pathfinder/runs.csv",
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
        settings={"scale": cfg.scale, "num_runs": len(PATHFINDER_RUNS), "partial": cfg.partial} | cfg.pathfinder.plain(),
        code=fingerprint("pathfinder_plot.py"),
    message:
        "pathfinder: draw figures/pathfinder.pdf"
    script:
        by_content("pathfinder_plot.py")
