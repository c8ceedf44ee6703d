"""Train one network on Pathfinder: one path length, one coefficient, one seed, one file."""

from tacit import jobs, store, versions
from tacit.settings.pathfinder import RunSettings
from tacit.studies import pathfinder


def main(
    dataset: str, out: str, *, path_length: int, coefficient: float, seed: int, settings: dict, checkpoint: str
) -> None:
    images = store.read(dataset, kind=pathfinder.DATASET)
    arrays = pathfinder.train(
        images,
        RunSettings.from_plain(settings),
        path_length=path_length,
        coefficient=coefficient,
        seed=seed,
        checkpoint=checkpoint,
    )
    everything = {"path_length": path_length, "coefficient": coefficient, "seed": seed, "dataset": images.settings}
    everything |= settings
    store.write(out, arrays, kind=pathfinder.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input[0],
            snakemake.output[0],
            path_length=int(snakemake.wildcards.path_length),
            coefficient=float(snakemake.wildcards.coefficient),
            seed=int(snakemake.wildcards.seed),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
