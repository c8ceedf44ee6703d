"""Read a published image set into one file of bytes and labels."""

import os

from tacit import jobs, runlog, store
from tacit.data import images
from tacit.settings.images import CONVERTED


def main(out: str, *, source: str, size: int, folder: str, download: bool) -> None:
    published = images.SOURCES[source]
    progress = runlog.Progress(published.num_train + published.num_test, what="reading", unit="image")
    arrays = images.convert(published, folder=folder, size=size, download=download, advance=progress.advance)
    progress.close()
    store.write(out, arrays._asdict(), kind=images.DATASET, settings={"source": source, "size": size})


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            snakemake.output[0],
            **CONVERTED.values(snakemake.wildcards),
            folder=os.environ["TACIT_IMAGES_FOLDER"],
            download=os.environ["TACIT_DOWNLOAD_IMAGES"] == "True",
        )
