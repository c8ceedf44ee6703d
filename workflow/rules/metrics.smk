# All that one run recorded, as a figure beside it: run file -> figure. Asked for by its name, never part of `all`.


include: "metrics.paths.smk"


rule run_metrics:
    """Draw every series of numbers in a run file, of whatever study."""
    input:
        run=METRICS_RUN,
    output:
        figure=METRICS_FIGURE,
        numbers=METRICS_NUMBERS,
    log:
        METRICS_LOG,
    localrule: True
    params:
        asked=metrics_asked,
        accept_older_code=cfg.accept_older_code,
        code=fingerprint("run_metrics.py"),
    message:
        "metrics: draw all that {input.run} recorded"
    script:
        by_content("run_metrics.py")
