"""Draw the tensor completion figure, and write down the numbers drawn."""

from tacit import jobs, store
from tacit.figures import style
from tacit.figures import tensor_completion as figure
from tacit.studies import tensor_completion
from tacit.studies.tables import count_missing


def main(table: str, out: str, *, numbers: str, settings: dict) -> None:
    rows = store.read_table(table, expected=tensor_completion.RUNS)
    summary = tensor_completion.summarize(rows)
    runs = rows[rows["method"] == "factorization"]
    missing = count_missing(runs, settings["num_runs"], partial=settings["partial"])
    style.save(figure.draw(summary, scale=settings["scale"], missing=missing), out)
    store.write_table(numbers, summary)


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input[0],
            snakemake.output.figure,
            numbers=snakemake.output.numbers,
            settings=snakemake.params.settings,
        )
