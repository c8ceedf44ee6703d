"""Draw one of the figures on untied weights, and write down the numbers drawn."""

from tacit import jobs, store
from tacit.figures import style
from tacit.figures import untied as figure
from tacit.settings.untied import Shown
from tacit.studies import untied_results
from tacit.studies.tables import count_missing

DRAWN = {
    "curves": (untied_results.curves, figure.draw),
    "splits": (untied_results.end_summary, figure.draw_ends),
    "deviation": (untied_results.layer_curves, figure.draw_deviation),
}


def main(table: str, out: str, *, drawn: str, numbers: str, settings: dict) -> None:
    runs = store.read_table(table, expected=untied_results.RUNS)
    summarize, draw = DRAWN[drawn]
    summary = summarize(runs, Shown.from_plain(settings["shown"]))
    there = runs.drop_duplicates(untied_results.RUN_KEYS)
    missing = count_missing(there, settings["num_runs"], partial=settings["partial"])
    style.save(draw(summary, scale=settings["scale"], settings=settings, missing=missing), out)
    store.write_table(numbers, summary)


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input[0],
            snakemake.output.figure,
            drawn=snakemake.params.drawn,
            numbers=snakemake.output.numbers,
            settings=snakemake.params.settings,
        )
