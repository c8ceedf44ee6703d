"""Train one convolutional residual network: one depth, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.depth_cifar import RUN, RunSettings
from tacit.studies import depth_cifar


def main(dataset: str, out: str, *, identity: dict, settings: dict, checkpoint: str) -> None:
    checked = RunSettings.from_plain(settings)
    arrays = depth_cifar.train(images.read(dataset, checked.images), checked, **identity, checkpoint=checkpoint)
    attributes = versions.of_libraries()
    store.write(out, arrays, kind=depth_cifar.RUN, settings=identity | settings, attributes=attributes)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input[0],
            snakemake.output[0],
            identity=RUN.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
