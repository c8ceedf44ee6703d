"""Complete one tensor by a factorization: one setting, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import sensing
from tacit.settings.factorizations import Descent
from tacit.settings.norms import Ranks
from tacit.studies import tensor_completion


def main(
    dataset: str, out: str, *, num_observations: int, init_std: float, seed: int, settings: dict, checkpoint: str
) -> None:
    observed = store.read(dataset, kind=sensing.DATASET)
    arrays = tensor_completion.train(
        observed,
        Descent.from_plain(settings["descent"]),
        Ranks.from_plain(settings["ranks"]),
        num_observations=num_observations,
        init_std=init_std,
        seed=seed,
        checkpoint=checkpoint,
    )
    everything = {"num_observations": num_observations, "init_std": init_std, "seed": seed} | settings
    everything["problem"] = observed.settings["problem"]
    store.write(out, arrays, kind=tensor_completion.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input[0],
            snakemake.output[0],
            num_observations=int(snakemake.wildcards.num_observations),
            init_std=float(snakemake.wildcards.init_std),
            seed=int(snakemake.wildcards.seed),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
