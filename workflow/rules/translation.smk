# Compressed translation (Khodak, Tenenholtz, Mackey, Fusi 2021): text in two languages -> one file of token ids -> one
# training a network, start, decay and seed -> its translations of the test set -> table, sentences to read, figure.


include: "translation.paths.smk"


rule translation:
    input:
        "figures/factorized_translation.pdf",
        f"{TRANSLATION}/claims.csv",
        f"{TRANSLATION}/samples.txt",


rule translation_prepare:
    """Read or make text in two languages, clean it, cut words into pieces, and bring their ids into one file."""
    input:
        translation_source,
    output:
        TRANSLATION_DATA.output,
    log:
        TRANSLATION_DATA.log,
    benchmark:
        TRANSLATION_DATA.benchmark
    # Before any training of any study, so that text that is not as it should be is known of at once.
    priority: 10
    threads: 1
    resources:
        mem_mb=translation_prepare_memory,
        runtime="60m",
    params:
        settings=translation_corpus,
        text=translation_text,
        code=fingerprint("translation_prepare.py"),
    message:
        "translation: prepare {wildcards.source}"
    script:
        by_content("translation_prepare.py")


rule translation_train:
    """Train one Transformer: of which rank scale, what of it starts spectrally, how it decays, one seed."""
    input:
        corpus=TRANSLATION_CORPUS,
    output:
        TRANSLATION_RUN.output,
    log:
        TRANSLATION_RUN.log,
    benchmark:
        TRANSLATION_RUN.benchmark
    threads: 1
    resources:
        mem_mb=translation_memory,
        runtime="24h",
        gpu=cfg.gpus_per_run,
    params:
        settings=translation_settings,
        checkpoint=TRANSLATION_RUN.checkpoint,
        code=fingerprint("translation_train.py"),
    message:
        "translation: train on {wildcards.text} at rank scale {wildcards.rank_scale}, spectral start of: {wildcards.initialization}, "
        "{wildcards.decay} decay {wildcards.coefficient}, seed {wildcards.seed}"
    script:
        by_content("translation_train.py")


rule translation_decode:
    """Translate the test set by one network, and compare with the references."""
    input:
        run=TRANSLATION_RUN.path,
        corpus=TRANSLATION_CORPUS,
    output:
        TRANSLATION_DECODED.output,
    log:
        TRANSLATION_DECODED.log,
    benchmark:
        TRANSLATION_DECODED.benchmark
    # A network that has been trained is heard of at once.
    priority: 1
    threads: 1
    resources:
        mem_mb=translation_decode_memory,
        runtime="4h",
        gpu=cfg.gpus_per_run,
    params:
        asked=translation_run_asked,
        settings=translation_decoded_settings,
        code=fingerprint("translation_decode.py"),
    message:
        "translation: decode, rank scale {wildcards.rank_scale}, spectral start of: {wildcards.initialization}, "
        "{wildcards.decay} decay {wildcards.coefficient}, seed {wildcards.seed}"
    script:
        by_content("translation_decode.py")


rule translation_collect:
    """Gather the translations in one table, and judge what the paper claims."""
    input:
        runs=available(TRANSLATION_RUNS),
    output:
        runs=f"{TRANSLATION}/runs.csv",
        claims=report(
            f"{TRANSLATION}/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Compressed translation", "scale": cfg.scale},
        ),
    log:
        log_of(f"{TRANSLATION}/runs.csv"),
    localrule: True
    params:
        asked=TRANSLATION_ASKED,
        accept_older_code=cfg.accept_older_code,
        num_runs=len(TRANSLATION_RUNS),
        settings=cfg.translation.claimed,
        uses="tacit.studies.translation_results.tables",
        code=fingerprint("collect.py", "tacit.studies.translation_results.tables"),
    message:
        "translation: collect the translations"
    script:
        by_content("collect.py")


rule translation_samples:
    """Write down sentences of the test set, and what networks make of them, to be read."""
    input:
        runs=f"{TRANSLATION}/runs.csv",
        corpus=TRANSLATION_CORPUS,
        decoded=available(TRANSLATION_FIRST, needed=False),
    output:
        report(
            f"{TRANSLATION}/samples.txt",
            caption="../report/translation_samples.rst",
            category="Factorized layers",
            labels={"result": "Factorized layers: sentences translated", "scale": cfg.scale},
        ),
    log:
        log_of(f"{TRANSLATION}/samples.txt"),
    localrule: True
    params:
        asked=TRANSLATION_ASKED,
        accept_older_code=cfg.accept_older_code,
        settings={"scale": cfg.scale, "samples": cfg.translation.samples},
        code=fingerprint("translation_samples.py"),
    message:
        "translation: write {output}"
    script:
        by_content("translation_samples.py")


rule translation_plot:
    """Draw BLEU against the coefficient of decay."""
    input:
        runs=f"{TRANSLATION}/runs.csv",
    output:
        figure=report(
            "figures/factorized_translation.pdf",
            caption="../report/factorized_translation.rst",
            category="Factorized layers",
            labels={"result": "Factorized layers: translation", "scale": cfg.scale},
        ),
        numbers="figures/factorized_translation.csv",
    log:
        "logs/figures/factorized_translation.log",
    localrule: True
    params:
        asked=TRANSLATION_ASKED,
        accept_older_code=cfg.accept_older_code,
        collected=collected(TRANSLATION_RUNS),
        settings=drawn(cfg.translation, "samples"),
        uses="tacit.figures.translation.BLEU",
        code=fingerprint("plot.py", "tacit.figures.translation.BLEU"),
    message:
        "translation: draw figures/factorized_translation.pdf"
    script:
        by_content("plot.py")
