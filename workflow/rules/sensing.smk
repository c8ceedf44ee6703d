# Targets of low rank and what is observed of them, for all studies that recover one.


include: "sensing.paths.smk"


rule sensing_observe:
    """Draw a target of low rank, and observe entries or products with random measurements."""
    output:
        SENSING.output,
    log:
        SENSING.log,
    benchmark:
        SENSING.benchmark
    threads: 1
    resources:
        mem_mb=sensing_observe_memory,
        runtime="10m",
    params:
        settings=sensing_problem,
        code=fingerprint("sensing_observe.py"),
    message:
        "sensing: observe a {wildcards.factorization} target for {wildcards.task}"
    script:
        by_content("sensing_observe.py")
