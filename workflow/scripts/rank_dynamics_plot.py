"""Draw one of the figures of rank dynamics, and write down the numbers drawn."""

from tacit import jobs, store
from tacit.figures import rank_dynamics as figure
from tacit.figures import style
from tacit.studies import rank_dynamics
from tacit.studies.tables import count_missing


def main(out: str, *, runs: str, components: str, curves: str, numbers: str, panels: str, settings: dict) -> None:
    ended = store.read_table(runs, expected=rank_dynamics.RUNS)
    parts = store.read_table(components, expected=rank_dynamics.COMPONENTS)
    if panels == "factorizations":
        drawn = figure.factorization_panels(rank_dynamics.main_quantities(parts))
    else:
        drawn = figure.node_panels(rank_dynamics.node_quantities(parts))
    points = store.read_table(curves, expected=rank_dynamics.CURVES)
    summary = rank_dynamics.summarize(points, ended, [(panel.factorization, panel.quantity) for panel in drawn])
    missing = count_missing(ended, settings["num_runs"], partial=settings["partial"])
    style.save(figure.draw(summary, drawn, scale=settings["scale"], settings=settings, missing=missing), out)
    store.write_table(numbers, summary)


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.output.figure,
            runs=snakemake.input.runs,
            components=snakemake.input.components,
            curves=snakemake.input.curves,
            numbers=snakemake.output.numbers,
            panels=snakemake.params.panels,
            settings=snakemake.params.settings,
        )
