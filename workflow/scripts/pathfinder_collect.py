"""Collect all Pathfinder runs in one table and judge the claims of the paper."""

from tacit import jobs, store
from tacit.studies import locality, pathfinder


def main(runs: list[str], *, table: str, claims: str) -> None:
    collected = locality.collect(pathfinder.TASK, runs)
    store.write_table(table, collected)
    store.write_table(claims, locality.claims(pathfinder.TASK, collected))


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(list(snakemake.input), table=snakemake.output.runs, claims=snakemake.output.claims)
