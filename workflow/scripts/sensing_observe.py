"""Draw a target of low rank and what is observed of it: one problem, one task, one file."""

from tacit import jobs, store
from tacit.data import sensing


def main(out: str, *, factorization: str, task: str, settings: dict) -> None:
    problem = sensing.PROBLEMS[factorization].from_plain(settings)
    arrays = sensing.make(problem, task)
    store.write(
        out,
        arrays,
        kind=sensing.DATASET,
        settings={"factorization": factorization, "task": task, "problem": settings},
    )


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.output[0],
            factorization=snakemake.wildcards.factorization,
            task=snakemake.wildcards.task,
            settings=snakemake.params.settings,
        )
