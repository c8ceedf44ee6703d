# Convolutional residual networks of many layers (thesis on weight regularity in the depth limit): image set -> one
# training a depth and seed -> tables -> figure; and the figure on gradients, which is of both kinds of network.


include: "depth_cifar.paths.smk"


rule depth_cifar:
    input:
        "figures/depth_cifar.pdf",
        f"{DEPTH_CIFAR}/claims.csv",


rule depth_cifar_train:
    """Train one convolutional residual network: one depth, one seed."""
    input:
        images_dataset(cfg.depth_cifar.images),
    output:
        DEPTH_CIFAR_RUN.output,
    log:
        DEPTH_CIFAR_RUN.log,
    benchmark:
        DEPTH_CIFAR_RUN.benchmark
    threads: 1
    resources:
        mem_mb=depth_cifar_memory,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        settings=depth_cifar_settings,
        checkpoint=DEPTH_CIFAR_RUN.checkpoint,
        code=fingerprint("depth_cifar_train.py"),
    message:
        "depth_cifar: train {wildcards.depth} layers, seed {wildcards.seed}"
    script:
        by_content("depth_cifar_train.py")


rule depth_cifar_collect:
    """Gather the runs, and judge the claims."""
    input:
        runs=available(DEPTH_CIFAR_RUNS),
    output:
        runs=f"{DEPTH_CIFAR}/runs.csv",
        curves=f"{DEPTH_CIFAR}/curves.csv",
        gradients=f"{DEPTH_CIFAR}/gradients.csv",
        claims=report(
            f"{DEPTH_CIFAR}/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Depth limit, convolutional", "scale": cfg.scale},
        ),
    log:
        log_of(f"{DEPTH_CIFAR}/runs.csv"),
    localrule: True
    params:
        asked=DEPTH_CIFAR_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(DEPTH_CIFAR_RUNS),
        settings={"fit": cfg.depth_cifar.power_law.plain(), "published": cfg.depth_cifar.is_published},
        uses="tacit.studies.depth_cifar.tables",
        code=fingerprint("collect.py", "tacit.studies.depth_cifar.tables"),
    message:
        "depth_cifar: collect the runs"
    script:
        by_content("collect.py")


rule depth_cifar_plot:
    """Draw accuracy and loss by epoch, and Omega by step."""
    input:
        runs=rules.depth_cifar_collect.output.runs,
        curves=rules.depth_cifar_collect.output.curves,
        gradients=rules.depth_cifar_collect.output.gradients,
    output:
        figure=report(
            "figures/depth_cifar.pdf",
            caption="../report/depth_cifar.rst",
            category="Depth limit",
            labels={"result": "Depth limit: convolutional networks", "scale": cfg.scale},
        ),
        numbers="figures/depth_cifar.csv",
    log:
        "logs/figures/depth_cifar.log",
    localrule: True
    params:
        asked=DEPTH_CIFAR_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(DEPTH_CIFAR_RUNS),
        settings=drawn(cfg.depth_cifar, "omega_shown", published=cfg.depth_cifar.is_published),
        uses="tacit.figures.depth_cifar.CIFAR",
        code=fingerprint("plot.py", "tacit.figures.depth_cifar.CIFAR"),
    message:
        "depth_cifar: draw figures/depth_cifar.pdf"
    script:
        by_content("plot.py")


rule depth_gradients_plot:
    """Draw Omega along trainings of deep and of convolutional networks, and the power laws that it follows."""
    input:
        gradients=rules.depth_limit_collect.output.gradients,
        power_laws=rules.depth_limit_collect.output.power_laws,
        convolutional=depth_cifar_table("gradients"),
        convolutional_laws=depth_cifar_table("runs"),
    output:
        figure=report(
            "figures/depth_gradients.pdf",
            caption="../report/depth_gradients.rst",
            category="Depth limit",
            labels={"result": "Depth limit: gradients along training", "scale": cfg.scale},
        ),
        numbers="figures/depth_gradients.csv",
    log:
        "logs/figures/depth_gradients.log",
    localrule: True
    params:
        asked=DEPTH_GRADIENTS_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected={"runs": DEPTH_GRADIENTS_RUNS, "partial": cfg.partial},
        settings=drawn(cfg.depth_limit, "further", "landscapes", convolutional=cfg.depth_cifar.plain()),
        uses="tacit.figures.depth_gradients.GRADIENTS",
        code=fingerprint("plot.py", "tacit.figures.depth_gradients.GRADIENTS"),
    message:
        "depth_limit: draw figures/depth_gradients.pdf"
    script:
        by_content("plot.py")
