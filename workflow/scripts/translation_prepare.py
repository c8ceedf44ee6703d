"""Read or make parallel text, and bring it into one file of token ids."""

import contextlib
import os

from tacit import jobs, runlog, store
from tacit.data import translation
from tacit.settings.corpora import ParallelText


def main(out: str, *, settings: dict, texts_folder: str) -> None:
    corpus = ParallelText.from_plain(settings)
    with contextlib.ExitStack() as stack:

        def begin(pairs: int):
            progress = runlog.Progress(pairs, what="reading", unit="pair")
            stack.callback(progress.close)
            return progress.advance

        arrays = translation.make(corpus, texts_folder=texts_folder, begin=begin)
    store.write(out, arrays, kind=translation.DATASET, settings=corpus.decided)


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.output[0],
            settings=snakemake.params.settings,
            texts_folder=os.environ["TACIT_TEXTS_FOLDER"],
        )
