# Power iteration: one run a gap and seed -> table -> figure.


include: "power.paths.smk"


rule power:
    input:
        "figures/power.pdf",
        f"{POWER}/claims.csv",


rule power_iterate:
    """Run power iteration: one gap, one seed."""
    output:
        POWER_RUN.output,
    log:
        POWER_RUN.log,
    benchmark:
        POWER_RUN.benchmark
    threads: 1
    resources:
        mem_mb=300,
        runtime="10m",
    params:
        settings=cfg.power.run.plain(),
        code=fingerprint("power_iterate.py"),
    message:
        "power: iterate with gap {wildcards.gap}, seed {wildcards.seed}"
    script:
        by_content("power_iterate.py")


rule power_collect:
    """Gather all runs in one table, and judge what is claimed."""
    input:
        runs=available(POWER_RUNS),
    output:
        runs=f"{POWER}/runs.csv",
        claims=report(
            f"{POWER}/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Power iteration", "scale": cfg.scale},
        ),
    log:
        log_of(f"{POWER}/runs.csv"),
    localrule: True
    params:
        asked=POWER_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(POWER_RUNS),
        uses="tacit.studies.power.tables",
        code=fingerprint("collect.py", "tacit.studies.power.tables"),
    message:
        "power: collect the runs"
    script:
        by_content("collect.py")


rule power_plot:
    """Draw the error against steps."""
    input:
        runs=rules.power_collect.output.runs,
    output:
        figure=report(
            "figures/power.pdf",
            caption="../report/power.rst",
            category="Power iteration",
            labels={"result": "Power iteration: error", "scale": cfg.scale},
        ),
        numbers="figures/power.csv",
    log:
        "logs/figures/power.log",
    localrule: True
    params:
        asked=POWER_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(POWER_RUNS),
        settings=drawn(cfg.power),
        uses="tacit.figures.power.ERRORS",
        code=fingerprint("plot.py", "tacit.figures.power.ERRORS"),
    message:
        "power: draw figures/power.pdf"
    script:
        by_content("plot.py")
