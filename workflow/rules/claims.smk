# The ledger: what the papers state, and whether it held in these runs, of all studies together.


rule claims:
    input:
        "figures/claims.pdf",
        f"results/{cfg.scale}/claims.csv",


rule claims_collect:
    """Gather the claims of all studies in one table."""
    input:
        claims=with_runs(CLAIMS),
    output:
        claims=report(
            f"results/{cfg.scale}/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": " All claims", "scale": cfg.scale},
        ),
    log:
        log_of(f"results/{cfg.scale}/claims.csv"),
    localrule: True
    params:
        asked={table: asked for table, (asked, _) in CLAIMS.items()},
        accept_older_code=cfg.accept_older_code,
        collected={"runs": {table: runs for table, (_, runs) in CLAIMS.items()}, "partial": cfg.partial},
        uses="tacit.studies.ledger.gather",
        code=fingerprint("collect.py", "tacit.studies.ledger.gather"),
    message:
        "claims: gather those of all studies"
    script:
        by_content("collect.py")


rule claims_plot:
    """Draw every claim's effect and interval beside its threshold."""
    input:
        claims=rules.claims_collect.output.claims,
    output:
        figure=report(
            "figures/claims.pdf",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": " All claims, drawn", "scale": cfg.scale},
        ),
        numbers="figures/claims.csv",
    log:
        "logs/figures/claims.log",
    localrule: True
    params:
        asked=provenance.pairs_of({table: asked for table, (asked, _) in CLAIMS.items()}),
        accept_older_code=cfg.accept_older_code,
        collected=collected(CLAIMS),
        settings=drawn(None),
        uses="tacit.figures.claims.CLAIMS",
        code=fingerprint("plot.py", "tacit.figures.claims.CLAIMS"),
    message:
        "claims: draw figures/claims.pdf"
    script:
        by_content("plot.py")
