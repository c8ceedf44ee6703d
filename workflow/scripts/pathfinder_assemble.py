"""Assemble the Pathfinder dataset of one path length from its raw shards."""

from tacit import jobs, store
from tacit.settings.pathfinder import DATASET
from tacit.studies import pathfinder


def main(shards: list[str], out: str, *, path_length: int, settings: dict, rendering: dict) -> None:
    dataset = pathfinder.assemble(pathfinder.read_shards(shards), path_length=path_length, **settings)
    mean, std = pathfinder.pixel_statistics(dataset.train_images)
    store.write(
        out,
        dataset._asdict(),
        kind=pathfinder.DATASET,
        settings={"path_length": path_length} | settings | {"rendering": rendering},
        attributes={"train_mean": mean, "train_std": std},
    )


if __name__ == "__main__":
    with jobs.started(__file__, snakemake, parts=True):
        main(
            list(snakemake.input),
            snakemake.output[0],
            **DATASET.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            rendering=snakemake.params.rendering,
        )
