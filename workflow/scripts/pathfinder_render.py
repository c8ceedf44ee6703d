"""Render raw Pathfinder images of one path length: one shard, one file."""

from tacit import jobs, runlog, store
from tacit.data.pathfinder import Renderer
from tacit.errors import UserError
from tacit.settings.pathfinder import RAW, Rendering
from tacit.studies import pathfinder


def main(out: str, *, identity: dict, settings: dict) -> None:
    first, last = map(int, identity["images"].split("-"))
    if last < first:
        raise UserError(f"images~{first}-{last}: the last image would come before the first")
    renderer = Renderer(Rendering.from_plain(settings["rendering"]), identity["path_length"])
    progress = runlog.Progress(last - first + 1, what="rendering", unit="image")
    images = renderer.render(settings["seed"], first, last + 1, advance=progress.advance)
    store.write(out, images._asdict(), kind=pathfinder.RAW, settings=identity | settings)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.output[0],
            identity=RAW.values(snakemake.wildcards),
            settings=snakemake.params.settings,
        )
