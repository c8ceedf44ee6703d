# Residual networks in the depth limit (thesis on weight regularity; Cont, Rossier, Xu 2022): image set -> one descent a
# setting, depth, seed -> tables -> figures.


include: "depth_limit.paths.smk"


rule depth_limit:
    input:
        "figures/depth_norms.pdf",
        "figures/depth_weights.pdf",
        "figures/depth_variation.pdf",
        "figures/depth_gradients.pdf",
        "figures/depth_landscape.pdf",
        f"{DEPTH_LIMIT}/claims.csv",
        f"{DEPTH_LIMIT}/landscape_claims.csv",
        DEPTH_LIMIT_FURTHER_TABLES,


rule depth_limit_train:
    """Train one residual network: one setting, depth, seed. More threads (--set-threads) change no number."""
    input:
        depth_limit_images,
    output:
        DEPTH_LIMIT_RUN.output,
    log:
        DEPTH_LIMIT_RUN.log,
    benchmark:
        DEPTH_LIMIT_RUN.benchmark
    threads: 1
    resources:
        mem_mb=depth_limit_memory,
        runtime="4h",
        gpu=cfg.gpus_per_run,
    params:
        settings=depth_limit_settings,
        checkpoint=DEPTH_LIMIT_RUN.checkpoint,
        code=fingerprint("depth_limit_train.py"),
    message:
        "depth_limit: train {wildcards.depth} layers, alpha {wildcards.alpha}, rate {wildcards.rule} {wildcards.learning_rate}, seed {wildcards.seed}"
    script:
        by_content("depth_limit_train.py")


rule depth_limit_collect:
    """Gather the runs of the grid, and judge the claims."""
    input:
        runs=available(DEPTH_LIMIT_RUNS),
    output:
        runs=f"{DEPTH_LIMIT}/runs.csv",
        variation=f"{DEPTH_LIMIT}/variation.csv",
        profiles=f"{DEPTH_LIMIT}/profiles.csv",
        entries=f"{DEPTH_LIMIT}/entries.csv",
        gradients=f"{DEPTH_LIMIT}/gradients.csv",
        power_laws=f"{DEPTH_LIMIT}/power_laws.csv",
        claims=report(
            f"{DEPTH_LIMIT}/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Depth limit", "scale": cfg.scale},
        ),
    log:
        log_of(f"{DEPTH_LIMIT}/runs.csv"),
    localrule: True
    params:
        asked=DEPTH_LIMIT_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(DEPTH_LIMIT_RUNS),
        settings={
            "shown": DEPTH_LIMIT_SHOWN,
            "power_law": cfg.depth_limit.power_law.plain(),
            "alphas": list(cfg.depth_limit.grid.alphas),
        },
        uses="tacit.studies.depth_limit_claims.tables",
        code=fingerprint("collect.py", "tacit.studies.depth_limit_claims.tables"),
    message:
        "depth_limit: collect the runs"
    script:
        by_content("collect.py")


rule depth_limit_collect_further:
    """Gather the runs of experiments of one's own; there is no figure of them."""
    input:
        runs=available(DEPTH_LIMIT_FURTHER_RUNS),
    output:
        runs=f"{DEPTH_LIMIT}/further_runs.csv",
        variation=f"{DEPTH_LIMIT}/further_variation.csv",
    log:
        log_of(f"{DEPTH_LIMIT}/further_runs.csv"),
    localrule: True
    params:
        asked=DEPTH_LIMIT_ASKED,
        accept_older_code=cfg.accept_older_code,
        settings={"shown": DEPTH_LIMIT_SHOWN},
        uses="tacit.studies.depth_limit_claims.further_tables",
        code=fingerprint("collect.py", "tacit.studies.depth_limit_claims.further_tables"),
    message:
        "depth_limit: collect the runs of further experiments"
    script:
        by_content("collect.py")


rule depth_limit_plot_norms:
    """Draw norms of rescaled weights along depth."""
    input:
        profiles=rules.depth_limit_collect.output.profiles,
    output:
        figure=report(
            "figures/depth_norms.pdf",
            caption="../report/depth_norms.rst",
            category="Depth limit",
            labels={"result": "Depth limit: norms along depth", "scale": cfg.scale},
        ),
        numbers="figures/depth_norms.csv",
    log:
        "logs/figures/depth_norms.log",
    localrule: True
    params:
        asked=DEPTH_LIMIT_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(DEPTH_LIMIT_RUNS),
        settings=drawn(cfg.depth_limit, "further", "landscapes"),
        uses="tacit.figures.depth_limit.NORMS",
        code=fingerprint("plot.py", "tacit.figures.depth_limit.NORMS"),
    message:
        "depth_limit: draw figures/depth_norms.pdf"
    script:
        by_content("plot.py")


