"""Train one network from scratch: one learning rate, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.untied import SCRATCH, RunSettings
from tacit.studies import untied


def main(dataset: str, out: str, *, identity: dict, settings: dict, checkpoint: str) -> None:
    checked = RunSettings.from_plain(settings)
    arrays = untied.train(images.read(dataset, checked.images), checked, **identity, checkpoint=checkpoint)
    store.write(out, arrays, kind=untied.RUN, settings=identity | settings, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input[0],
            snakemake.output[0],
            identity=SCRATCH.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
