# Compressed networks (Khodak, Tenenholtz, Mackey, Fusi 2021): image sets -> one training a network, method, size, start,
# decay and seed -> tables of each experiment -> figures.


include: "compressed.paths.smk"


rule compressed:
    input:
        "figures/factorized_compression.pdf",
        "figures/factorized_tensors.pdf",
        [f"{COMPRESSED}/{experiment}_claims.csv" for experiment in COMPRESSED_RUNS],


rule compressed_train:
    """Train one network of a share of its parameters: by which method, how it starts and decays, one seed."""
    input:
        images=compressed_images,
    output:
        COMPRESSED_RUN.output,
    log:
        COMPRESSED_RUN.log,
    benchmark:
        COMPRESSED_RUN.benchmark
    threads: 1
    resources:
        mem_mb=compressed_memory,
        runtime="24h",
        gpu=cfg.gpus_per_run,
    params:
        settings=compressed_settings,
        checkpoint=COMPRESSED_RUN.checkpoint,
        code=fingerprint("compressed_train.py"),
    message:
        "compressed: train {wildcards.network} {wildcards.depth}, width {wildcards.width}, on {wildcards.source}, {wildcards.method} "
        "of size {wildcards.size}, {wildcards.initialization} start, {wildcards.decay} decay, seed {wildcards.seed}"
    script:
        by_content("compressed_train.py")


rule compressed_collect:
    """Gather the runs of one experiment, and judge its claims."""
    input:
        runs=compressed_runs,
    output:
        runs=f"{COMPRESSED}/{{experiment,compression|tensors}}_runs.csv",
        claims=report(
            f"{COMPRESSED}/{{experiment}}_claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Compressed networks, {experiment}", "scale": cfg.scale},
        ),
    log:
        log_of(f"{COMPRESSED}/{{experiment}}_runs.csv"),
    localrule: True
    params:
        asked=compressed_asked,
        accept_older_code=cfg.accept_older_code,
        num_runs=compressed_count,
        settings=compressed_claims,
        uses="tacit.studies.compressed_results.tables",
        code=fingerprint("collect.py", "tacit.studies.compressed_results.tables"),
    message:
        "compressed: collect the runs of {wildcards.experiment}"
    script:
        by_content("collect.py")


rule compressed_plot_compression:
    """Draw accuracy against the share of parameters."""
    input:
        runs=f"{COMPRESSED}/compression_runs.csv",
    output:
        figure=report(
            "figures/factorized_compression.pdf",
            caption="../report/factorized_compression.rst",
            category="Factorized layers",
            labels={"result": "Factorized layers: low rank beside sparse networks", "scale": cfg.scale},
        ),
        numbers="figures/factorized_compression.csv",
    log:
        "logs/figures/factorized_compression.log",
    localrule: True
    params:
        asked=COMPRESSED_ASKED["compression"],
        accept_older_code=cfg.accept_older_code,
        collected=collected(COMPRESSED_RUNS["compression"]),
        settings=drawn(cfg.compressed, "tensors", "tensor_frobenius", "tucker_core"),
        uses="tacit.figures.compressed.COMPRESSION",
        code=fingerprint("plot.py", "tacit.figures.compressed.COMPRESSION"),
    message:
        "compressed: draw figures/factorized_compression.pdf"
    script:
        by_content("plot.py")


rule compressed_plot_tensors:
    """Draw test error against parameters of tensor layers."""
    input:
        runs=f"{COMPRESSED}/tensors_runs.csv",
    output:
        figure=report(
            "figures/factorized_tensors.pdf",
            caption="../report/factorized_tensors.rst",
            category="Factorized layers",
            labels={"result": "Factorized layers: low rank beside tensors", "scale": cfg.scale},
        ),
        numbers="figures/factorized_tensors.csv",
    log:
        "logs/figures/factorized_tensors.log",
    localrule: True
    params:
        asked=COMPRESSED_ASKED["tensors"],
        accept_older_code=cfg.accept_older_code,
        collected=collected(COMPRESSED_RUNS["tensors"]),
        settings=drawn(cfg.compressed, "compression"),
        uses="tacit.figures.compressed.TENSORS",
        code=fingerprint("plot.py", "tacit.figures.compressed.TENSORS"),
    message:
        "compressed: draw figures/factorized_tensors.pdf"
    script:
        by_content("plot.py")
