"""Render raw Pathfinder images of one path length: one shard, one file."""

from tacit import runlog, store
from tacit.settings.pathfinder import Rendering
from tacit.studies import pathfinder


def main(out: str, *, path_length: int, first: int, last: int, settings: dict) -> None:
    progress = runlog.Progress(last - first + 1, what="rendering", unit="image")
    images = pathfinder.render(
        Rendering.from_plain(settings["rendering"]),
        path_length=path_length,
        seed=settings["seed"],
        first=first,
        last=last + 1,
        advance=progress.advance,
    )
    everything = {"path_length": path_length, "first": first, "last": last} | settings
    store.write(out, images._asdict(), kind=pathfinder.RAW, settings=everything)


if __name__ == "__main__":
    with runlog.to(snakemake.log[0]):
        main(
            snakemake.output[0],
            path_length=int(snakemake.wildcards.path_length),
            first=int(snakemake.wildcards.first),
            last=int(snakemake.wildcards.last),
            settings=snakemake.params.settings,
        )
