# Norms (Razin, Cohen 2020): deep matrix factorization, and tensor completion -> one descent a setting and seed -> tables -> figures.


include: "norms.paths.smk"


rule norms:
    input:
        "figures/matrix_norms.pdf",
        "figures/matrix_norms_measures.pdf",
        "figures/matrix_norms_perturbed.pdf",
        "figures/tensor_completion.pdf",
        f"{NORMS}/matrix/claims.csv",
        f"{NORMS}/matrix/perturbed_claims.csv",
        f"{NORMS}/tensor/claims.csv",
        FURTHER_TABLES,


rule matrix_norms_train:
    """Fit one deep matrix factorization. It saves nothing, as 2 x 2 is a second's work; killed, it starts again."""
    input:
        matrix_norms_own_files,
    output:
        MATRIX_NORMS_RUN.output,
    log:
        MATRIX_NORMS_RUN.log,
    benchmark:
        MATRIX_NORMS_RUN.benchmark
    threads: 1
    resources:
        mem_mb=MATRIX_NORMS_MEMORY,
        runtime="20m",
    params:
        settings=matrix_norms_settings,
        code=fingerprint("matrix_norms_train.py"),
    message:
        "norms: fit a matrix of depth {wildcards.depth}, balanced {wildcards.balanced}, seed {wildcards.seed}"
    script:
        by_content("matrix_norms_train.py")


rule matrix_norms_collect:
    """Gather the runs of the published problem, and judge the claims of the paper."""
    input:
        runs=available(MATRIX_NORMS_RUNS),
    output:
        runs=f"{NORMS}/matrix/runs.csv",
        curves=f"{NORMS}/matrix/curves.csv",
        claims=report(
            f"{NORMS}/matrix/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Matrix norms", "scale": cfg.scale},
        ),
    log:
        log_of(f"{NORMS}/matrix/runs.csv"),
    localrule: True
    params:
        asked=MATRIX_NORMS_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(MATRIX_NORMS_RUNS),
        settings={"planned": PUBLISHED_DEPTHS},
        uses="tacit.studies.matrix_norms.published_tables",
        code=fingerprint("collect.py", "tacit.studies.matrix_norms.published_tables"),
    message:
        "norms: collect the runs of matrices"
    script:
        by_content("collect.py")


rule matrix_norms_collect_perturbed:
    """Gather the runs of the perturbed problems, and judge the claims of the paper."""
    input:
        runs=available(PERTURBED_RUNS),
    output:
        runs=f"{NORMS}/matrix/perturbed_runs.csv",
        curves=f"{NORMS}/matrix/perturbed_curves.csv",
        claims=report(
            f"{NORMS}/matrix/perturbed_claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Matrix norms, perturbed", "scale": cfg.scale},
        ),
    log:
        log_of(f"{NORMS}/matrix/perturbed_runs.csv"),
    localrule: True
    params:
        asked=MATRIX_NORMS_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(PERTURBED_RUNS),
        settings={"planned": PERTURBED_PROBLEMS},
        uses="tacit.studies.matrix_norms.perturbed_tables",
        code=fingerprint("collect.py", "tacit.studies.matrix_norms.perturbed_tables"),
    message:
        "norms: collect the runs of perturbed matrices"
    script:
        by_content("collect.py")


rule matrix_norms_collect_further:
    """Gather the runs of problems of one's own; there is no figure of them."""
    input:
        runs=available(FURTHER_RUNS),
    output:
        runs=f"{NORMS}/matrix/further_runs.csv",
        curves=f"{NORMS}/matrix/further_curves.csv",
    log:
        log_of(f"{NORMS}/matrix/further_runs.csv"),
    localrule: True
    params:
        asked=MATRIX_NORMS_ASKED,
        accept_older_code=cfg.accept_older_code,
        uses="tacit.studies.matrix_norms.further_tables",
        code=fingerprint("collect.py", "tacit.studies.matrix_norms.further_tables"),
    message:
        "norms: collect the runs of further matrices"
    script:
        by_content("collect.py")


