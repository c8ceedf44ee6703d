"""Let one network go on from a CNN: one split, one learning rate, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.untied import RunSettings
from tacit.studies import untied


def main(
    dataset: str,
    cnn: str,
    out: str,
    *,
    network: str,
    cnn_learning_rate: float,
    split: int,
    learning_rate: float,
    seed: int,
    settings: dict,
    checkpoint: str,
) -> None:
    checked = RunSettings.from_plain(settings)
    identity = {"network": network, "split": split, "learning_rate": learning_rate, "seed": seed}
    arrays = untied.go_on(images.read(dataset, checked.images), cnn, checked, **identity, checkpoint=checkpoint)
    everything = {"cnn_learning_rate": cnn_learning_rate, **identity, "cnn": untied.settings_of(cnn), **settings}
    store.write(out, arrays, kind=untied.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input.images,
            snakemake.input.cnn,
            snakemake.output[0],
            network=snakemake.wildcards.network,
            cnn_learning_rate=float(snakemake.wildcards.cnn_learning_rate),
            split=int(snakemake.wildcards.split),
            learning_rate=float(snakemake.wildcards.learning_rate),
            seed=int(snakemake.wildcards.seed),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
