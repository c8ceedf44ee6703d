# Image sets, for all studies that learn from images: published files -> one file of bytes and labels.


include: "images.paths.smk"


rule images_convert:
    """Check the published files of an image set, fetch them where that is allowed, and bring them into one file."""
    input:
        images_source,
    output:
        IMAGES.output,
    log:
        IMAGES.log,
    benchmark:
        IMAGES.benchmark
    # Before any training of any study, so that files that cannot be fetched are known of at once.
    priority: 10
    localrule: True
    threads: 1
    resources:
        mem_mb=images_convert_memory,
        runtime="60m",
    params:
        code=fingerprint("images_convert.py"),
    message:
        "images: read {wildcards.source} at {wildcards.size} px"
    script:
        by_content("images_convert.py")
