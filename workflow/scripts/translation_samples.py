"""Write down sentences of the test set, and what networks make of them."""

from tacit import jobs
from tacit.data import translation as data
from tacit.studies import translation_results


def main(runs: str, corpus: str, decoded: list[str], out: str, *, settings: dict) -> None:
    translation_results.write_samples(
        out, runs, data.read(corpus), decoded, number=settings["samples"], scale=settings["scale"]
    )


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input.runs,
            snakemake.input.corpus,
            list(snakemake.input.decoded),
            snakemake.output[0],
            settings=snakemake.params.settings,
        )
