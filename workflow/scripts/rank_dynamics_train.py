"""Fit one factorization: one target, one task, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import sensing
from tacit.settings.rank_dynamics import RUN
from tacit.studies import rank_dynamics


def main(dataset: str, out: str, *, identity: dict, settings: dict, checkpoint: str) -> None:
    history = rank_dynamics.train(
        store.read(dataset, kind=sensing.DATASET),
        rank_dynamics.EXPERIMENTS[identity["factorization"]].from_plain(settings),
        seed=identity["seed"],
        checkpoint=checkpoint,
    )
    everything = identity | settings
    store.write(out, history, kind=rank_dynamics.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input[0],
            snakemake.output[0],
            identity=RUN.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
