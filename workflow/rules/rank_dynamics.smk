# Rank dynamics (Razin, Maman, Cohen 2022): observations -> one descent a factorization, task, seed -> tables -> figures.


include: "rank_dynamics.paths.smk"


rule rank_dynamics:
    input:
        "figures/rank_dynamics.pdf",
        "figures/rank_dynamics_nodes.pdf",
        f"{RANK_DYNAMICS}/claims.csv",


rule rank_dynamics_train:
    """Fit one factorization to one target: completion or sensing, one seed."""
    input:
        rank_dynamics_dataset,
    output:
        RANK_DYNAMICS_RUN.output,
    log:
        RANK_DYNAMICS_RUN.log,
    benchmark:
        RANK_DYNAMICS_RUN.benchmark
    threads: 1
    resources:
        mem_mb=rank_dynamics_memory,
        runtime="1h",
        gpu=cfg.gpus_per_run,
    params:
        settings=rank_dynamics_experiment,
        asked=rank_dynamics_asked,
        checkpoint=RANK_DYNAMICS_RUN.checkpoint,
        code=fingerprint("rank_dynamics_train.py"),
    message:
        "rank_dynamics: fit the {wildcards.factorization} factorization, {wildcards.task}, seed {wildcards.seed}"
    script:
        by_content("rank_dynamics_train.py")


rule rank_dynamics_collect:
    """Gather all runs in tables, and judge the claims of the paper."""
    input:
        runs=available(RANK_DYNAMICS_RUNS),
    output:
        runs=f"{RANK_DYNAMICS}/runs.csv",
        components=f"{RANK_DYNAMICS}/components.csv",
        curves=f"{RANK_DYNAMICS}/curves.csv",
        claims=report(
            f"{RANK_DYNAMICS}/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Rank dynamics", "scale": cfg.scale},
        ),
    log:
        log_of(f"{RANK_DYNAMICS}/runs.csv"),
    localrule: True
    params:
        asked=RANK_DYNAMICS_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(RANK_DYNAMICS_RUNS),
        settings={"planned": RANK_DYNAMICS_PLANNED},
        uses="tacit.studies.rank_dynamics_results.tables",
        code=fingerprint("collect.py", "tacit.studies.rank_dynamics_results.tables"),
    message:
        "rank_dynamics: collect the runs"
    script:
        by_content("collect.py")


rule rank_dynamics_plot:
    """Draw singular values, component norms and local component norms over iterations."""
    input:
        runs=rules.rank_dynamics_collect.output.runs,
        components=rules.rank_dynamics_collect.output.components,
        curves=rules.rank_dynamics_collect.output.curves,
    output:
        figure=report(
            "figures/rank_dynamics.pdf",
            caption="../report/rank_dynamics.rst",
            category="Rank",
            labels={"result": "Rank dynamics: three factorizations", "scale": cfg.scale},
        ),
        numbers="figures/rank_dynamics.csv",
    log:
        "logs/figures/rank_dynamics.log",
    localrule: True
    params:
        asked=RANK_DYNAMICS_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(RANK_DYNAMICS_RUNS),
        settings=drawn(cfg.rank_dynamics),
        uses="tacit.figures.rank_dynamics.FACTORIZATIONS",
        code=fingerprint("plot.py", "tacit.figures.rank_dynamics.FACTORIZATIONS"),
    message:
        "rank_dynamics: draw figures/rank_dynamics.pdf"
    script:
        by_content("plot.py")


rule rank_dynamics_plot_nodes:
    """Draw components and spectra at the nodes of the hierarchical factorization over iterations."""
    input:
        runs=rules.rank_dynamics_collect.output.runs,
        components=rules.rank_dynamics_collect.output.components,
        curves=rules.rank_dynamics_collect.output.curves,
    output:
        figure=report(
            "figures/rank_dynamics_nodes.pdf",
            caption="../report/rank_dynamics_nodes.rst",
            category="Rank",
            labels={"result": "Rank dynamics: nodes of the tree", "scale": cfg.scale},
        ),
        numbers="figures/rank_dynamics_nodes.csv",
    log:
        "logs/figures/rank_dynamics_nodes.log",
    localrule: True
    params:
        asked=RANK_DYNAMICS_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(RANK_DYNAMICS_RUNS),
        settings=drawn(cfg.rank_dynamics),
        uses="tacit.figures.rank_dynamics.NODES",
        code=fingerprint("plot.py", "tacit.figures.rank_dynamics.NODES"),
    message:
        "rank_dynamics: draw figures/rank_dynamics_nodes.pdf"
    script:
        by_content("plot.py")
