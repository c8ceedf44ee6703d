"""Train one network on Pathfinder: one path length, one coefficient, one seed, one file."""

from tacit import jobs, store, versions
from tacit.settings.pathfinder import RUN, RunSettings
from tacit.studies import pathfinder


def main(dataset: str, out: str, *, identity: dict, settings: dict, checkpoint: str) -> None:
    images = store.read(dataset, kind=pathfinder.DATASET)
    arrays = pathfinder.train(images, RunSettings.from_plain(settings), **identity, checkpoint=checkpoint)
    everything = identity | {"dataset": images.settings} | settings
    store.write(out, arrays, kind=pathfinder.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input[0],
            snakemake.output[0],
            identity=RUN.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
