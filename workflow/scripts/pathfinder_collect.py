"""Collect all Pathfinder runs in one table and judge the claims of the paper."""

from tacit import runlog, store
from tacit.studies import pathfinder


def main(runs: list[str], *, table: str, claims: str) -> None:
    collected = pathfinder.collect(runs)
    store.write_table(table, collected)
    store.write_table(claims, pathfinder.claims(collected))


if __name__ == "__main__":
    with runlog.to(snakemake.log[0]):
        main(list(snakemake.input), table=snakemake.output.runs, claims=snakemake.output.claims)
