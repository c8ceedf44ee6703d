"""Draw a target of low rank and what is observed of it: one problem, one task, one file."""

from tacit import runlog, store
from tacit.studies import rank_dynamics


def main(out: str, *, factorization: str, task: str, settings: dict) -> None:
    problem = rank_dynamics.PROBLEMS[factorization].from_plain(settings)
    arrays = rank_dynamics.observe(problem, task)
    store.write(
        out,
        arrays,
        kind=rank_dynamics.DATASET,
        settings={"factorization": factorization, "task": task, "problem": settings},
    )


if __name__ == "__main__":
    with runlog.to(snakemake.log[0]):
        main(
            snakemake.output[0],
            factorization=snakemake.wildcards.factorization,
            task=snakemake.wildcards.task,
            settings=snakemake.params.settings,
        )
