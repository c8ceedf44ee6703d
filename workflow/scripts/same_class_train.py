"""Train one network on Is Same Class: one distance, one coefficient, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.same_class import RunSettings
from tacit.studies import same_class


def main(
    dataset: str, pairs: str, out: str, *, distance: int, coefficient: float, seed: int, settings: dict, checkpoint: str
) -> None:
    checked = RunSettings.from_plain(settings)
    paired = store.read(pairs, kind=same_class.PAIRS)
    arrays = same_class.train(
        images.read(dataset, checked.images),
        paired,
        checked,
        distance=distance,
        coefficient=coefficient,
        seed=seed,
        checkpoint=checkpoint,
    )
    everything = {"distance": distance, "coefficient": coefficient, "seed": seed, "pairs": paired.settings["pairs"]}
    everything |= settings
    store.write(out, arrays, kind=same_class.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input.images,
            snakemake.input.pairs,
            snakemake.output[0],
            distance=int(snakemake.wildcards.distance),
            coefficient=float(snakemake.wildcards.coefficient),
            seed=int(snakemake.wildcards.seed),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
