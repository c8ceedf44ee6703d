"""Train one residual network: one experiment, setting, depth, seed, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.depth_limit import RUN, RunSettings
from tacit.settings.images import Images
from tacit.studies import depth_limit


def main(dataset: str | None, out: str, *, identity: dict, settings: dict, checkpoint: str, threads: int = 1) -> None:
    checked = RunSettings.from_plain(settings)
    chosen = images.read(dataset, checked.data) if isinstance(checked.data, Images) else None
    found = depth_limit.train(chosen, checked, identity=identity, threads=threads, checkpoint=checkpoint)
    attributes = found.attributes | versions.of_libraries()
    store.write(out, found.arrays, kind=depth_limit.RUN, settings=identity | settings, attributes=attributes)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input[0] if snakemake.input else None,
            snakemake.output[0],
            identity=RUN.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            threads=snakemake.threads,
            checkpoint=snakemake.params.checkpoint,
        )