rule matrix_norms_plot:
    """Draw the unobserved entry against the loss."""
    input:
        runs=rules.matrix_norms_collect.output.runs,
        curves=rules.matrix_norms_collect.output.curves,
    output:
        figure=report(
            "figures/matrix_norms.pdf",
            caption="../report/matrix_norms.rst",
            category="Norms",
            labels={"result": "Matrix norms: unobserved entry", "scale": cfg.scale},
        ),
        numbers="figures/matrix_norms.csv",
    log:
        "logs/figures/matrix_norms.log",
    localrule: True
    params:
        asked=MATRIX_NORMS_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(MATRIX_NORMS_RUNS),
        settings=drawn(cfg.norms.matrix.published, descent=MATRIX_NORMS_DESCENT),
        uses="tacit.figures.matrix_norms.ENTRIES",
        code=fingerprint("plot.py", "tacit.figures.matrix_norms.ENTRIES"),
    message:
        "norms: draw figures/matrix_norms.pdf"
    script:
        by_content("plot.py")


rule matrix_norms_plot_measures:
    """Draw norms, effective rank and distance to rank one against the loss."""
    input:
        runs=rules.matrix_norms_collect.output.runs,
        curves=rules.matrix_norms_collect.output.curves,
    output:
        figure=report(
            "figures/matrix_norms_measures.pdf",
            caption="../report/matrix_norms_measures.rst",
            category="Norms",
            labels={"result": "Matrix norms: norms and rank", "scale": cfg.scale},
        ),
        numbers="figures/matrix_norms_measures.csv",
    log:
        "logs/figures/matrix_norms_measures.log",
    localrule: True
    params:
        asked=MATRIX_NORMS_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(MATRIX_NORMS_RUNS),
        settings=drawn(cfg.norms.matrix.published, descent=MATRIX_NORMS_DESCENT),
        uses="tacit.figures.matrix_norms.MEASURES",
        code=fingerprint("plot.py", "tacit.figures.matrix_norms.MEASURES"),
    message:
        "norms: draw figures/matrix_norms_measures.pdf"
    script:
        by_content("plot.py")


rule matrix_norms_plot_perturbed:
    """Draw the unobserved entry of perturbed problems against the loss."""
    input:
        runs=rules.matrix_norms_collect_perturbed.output.runs,
        curves=rules.matrix_norms_collect_perturbed.output.curves,
    output:
        figure=report(
            "figures/matrix_norms_perturbed.pdf",
            caption="../report/matrix_norms_perturbed.rst",
            category="Norms",
            labels={"result": "Matrix norms: perturbed problems", "scale": cfg.scale},
        ),
        numbers="figures/matrix_norms_perturbed.csv",
    log:
        "logs/figures/matrix_norms_perturbed.log",
    localrule: True
    params:
        asked=MATRIX_NORMS_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(PERTURBED_RUNS),
        settings=drawn(cfg.norms.matrix.perturbed, descent=MATRIX_NORMS_DESCENT),
        uses="tacit.figures.matrix_norms.PERTURBED",
        code=fingerprint("plot.py", "tacit.figures.matrix_norms.PERTURBED"),
    message:
        "norms: draw figures/matrix_norms_perturbed.pdf"
    script:
        by_content("plot.py")


