"""Train one compressed network: one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.compressed import RUN, RunSettings, Variant
from tacit.studies import compressed


def main(dataset: str, out: str, *, identity: dict, settings: dict, checkpoint: str) -> None:
    checked = RunSettings.from_plain(settings)
    arrays, attributes = compressed.train(
        images.read(dataset, checked.images),
        checked,
        Variant(*(identity[name] for name in Variant._fields)),
        compressed.Named(*(identity[name] for name in compressed.Named._fields)),
        seed=identity["seed"],
        checkpoint=checkpoint,
    )
    attributes |= versions.of_libraries()
    store.write(out, arrays, kind=compressed.RUN, settings=identity | settings, attributes=attributes)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input.images,
            snakemake.output[0],
            identity=RUN.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
