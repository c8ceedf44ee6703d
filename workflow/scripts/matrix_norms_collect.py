"""Collect runs of deep matrix factorizations and judge the claims of the paper."""

from tacit import jobs, store
from tacit.studies import matrix_norms


def main(inputs: list[str], *, runs: str, curves: str, claims: str | None, judged: str) -> None:
    tables = matrix_norms.collect(inputs)
    store.write_table(runs, tables.runs)
    store.write_table(curves, tables.curves)
    if judged == "published":
        store.write_table(claims, matrix_norms.claims(*tables))
    elif judged == "perturbed":
        store.write_table(claims, matrix_norms.perturbed_claims(*tables))


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            list(snakemake.input),
            runs=snakemake.output.runs,
            curves=snakemake.output.curves,
            claims=snakemake.output.get("claims"),
            judged=snakemake.params.judged,
        )
