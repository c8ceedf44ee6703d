"""Collect all Is Same Class runs in one table and judge the claims of the paper."""

from tacit import jobs, store
from tacit.studies import locality, same_class


def main(runs: list[str], *, table: str, claims: str) -> None:
    collected = locality.collect(same_class.TASK, runs)
    store.write_table(table, collected)
    store.write_table(claims, locality.claims(same_class.TASK, collected))


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(list(snakemake.input), table=snakemake.output.runs, claims=snakemake.output.claims)
