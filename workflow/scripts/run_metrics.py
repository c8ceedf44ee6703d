"""Draw all that one run recorded, a panel a quantity, and write down the numbers drawn."""

from tacit import jobs, store
from tacit.figures import runs, style
from tacit.studies import gathered, recorded


def main(run: str, out: str, *, numbers: str) -> None:
    figure = gathered.metrics_of(recorded.read(run))
    drawn = gathered.gather(figure).panels
    style.save(runs.draw(figure, drawn, footnote=runs.footnote(figure, drawn)), out)
    store.write_table(numbers, gathered.to_table(drawn))


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(snakemake.input.run, snakemake.output.figure, numbers=snakemake.output.numbers)
