# Image sets, shared by all studies that learn from images. What a study uses of one is chosen when it is read.

from tacit.memory import images as _images_memory
from tacit.data.image_sources import SOURCES, shortage
from tacit.settings.images import CONVERTED, Images

IMAGES = files("results/data/images", CONVERTED)


def images_dataset(images):
    """The file of the image set that settings ask for."""
    return IMAGES.of(source=images.source, size=images.side)


def images_source(wildcards):
    """No files that Snakemake should watch, but an error before the first job if the published ones are not there."""
    file, asked = IMAGES.of(**wildcards), {"source": wildcards.source, "size": int(wildcards.size)}
    try:
        settings.parse(Images, asked, source_of=lambda path: file)
    except UserError as error:
        raise refusal(error) from None
    made = Path(file).exists()
    planned_only = workflow.executor_plugin is None or workflow.dryrun
    if not (made or planned_only or cfg.download_images):
        if complaint := shortage(SOURCES[wildcards.source], IMAGES_FOLDER):
            # Snakemake takes runs that are there for up to date if what they are made of cannot be; of those that are
            # not, the table that refuses them can tell why they were not made again.
            os.environ[provenance.SHORTAGE_VARIABLE] = complaint
            raise WorkflowError(complaint)
    return []


def images_convert_memory(wildcards):
    """The files of an image set."""
    return _images_memory.convert(wildcards.source, int(wildcards.size))
