"""Draw loss and accuracy on the ways between networks, and write down the numbers drawn."""

from tacit import jobs, store
from tacit.figures import style
from tacit.figures import untied as figure
from tacit.studies import untied_results
from tacit.studies.tables import count_missing


def main(table: str, out: str, *, numbers: str, settings: dict) -> None:
    ways = store.read_table(table, expected=untied_results.WAYS)
    summary = untied_results.interpolation_summary(ways)
    there = ways.drop_duplicates(untied_results.WAY_KEYS)
    missing = count_missing(there, settings["num_runs"], partial=settings["partial"])
    style.save(figure.draw_interpolation(summary, scale=settings["scale"], settings=settings, missing=missing), out)
    store.write_table(numbers, summary)


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input[0],
            snakemake.output.figure,
            numbers=snakemake.output.numbers,
            settings=snakemake.params.settings,
        )
