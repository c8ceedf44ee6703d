"""Compute one part of the loss landscape of one residual network: some rows of the plane, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.depth_limit import LANDSCAPE, Landscape, RunSettings
from tacit.settings.images import Images
from tacit.studies import depth_landscapes


def main(run: str, dataset: str | None, out: str, *, identity: dict, settings: dict, own: dict) -> None:
    checked, learned = Landscape.from_plain(settings), RunSettings.from_plain(own)
    data = checked.data or learned.data
    chosen = images.read(dataset, data) if isinstance(data, Images) else None
    arrays, attributes = depth_landscapes.part(run, chosen, learned, checked, part=identity["part"])
    attributes |= versions.of_libraries()
    everything = identity | {"landscape": settings, "run": own}
    store.write(out, arrays, kind=depth_landscapes.PART, settings=everything, attributes=attributes)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input.run,
            snakemake.input.get("images") or None,
            snakemake.output[0],
            identity=LANDSCAPE.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            own=snakemake.params.own,
        )
