"""Draw a target of low rank and what is observed of it: one problem, one task, one file."""

from tacit import jobs, store
from tacit.data import sensing
from tacit.settings.factorizations import OBSERVED


def main(out: str, *, factorization: str, task: str, settings: dict) -> None:
    arrays = sensing.make(sensing.PROBLEMS[factorization].from_plain(settings), task)
    everything = {"factorization": factorization, "task": task, "problem": settings}
    store.write(out, arrays, kind=sensing.DATASET, settings=everything)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        identity = OBSERVED.values(snakemake.wildcards)
        main(
            snakemake.output[0],
            factorization=identity["factorization"],
            task=identity["task"],
            settings=snakemake.params.settings,
        )
