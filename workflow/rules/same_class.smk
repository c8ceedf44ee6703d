# Is Same Class (Razin, Maman, Cohen 2022): image set -> pairs -> training -> table -> figure.


include: "same_class.paths.smk"


rule same_class:
    input:
        "figures/same_class.pdf",
        "figures/same_class_examples.pdf",
        f"{SAME_CLASS}/claims.csv",


rule same_class_pair:
    """Draw pairs of images, half of them of one class. They serve every distance."""
    input:
        SAME_CLASS_IMAGES,
    output:
        SAME_CLASS_PAIRS.output,
    log:
        SAME_CLASS_PAIRS.log,
    benchmark:
        SAME_CLASS_PAIRS.benchmark
    localrule: True
    threads: 1
    resources:
        mem_mb=SAME_CLASS_PAIR_MEMORY,
        runtime="10m",
    params:
        settings=SAME_CLASS_PAIRS_SETTINGS,
        code=fingerprint("same_class_pair.py"),
    message:
        "same_class: draw pairs"
    script:
        by_content("same_class_pair.py")


rule same_class_train:
    """Train one network: one distance, one coefficient of the regulariser, one seed."""
    input:
        images=SAME_CLASS_IMAGES,
        pairs=SAME_CLASS_PAIRS.path,
    output:
        SAME_CLASS_RUN.output,
    log:
        SAME_CLASS_RUN.log,
    benchmark:
        SAME_CLASS_RUN.benchmark
    threads: 1
    resources:
        mem_mb=SAME_CLASS_TRAIN_MEMORY,
        runtime="12h",
        gpu=cfg.gpus_per_run,
    params:
        settings=same_class_settings,
        asked=SAME_CLASS_PAIRS_ASKED,
        checkpoint=SAME_CLASS_RUN.checkpoint,
        code=fingerprint("same_class_train.py"),
    message:
        "same_class: train distance {wildcards.distance}, coefficient {wildcards.coefficient}, seed {wildcards.seed}"
    script:
        by_content("same_class_train.py")


rule same_class_collect:
    """Gather all runs in one table, and judge the claims of the paper."""
    input:
        runs=available(SAME_CLASS_RUNS),
    output:
        runs=f"{SAME_CLASS}/runs.csv",
        claims=report(
            f"{SAME_CLASS}/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Is Same Class", "scale": cfg.scale},
        ),
    log:
        log_of(f"{SAME_CLASS}/runs.csv"),
    localrule: True
    params:
        asked=SAME_CLASS_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(SAME_CLASS_RUNS),
        settings={"planned": SAME_CLASS_PLANNED},
        uses="tacit.studies.same_class.tables",
        code=fingerprint("collect.py", "tacit.studies.same_class.tables"),
    message:
        "same_class: collect the runs"
    script:
        by_content("collect.py")


rule same_class_plot:
    """Draw test accuracy against distance, a line a coefficient."""
    input:
        runs=rules.same_class_collect.output.runs,
    output:
        figure=report(
            "figures/same_class.pdf",
            caption="../report/same_class.rst",
            category="Locality",
            labels={"result": "Is Same Class: accuracy", "scale": cfg.scale},
        ),
        numbers="figures/same_class.csv",
    log:
        "logs/figures/same_class.log",
    localrule: True
    params:
        asked=SAME_CLASS_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(SAME_CLASS_RUNS),
        settings=drawn(cfg.same_class, "distances"),
        uses="tacit.figures.same_class.ACCURACY",
        code=fingerprint("plot.py", "tacit.figures.same_class.ACCURACY"),
    message:
        "same_class: draw figures/same_class.pdf"
    script:
        by_content("plot.py")


rule same_class_examples_collect:
    """Gather some of the training images, by difficulty and label."""
    input:
        images=SAME_CLASS_IMAGES,
        pairs=SAME_CLASS_PAIRS.path,
    output:
        examples=f"{SAME_CLASS}/examples.csv",
    log:
        log_of(f"{SAME_CLASS}/examples.csv"),
    localrule: True
    params:
        asked=SAME_CLASS_PAIRS_ASKED,
        settings={
            "distances": list(cfg.same_class.distances),
            "selection": cfg.same_class.images.plain(),
            "canvas": cfg.same_class.canvas.plain(),
        },
        uses="tacit.studies.same_class.show",
        code=fingerprint("collect.py", "tacit.studies.same_class.show"),
    message:
        "same_class: collect examples"
    script:
        by_content("collect.py")


rule same_class_examples_plot:
    """Draw what networks are shown: some images by difficulty and label."""
    input:
        examples=rules.same_class_examples_collect.output.examples,
    output:
        figure=report(
            "figures/same_class_examples.pdf",
            caption="../report/same_class_examples.rst",
            category="Locality",
            labels={"result": "Is Same Class: examples", "scale": cfg.scale},
        ),
        numbers="figures/same_class_examples.csv",
    log:
        "logs/figures/same_class_examples.log",
    localrule: True
    params:
        asked=SAME_CLASS_PAIRS_ASKED,
        settings=drawn(None, images=cfg.same_class.images.plain(), canvas=cfg.same_class.canvas.plain()),
        uses="tacit.figures.same_class.EXAMPLES",
        code=fingerprint("plot.py", "tacit.figures.same_class.EXAMPLES"),
    message:
        "same_class: draw figures/same_class_examples.pdf"
    script:
        by_content("plot.py")
