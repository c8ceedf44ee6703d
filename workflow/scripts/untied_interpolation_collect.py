"""Collect all interpolations between networks in one table."""

from tacit import jobs, store
from tacit.studies import untied_results


def main(files: list[str], out: str) -> None:
    store.write_table(out, untied_results.collect_interpolations(files))


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(list(snakemake.input), snakemake.output[0])
