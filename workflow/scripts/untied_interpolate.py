"""Follow paths between two networks at the end of their training, or at other epochs: one pair, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.untied import PATHS, InterpolationSettings, Solution
from tacit.studies import untied


def main(
    dataset: str, runs: dict[str, str], out: str, *, identity: dict, epochs: dict, settings: dict, checkpoint: str
) -> None:
    checked = InterpolationSettings.from_plain(settings)
    ends = {}
    for end, path in runs.items():
        solution = Solution.named(identity[end])
        last = epochs["scratch" if solution.split is None else "continued"]
        epoch = last if solution.epoch is None else solution.epoch
        ends[end] = untied.End(path, solution.network, epoch)
    arrays = untied.interpolate(
        images.read(dataset, checked.images), **ends, settings=checked, seed=identity["seed"], checkpoint=checkpoint
    )
    everything = identity | {"ends": {end: untied.settings_of(path) for end, path in runs.items()}} | settings
    store.write(out, arrays, kind=untied.INTERPOLATION, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input.images,
            {"origin": snakemake.input.origin, "target": snakemake.input.target},
            snakemake.output[0],
            identity=PATHS.values(snakemake.wildcards),
            epochs=snakemake.params.epochs,
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