rule tensor_completion_train:
    """Complete one tensor: one target, number of observations, scale of initialisation, seed."""
    input:
        tensor_completion_dataset,
    output:
        TENSOR_COMPLETION_RUN.output,
    log:
        TENSOR_COMPLETION_RUN.log,
    benchmark:
        TENSOR_COMPLETION_RUN.benchmark
    threads: 1
    resources:
        mem_mb=TENSOR_COMPLETION_MEMORY,
        runtime="30m",
        gpu=cfg.gpus_per_run,
    params:
        settings=TENSOR_COMPLETION_SETTINGS,
        asked=tensor_completion_asked,
        checkpoint=TENSOR_COMPLETION_RUN.checkpoint,
        code=fingerprint("tensor_completion_train.py"),
    message:
        "norms: complete a tensor from {wildcards.num_observations} entries, start {wildcards.init_std}, seed {wildcards.seed}"
    script:
        by_content("tensor_completion_train.py")


rule tensor_completion_linear:
    """Complete one tensor linearly, with zeros."""
    input:
        tensor_completion_dataset,
    output:
        TENSOR_COMPLETION_LINEAR.output,
    log:
        TENSOR_COMPLETION_LINEAR.log,
    benchmark:
        TENSOR_COMPLETION_LINEAR.benchmark
    threads: 1
    resources:
        mem_mb=TENSOR_LINEAR_MEMORY,
        runtime="15m",
    params:
        settings=TENSOR_COMPLETION_RANKS,
        asked=tensor_completion_asked,
        code=fingerprint("tensor_completion_linear.py"),
    message:
        "norms: complete a tensor linearly from {wildcards.num_observations} entries"
    script:
        by_content("tensor_completion_linear.py")


rule tensor_completion_target:
    """Estimate the rank of a target, as that of what is completed."""
    input:
        tensor_completion_target,
    output:
        TENSOR_COMPLETION_TARGET.output,
    log:
        TENSOR_COMPLETION_TARGET.log,
    benchmark:
        TENSOR_COMPLETION_TARGET.benchmark
    threads: 1
    resources:
        mem_mb=TENSOR_LINEAR_MEMORY,
        runtime="15m",
    params:
        settings=TENSOR_COMPLETION_RANKS,
        asked=tensor_completion_asked,
        code=fingerprint("tensor_completion_target.py"),
    message:
        "norms: estimate the rank of a target"
    script:
        by_content("tensor_completion_target.py")


rule tensor_completion_collect:
    """Gather all completions in one table, and judge the claims of the paper."""
    input:
        runs=available(TENSOR_COMPLETION_RUNS),
        linear=available(TENSOR_COMPLETION_LINEARS, needed=False),
        targets=available(TENSOR_COMPLETION_TARGETS, needed=False),
    output:
        runs=f"{NORMS}/tensor/runs.csv",
        claims=report(
            f"{NORMS}/tensor/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Tensor completion", "scale": cfg.scale},
        ),
    log:
        log_of(f"{NORMS}/tensor/runs.csv"),
    localrule: True
    params:
        asked=TENSOR_COMPLETION_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(TENSOR_COMPLETION_FILES),
        settings={"planned": TENSOR_TARGETS},
        uses="tacit.studies.tensor_completion.tables",
        code=fingerprint("collect.py", "tacit.studies.tensor_completion.tables"),
    message:
        "norms: collect the runs of tensors"
    script:
        by_content("collect.py")


rule tensor_completion_plot:
    """Draw error and estimated rank against the number of observations."""
    input:
        runs=rules.tensor_completion_collect.output.runs,
    output:
        figure=report(
            "figures/tensor_completion.pdf",
            caption="../report/tensor_completion.rst",
            category="Norms",
            labels={"result": "Tensor completion", "scale": cfg.scale},
        ),
        numbers="figures/tensor_completion.csv",
    log:
        "logs/figures/tensor_completion.log",
    localrule: True
    params:
        asked=TENSOR_COMPLETION_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(TENSOR_COMPLETION_FILES),
        settings=drawn(cfg.norms.tensor, "keep"),
        uses="tacit.figures.tensor_completion.ERRORS",
        code=fingerprint("plot.py", "tacit.figures.tensor_completion.ERRORS"),
    message:
        "norms: draw figures/tensor_completion.pdf"
    script:
        by_content("plot.py")
