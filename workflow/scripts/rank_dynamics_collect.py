"""Collect all runs of rank dynamics in tables and judge the claims of the paper."""

from tacit import jobs, store
from tacit.studies import rank_dynamics


def main(inputs: list[str], *, runs: str, components: str, curves: str, claims: str) -> None:
    tables = rank_dynamics.collect(inputs)
    store.write_table(runs, tables.runs)
    store.write_table(components, tables.components)
    store.write_table(curves, tables.curves)
    store.write_table(claims, rank_dynamics.claims(tables.runs, tables.components))


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            list(snakemake.input),
            runs=snakemake.output.runs,
            components=snakemake.output.components,
            curves=snakemake.output.curves,
            claims=snakemake.output.claims,
        )
