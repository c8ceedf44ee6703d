"""Fit one deep matrix factorization: one problem, one setting, one seed, one file."""

from tacit import jobs, store, versions
from tacit.settings.norms import MATRIX, MatrixDescent, Variant
from tacit.settings.observed_matrices import ObservedMatrix
from tacit.studies import matrix_norms


def main(out: str, *, variant: dict, seed: int, settings: dict) -> None:
    arrays = matrix_norms.train(
        ObservedMatrix.from_plain(settings["problem"]),
        Variant.from_plain(variant),
        MatrixDescent.from_plain(settings["descent"]),
        seed=seed,
        digests=settings.get("own_files"),
    )
    everything = {"variant": variant, "seed": seed} | settings
    store.write(out, arrays, kind=matrix_norms.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        identity = MATRIX.values(snakemake.wildcards)
        main(
            snakemake.output[0],
            variant={name: identity[name] for name in Variant.model_fields},
            seed=identity["seed"],
            settings=snakemake.params.settings,
        )
