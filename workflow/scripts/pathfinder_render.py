"""Render raw Pathfinder images of one path length: one shard, one file."""

from tacit import jobs, runlog, store
from tacit.data.pathfinder import Renderer
from tacit.errors import UserError
from tacit.settings.pathfinder import Rendering
from tacit.studies import pathfinder


def main(out: str, *, path_length: int, first: int, last: int, settings: dict) -> None:
    if last < first:
        raise UserError(f"images~{first}-{last}: the last image would come before the first")
    renderer = Renderer(Rendering.from_plain(settings["rendering"]), path_length)
    progress = runlog.Progress(last - first + 1, what="rendering", unit="image")
    images = renderer.render(settings["seed"], first, last + 1, advance=progress.advance)
    everything = {"path_length": path_length, "images": f"{first}-{last}"} | settings
    store.write(out, images._asdict(), kind=pathfinder.RAW, settings=everything)


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.output[0],
            path_length=int(snakemake.wildcards.path_length),
            first=int(snakemake.wildcards.first),
            last=int(snakemake.wildcards.last),
            settings=snakemake.params.settings,
        )
