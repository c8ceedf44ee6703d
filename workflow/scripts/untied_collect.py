"""Collect all runs on untied weights in one table and judge the claims of the papers."""

from tacit import jobs, store
from tacit.settings.untied import Shown
from tacit.studies import untied_results


def main(runs: list[str], *, table: str, claims: str, shown: dict) -> None:
    collected = untied_results.collect(runs)
    store.write_table(table, collected)
    store.write_table(claims, untied_results.claims(collected, Shown.from_plain(shown)))


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            list(snakemake.input),
            table=snakemake.output.runs,
            claims=snakemake.output.claims,
            shown=snakemake.params.shown,
        )
