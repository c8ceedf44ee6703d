# Compressed translation: files of corpora, which scales share, so that what decides on one is in the path; files of the
# study, what is asked of them, and what their jobs need.

from tacit.data import own_files as _user_files
from tacit.data import translation_sources as _translation_sources
from tacit.memory import translation as _translation_memory
from tacit.settings import corpora as _corpora
from tacit.settings import translation as _translation

TRANSLATION_DATA = files("results/data/translation", _corpora.PREPARED)
# By source and identity.
TRANSLATION_CORPORA = {}


def translation_dataset(corpus):
    """The file of a corpus of the present settings, which is thereby known."""
    TRANSLATION_CORPORA[corpus.source, corpus.identity] = corpus
    return TRANSLATION_DATA.of(source=corpus.source, corpus=corpus.identity)


def translation_corpus(wildcards):
    """What a corpus depends on; the path must be that of the present settings."""
    return _known_corpus(wildcards).plain()


def translation_text(wildcards):
    """What a user's own files hold, as files that take the place of others may be older than what was made of those."""
    return {str(path): _user_files.digest_of(path) for path in _own_files(_known_corpus(wildcards))}


def translation_prepare_memory(wildcards):
    """Text, words and pieces of the corpus that the path names."""
    corpus = _known_corpus(wildcards)
    return _translation_memory.prepare(corpus, own=_own_bytes(corpus))


def translation_source(wildcards):
    """A user's own files, whose edits make the corpus anew; an error before the first job if files are missing.

    The published archive is no file that Snakemake should watch, as it never changes.
    """
    corpus = _known_corpus(wildcards)
    # One made of own files would be deleted to be made anew of those that are left.
    made = corpus.source != "folder" and Path(TRANSLATION_DATA.of(**wildcards)).exists()
    planned_only = workflow.executor_plugin is None or workflow.dryrun
    if not (made or planned_only) and (complaint := _translation_shortage(corpus)):
        # As in images.paths.smk.
        os.environ[provenance.SHORTAGE_VARIABLE] = complaint
        raise WorkflowError(complaint)
    return [str(path) for path in _own_files(corpus)]


def _own_bytes(corpus):
    """How long a user's own text is."""
    return sum(path.stat().st_size for path in _own_files(corpus))


def _own_files(corpus):
    """Those of a user's own files that are there."""
    own = _translation_sources.own_files(corpus) if corpus.source == "folder" else []
    return [path for path in own if os.path.exists(path)]


def _translation_shortage(corpus):
    if corpus.source == "folder":
        return _translation_sources.own_shortage(corpus)
    return _translation_sources.archive_shortage(TEXTS_FOLDER) if corpus.source == "iwslt14" else None


def _known_corpus(wildcards):
    try:
        return TRANSLATION_CORPORA[wildcards.source, wildcards.corpus]
    except KeyError:
        known = [identity for source, identity in TRANSLATION_CORPORA if source == wildcards.source]
        there = f"it is corpus~{' or corpus~'.join(known)} that" if known else "no corpus"
        raise WorkflowError(
            f"corpus~{wildcards.corpus}: with the present settings {there} is made of {wildcards.source}; change the "
            "settings to get another"
        ) from None


TRANSLATION = f"results/{cfg.scale}/factorized/translation"
TRANSLATION_RUN = files(f"{TRANSLATION}/trained", _translation.RUN)
TRANSLATION_DECODED = files(f"{TRANSLATION}/decoded", _translation.RUN)
TRANSLATION_CORPUS = translation_dataset(cfg.translation.corpus)
TRANSLATION_RUNS = [
    TRANSLATION_DECODED.of(**axes, seed=seed) for axes in cfg.translation.runs for seed in range(cfg.translation.seeds)
]
# Those from which sentences are taken.
TRANSLATION_FIRST = [TRANSLATION_DECODED.of(**axes, seed=0) for axes in cfg.translation.runs]
TRANSLATION_ASKED = [[where, settings] for where, settings in cfg.translation.asked()]
CLAIMS[f"{TRANSLATION}/claims.csv"] = TRANSLATION_ASKED, TRANSLATION_RUNS


def translation_axes(wildcards):
    """The axes of a network, or of its translations."""
    return _translation.RUN.values(wildcards)


def translation_settings(wildcards):
    """What a trained network depends on besides its axes."""
    try:
        return cfg.translation.run(translation_axes(wildcards)).plain()
    except ValueError as error:
        raise WorkflowError(str(error)) from None


def translation_decoded_settings(wildcards):
    """What translations depend on besides their axes."""
    try:
        return cfg.translation.translated(translation_axes(wildcards)).plain()
    except ValueError as error:
        raise WorkflowError(str(error)) from None


def translation_run_asked(wildcards):
    """What is asked of the network that translates."""
    return [[{"initialization": wildcards.initialization}, translation_settings(wildcards)]]


def translation_memory(wildcards):
    """One training."""
    return _translation_memory.train(
        cfg.translation.run(translation_axes(wildcards)),
        gpu=MAY_FIND_A_GPU,
        own_text=_own_bytes(cfg.translation.corpus),
    )


def translation_decode_memory(wildcards):
    """The translations of one network."""
    return _translation_memory.decode(
        cfg.translation.translated(translation_axes(wildcards)),
        gpu=MAY_FIND_A_GPU,
        own_text=_own_bytes(cfg.translation.corpus),
    )
