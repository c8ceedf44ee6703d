"""Run power iteration: one gap, one seed, one file."""

from tacit import jobs, store, versions
from tacit.settings.power import RUN, RunSettings
from tacit.studies import power


def main(out: str, *, identity: dict, settings: dict) -> None:
    arrays = power.iterate(RunSettings.from_plain(settings), **identity)
    store.write(out, arrays, kind=power.RUN, settings=identity | settings, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.output[0],
            identity=RUN.values(snakemake.wildcards),
            settings=snakemake.params.settings,
        )
