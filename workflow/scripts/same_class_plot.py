"""Draw the Is Same Class figure, and write down the numbers drawn."""

from tacit import jobs, store
from tacit.figures import same_class as figure
from tacit.figures import style
from tacit.studies import locality, same_class
from tacit.studies.tables import count_missing


def main(table: str, out: str, *, numbers: str, settings: dict) -> None:
    runs = store.read_table(table, expected=locality.table_of(same_class.TASK))
    summary = locality.summarize(same_class.TASK, runs)
    missing = count_missing(runs, settings["num_runs"], partial=settings["partial"])
    style.save(figure.draw(summary, scale=settings["scale"], settings=settings, missing=missing), out)
    store.write_table(numbers, summary)


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input[0],
            snakemake.output.figure,
            numbers=snakemake.output.numbers,
            settings=snakemake.params.settings,
        )
