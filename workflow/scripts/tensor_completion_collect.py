"""Collect all tensor completions in one table and judge the claims of the paper."""

from tacit import jobs, store
from tacit.studies import tensor_completion


def main(runs: list[str], linear: list[str], *, table: str, claims: str) -> None:
    collected = tensor_completion.collect(runs, linear)
    store.write_table(table, collected)
    store.write_table(claims, tensor_completion.claims(collected))


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            list(snakemake.input.runs),
            list(snakemake.input.linear),
            table=snakemake.output.runs,
            claims=snakemake.output.claims,
        )
