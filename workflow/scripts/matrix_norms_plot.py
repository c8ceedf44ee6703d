"""Draw one of the figures of deep matrix factorization, and write down the numbers drawn."""

from tacit import jobs, store
from tacit.figures import matrix_norms as figure
from tacit.figures import style
from tacit.studies import matrix_norms
from tacit.studies.tables import count_missing


def main(out: str, *, runs: str, curves: str, numbers: str, drawn: str, settings: dict) -> None:
    descent, tolerance = settings["descent"], settings["descent"]["tolerance"]
    points = matrix_norms.until_fitted(store.read_table(curves, expected=matrix_norms.CURVES), tolerance)
    ended = store.read_table(runs, expected=matrix_norms.RUNS)
    missing = count_missing(ended, settings["num_runs"], partial=settings["partial"])
    shared = {"scale": settings["scale"], "seeds": settings["seeds"], "tolerance": tolerance, "missing": missing}
    columns = ["unobserved", "theory_closed_form"]
    if drawn == "entries":
        columns = ["unobserved", "theory_entry", "theory_envelope"]
        picture = figure.draw_entries(points, **shared)
    elif drawn == "measures":
        columns = figure.measures_drawn(descent["schatten"])
        picture = figure.draw_measures(points, schatten=descent["schatten"], **shared)
    else:
        picture = figure.draw_perturbed(points, **shared)
    style.save(picture, out)
    store.write_table(numbers, points[[*matrix_norms.AXES, "epochs", "loss", *columns]])


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.output.figure,
            runs=snakemake.input.runs,
            curves=snakemake.input.curves,
            numbers=snakemake.output.numbers,
            drawn=snakemake.params.drawn,
            settings=snakemake.params.settings,
        )
