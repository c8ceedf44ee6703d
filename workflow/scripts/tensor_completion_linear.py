"""Complete one tensor linearly: one target, one number of observations, one file."""

from tacit import jobs, store
from tacit.data import sensing
from tacit.settings.norms import LINEAR, Ranks
from tacit.studies import tensor_completion


def main(dataset: str, out: str, *, num_observations: int, settings: dict) -> None:
    observed = store.read(dataset, kind=sensing.DATASET)
    ranks = Ranks.from_plain(settings["ranks"])
    arrays = tensor_completion.complete_linearly(observed, ranks, num_observations=num_observations)
    everything = {"num_observations": num_observations, "problem": observed.settings["problem"]} | settings
    store.write(out, arrays, kind=tensor_completion.LINEAR, settings=everything)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input[0],
            snakemake.output[0],
            num_observations=LINEAR.values(snakemake.wildcards)["num_observations"],
            settings=snakemake.params.settings,
        )
