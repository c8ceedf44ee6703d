"""Estimate the rank of a target of tensor completion: one target, one file."""

from tacit import jobs, store
from tacit.data import sensing
from tacit.settings.norms import Ranks
from tacit.studies import tensor_completion


def main(dataset: str, out: str, *, settings: dict) -> None:
    observed = store.read(dataset, kind=sensing.DATASET)
    arrays = tensor_completion.estimate_target(observed, Ranks.from_plain(settings["ranks"]))
    everything = {"problem": observed.settings["problem"]} | settings
    store.write(out, arrays, kind=tensor_completion.TARGET, settings=everything)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(snakemake.input[0], snakemake.output[0], settings=snakemake.params.settings)
