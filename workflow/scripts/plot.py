"""Draw one figure, and write down the numbers drawn; the rule says which, as `uses`."""

from tacit import jobs, store
from tacit.figures import style


def main(tables: dict[str, str], out: str, *, numbers: str, drawing: str, settings: dict, missing: int) -> None:
    figure = jobs.used(drawing)
    # Of runs that are not there yet, where that is allowed, there is no table.
    there = {name: path for name, path in tables.items() if path}
    read = {name: store.read_table(path, expected=figure.tables[name]) for name, path in there.items()}
    drawn = figure.numbers(read, settings)
    style.save(figure.draw(drawn, settings=settings, missing=missing), out)
    store.write_table(numbers, drawn)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake) as origin:
        main(
            dict(snakemake.input.items()),
            snakemake.output.figure,
            numbers=snakemake.output.numbers,
            drawing=snakemake.params.uses,
            settings=snakemake.params.settings,
            missing=origin.missing,
        )
