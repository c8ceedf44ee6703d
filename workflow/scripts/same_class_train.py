"""Train one network on Is Same Class: one distance, one coefficient, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.same_class import RUN, RunSettings
from tacit.studies import same_class


def main(dataset: str, pairs: str, out: str, *, identity: dict, settings: dict, checkpoint: str) -> None:
    checked = RunSettings.from_plain(settings)
    paired = store.read(pairs, kind=same_class.PAIRS)
    chosen = images.read(dataset, checked.images)
    arrays = same_class.train(chosen, paired, checked, **identity, checkpoint=checkpoint)
    everything = identity | {"pairs": paired.settings["pairs"]} | settings
    store.write(out, arrays, kind=same_class.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input.images,
            snakemake.input.pairs,
            snakemake.output[0],
            identity=RUN.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
