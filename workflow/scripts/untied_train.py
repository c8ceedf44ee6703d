"""Train one network from scratch: one learning rate, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.untied import RunSettings
from tacit.studies import untied


def main(
    dataset: str, out: str, *, network: str, learning_rate: float, seed: int, settings: dict, checkpoint: str
) -> None:
    checked = RunSettings.from_plain(settings)
    identity = {"network": network, "learning_rate": learning_rate, "seed": seed}
    arrays = untied.train(images.read(dataset, checked.images), checked, **identity, checkpoint=checkpoint)
    store.write(out, arrays, kind=untied.RUN, settings=identity | settings, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input[0],
            snakemake.output[0],
            network=snakemake.wildcards.network,
            learning_rate=float(snakemake.wildcards.learning_rate),
            seed=int(snakemake.wildcards.seed),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
