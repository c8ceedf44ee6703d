"""Fit one factorization: one target, one task, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import sensing
from tacit.studies import rank_dynamics


def main(dataset: str, out: str, *, factorization: str, task: str, seed: int, settings: dict, checkpoint: str) -> None:
    history = rank_dynamics.train(
        store.read(dataset, kind=sensing.DATASET),
        rank_dynamics.EXPERIMENTS[factorization].from_plain(settings),
        seed=seed,
        checkpoint=checkpoint,
    )
    everything = {"factorization": factorization, "task": task, "seed": seed} | settings
    store.write(out, history, kind=rank_dynamics.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input[0],
            snakemake.output[0],
            factorization=snakemake.wildcards.factorization,
            task=snakemake.wildcards.task,
            seed=int(snakemake.wildcards.seed),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