rule depth_limit_plot_weights:
    """Draw single rescaled weights along depth."""
    input:
        entries=rules.depth_limit_collect.output.entries,
    output:
        figure=report(
            "figures/depth_weights.pdf",
            caption="../report/depth_weights.rst",
            category="Depth limit",
            labels={"result": "Depth limit: single weights along depth", "scale": cfg.scale},
        ),
        numbers="figures/depth_weights.csv",
    log:
        "logs/figures/depth_weights.log",
    localrule: True
    params:
        asked=DEPTH_LIMIT_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(DEPTH_LIMIT_RUNS),
        settings=drawn(cfg.depth_limit, "further", "landscapes"),
        uses="tacit.figures.depth_limit.WEIGHTS",
        code=fingerprint("plot.py", "tacit.figures.depth_limit.WEIGHTS"),
    message:
        "depth_limit: draw figures/depth_weights.pdf"
    script:
        by_content("plot.py")


rule depth_limit_plot_variation:
    """Draw p-variation norms and the loss reached against depth."""
    input:
        runs=rules.depth_limit_collect.output.runs,
        variation=rules.depth_limit_collect.output.variation,
    output:
        figure=report(
            "figures/depth_variation.pdf",
            caption="../report/depth_variation.rst",
            category="Depth limit",
            labels={"result": "Depth limit: p-variation against depth", "scale": cfg.scale},
        ),
        numbers="figures/depth_variation.csv",
    log:
        "logs/figures/depth_variation.log",
    localrule: True
    params:
        asked=DEPTH_LIMIT_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(DEPTH_LIMIT_RUNS),
        settings=drawn(cfg.depth_limit, "further", "landscapes"),
        uses="tacit.figures.depth_limit.VARIATIONS",
        code=fingerprint("plot.py", "tacit.figures.depth_limit.VARIATIONS"),
    message:
        "depth_limit: draw figures/depth_variation.pdf"
    script:
        by_content("plot.py")


rule depth_limit_landscape:
    """Compute some rows of the loss on a plane through the weights of a trained network."""
    input:
        run=depth_landscape_run,
        images=depth_landscape_images,
    output:
        DEPTH_LANDSCAPE_PART.output,
    log:
        DEPTH_LANDSCAPE_PART.log,
    benchmark:
        DEPTH_LANDSCAPE_PART.benchmark
    threads: 1
    resources:
        mem_mb=depth_limit_memory,
        runtime="2h",
    params:
        asked=DEPTH_LIMIT_ASKED,
        own=depth_limit_settings,
        settings=DEPTH_LANDSCAPE_SETTINGS,
        code=fingerprint("depth_limit_landscape.py"),
    message:
        "depth_limit: landscape of {wildcards.depth} layers, {wildcards.augmentation}, seed {wildcards.seed}, part {wildcards.part}"
    script:
        by_content("depth_limit_landscape.py")


rule depth_limit_collect_landscapes:
    """Gather landscapes, and judge whether they are rougher without skips."""
    input:
        parts=available(DEPTH_LANDSCAPE_PARTS),
    output:
        surfaces=f"{DEPTH_LIMIT}/landscapes.csv",
        roughness=f"{DEPTH_LIMIT}/landscape_roughness.csv",
        claims=report(
            f"{DEPTH_LIMIT}/landscape_claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Depth limit, landscapes", "scale": cfg.scale},
        ),
    log:
        log_of(f"{DEPTH_LIMIT}/landscapes.csv"),
    localrule: True
    params:
        asked=DEPTH_LANDSCAPE_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(DEPTH_LANDSCAPE_PARTS),
        settings={"step": DEPTH_LANDSCAPES.each.step, "points": DEPTH_LANDSCAPES.each.points},
        uses="tacit.studies.depth_landscapes.tables",
        code=fingerprint("collect.py", "tacit.studies.depth_landscapes.tables"),
    message:
        "depth_limit: collect the landscapes"
    script:
        by_content("collect.py")


rule depth_limit_plot_landscape:
    """Draw loss landscapes, surface and contours, of networks with and without skips."""
    input:
        surfaces=rules.depth_limit_collect_landscapes.output.surfaces,
        roughness=rules.depth_limit_collect_landscapes.output.roughness,
    output:
        figure=report(
            "figures/depth_landscape.pdf",
            caption="../report/depth_landscape.rst",
            category="Depth limit",
            labels={"result": "Depth limit: loss landscapes", "scale": cfg.scale},
        ),
        numbers="figures/depth_landscape.csv",
    log:
        "logs/figures/depth_landscape.log",
    localrule: True
    params:
        asked=DEPTH_LANDSCAPE_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(DEPTH_LANDSCAPE_PARTS),
        settings=drawn(cfg.depth_limit),
        uses="tacit.figures.depth_landscape.LANDSCAPE",
        code=fingerprint("plot.py", "tacit.figures.depth_landscape.LANDSCAPE"),
    message:
        "depth_limit: draw figures/depth_landscape.pdf"
    script:
        by_content("plot.py")
