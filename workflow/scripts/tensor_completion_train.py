"""Complete one tensor by a factorization: one setting, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import sensing
from tacit.settings.norms import TENSOR, TensorRun
from tacit.studies import tensor_completion


def main(dataset: str, out: str, *, identity: dict, settings: dict, checkpoint: str) -> None:
    observed = store.read(dataset, kind=sensing.DATASET)
    identity = {name: value for name, value in identity.items() if name != "problem"}
    own = TensorRun.from_plain(settings)
    arrays = tensor_completion.train(observed, own, **identity, checkpoint=checkpoint)
    everything = identity | settings | {"problem": observed.settings["problem"]}
    store.write(out, arrays, kind=tensor_completion.RUN, settings=everything, attributes=versions.of_libraries())


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.input[0],
            snakemake.output[0],
            identity=TENSOR.values(snakemake.wildcards),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
