# Parallel corpora, for all that learns to translate: text in two languages -> one file of token ids.


include: "translation.paths.smk"


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
        code=fingerprint("translation_prepare.py"),
    message:
        "translation: prepare {wildcards.source}"
    script:
        by_content("translation_prepare.py")
