"""Train one network that translates: one file."""

from tacit import jobs, store, versions
from tacit.data import translation as data
from tacit.settings.translation import RUN, RunSettings, Variant
from tacit.studies import translation


def main(corpus: str, out: str, *, identity: dict, settings: dict, checkpoint: str) -> None:
    arrays, attributes = translation.train(
        data.read(corpus),
        RunSettings.from_plain(settings),
        Variant(*(identity[name] for name in Variant._fields)),
        seed=identity["seed"],
        checkpoint=checkpoint,
    )
    attributes |= versions.of_libraries()
    store.write(out, arrays, kind=translation.RUN, settings=identity | settings, attributes=attributes)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input.corpus,
            snakemake.output[0],
            identity=RUN.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
