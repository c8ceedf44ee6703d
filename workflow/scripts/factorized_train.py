"""Train one residual network with factorized layers: one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.factorized import RUN, RunSettings, Variant
from tacit.studies import factorized


def main(
    dataset: str, out: str, *, identity: dict, settings: dict, checkpoint: str, replayed: str | None = None
) -> None:
    checked = RunSettings.from_plain(settings)
    arrays, attributes = factorized.train(
        images.read(dataset, checked.images),
        checked,
        Variant(*(identity[name] for name in Variant._fields)),
        depth=identity["depth"],
        seed=identity["seed"],
        checkpoint=checkpoint,
        replayed=replayed,
    )
    attributes |= versions.of_libraries()
    store.write(out, arrays, kind=factorized.RUN, settings=identity | settings, attributes=attributes)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input.images,
            snakemake.output[0],
            identity=RUN.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
            replayed=snakemake.input.get("replayed") or None,
        )
