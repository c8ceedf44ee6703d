"""Draw pairs of training and of test images for Is Same Class."""

from tacit import jobs, store
from tacit.data import images
from tacit.settings.images import Images
from tacit.settings.same_class import Pairs
from tacit.studies import same_class


def main(dataset: str, out: str, *, settings: dict) -> None:
    chosen = images.read(dataset, Images.from_plain(settings["images"]))
    arrays = same_class.pair(chosen, Pairs.from_plain(settings["pairs"]))
    store.write(out, arrays, kind=same_class.PAIRS, settings=settings)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(snakemake.input[0], snakemake.output[0], settings=snakemake.params.settings)
