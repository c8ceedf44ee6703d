"""Translate the test set by one network: one file."""

from tacit import jobs, runlog, store, versions
from tacit.data import translation as data
from tacit.settings.translation import RUN, TranslatedSettings
from tacit.studies import translation


def main(run: str, corpus: str, out: str, *, identity: dict, settings: dict) -> None:
    text = data.read(corpus)
    progress = runlog.Progress(len(text.test), what="translating", unit="sentence")
    decoding = TranslatedSettings.from_plain(settings).decoding
    arrays, attributes = translation.decode(run, text, decoding, advance=progress.advance)
    progress.close()
    attributes |= versions.of_libraries()
    store.write(out, arrays, kind=translation.TRANSLATED, settings=identity | settings, attributes=attributes)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input.run,
            snakemake.input.corpus,
            snakemake.output[0],
            identity=RUN.values(snakemake.wildcards),
            settings=snakemake.params.settings,
        )
