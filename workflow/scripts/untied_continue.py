"""Have one network continue from a CNN: one split, one learning rate, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.untied import CONTINUED, RunSettings
from tacit.studies import untied


def main(dataset: str, cnn: str, out: str, *, identity: dict, settings: dict, checkpoint: str) -> None:
    checked = RunSettings.from_plain(settings)
    own = {name: value for name, value in identity.items() if name != "cnn_learning_rate"}
    arrays = untied.continue_from(images.read(dataset, checked.images), cnn, checked, **own, checkpoint=checkpoint)
    everything = identity | {"cnn": untied.settings_of(cnn)} | settings
    store.write(out, arrays, kind=untied.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input.images,
            snakemake.input.cnn,
            snakemake.output[0],
            identity=CONTINUED.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
