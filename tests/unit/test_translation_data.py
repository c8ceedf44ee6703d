"""Parallel corpora: a tiny archive in the published format, a user's own files, and what is made by rule."""

import gzip
import io
import os
import re
import subprocess
import sys
import tarfile

import numpy as np
import pytest

import powerless
from tacit import store
from tacit.data import number_words, own_files, translation, translation_sources
from tacit.data.number_words import Sentences, date, money, time_of_day
from tacit.data.translation_sources import ARCHIVE, TEST_SETS, TextSourceError
from tacit.settings.base import SettingsError
from tacit.settings.corpora import SPLITS, ParallelText


def silent(count):
    pass


def begin(pairs):
    return silent


def parse(**values):
    return ParallelText.from_plain({"merges": 20} | values)


# The archive.

TALK = """<url>http://www.ted.com/{k}</url>
<keywords>a, b</keywords>
<talkid>{k}</talkid>
<title>{title}</title>
<description>{description}</description>
"""


class Archive:
    """A set in the format of IWSLT'14: 60 lines of speech, and five test sets of two sentences."""

    def __init__(self, folder):
        self.folder = folder
        german = TALK.format(k=1, title="Ein Titel, kurz", description="Von Dr. Müller.")
        english = TALK.format(k=1, title="A title, short", description="By Dr. Müller.")
        for k in range(58):
            german += f" Das ist Satz {k} & er heißt \u201eSo\u201c. \n"
            english += f"This is sentence {k} & it's called it. \n"
        self.members = {"de-en/train.tags.de-en.de": german, "de-en/train.tags.de-en.en": english}
        for number, one in enumerate(TEST_SETS):
            for language, word, known in (
                ("de", "Geht\u2019s", f"Das ist Satz {number}"),
                ("en", "What\u2019s", f"This is sentence {number}"),
            ):
                text = f'<doc docid="1">\n<title>Not a sentence</title>\n<seg id="1"> {word} NUMBER{number} </seg>'
                self.members[f"de-en/{one}.de-en.{language}.xml"] = f'{text}\n<seg id="2">{known}</seg>\n</doc>\n'
        self.members["de-en/README"] = "none of our business"
        self.odd = {}

    def pack(self):
        self.folder.mkdir(exist_ok=True)
        with tarfile.open(self.folder / ARCHIVE, "w:gz") as tar:
            for name, content in self.members.items():
                data = content if isinstance(content, bytes) else content.encode()
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
            for name, (kind, target) in self.odd.items():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = kind, target
                tar.addfile(entry)

    def read(self, languages=("de", "en")):
        self.pack()
        return translation_sources.read_archive(self.folder, languages)


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "texts")


def test_speech_and_titles_are_read_and_tags_are_not(archive):
    train, test = archive.read()
    assert len(train.source) == len(train.target) == 60
    assert train.source[:2] == ["Ein Titel, kurz", "Von Dr. Müller."]
    assert train.target[:2] == ["A title, short", "By Dr. Müller."]
    assert not any("ted.com" in line or "<" in line for side in train for line in side)
    # In the published order, each with its two sentences; typographic apostrophes are plain.
    assert test.source[::2] == [f"Geht's NUMBER{number}" for number in range(5)]
    assert test.target[1::2] == [f"This is sentence {number}" for number in range(5)]


def test_either_language_may_be_the_source(archive):
    one, other = archive.read(), archive.read(("en", "de"))
    assert [side for pair in one for side in pair] == [side for pair in other for side in pair[::-1]]


@pytest.fixture
def prepared(archive):
    """The corpus of the tiny archive, as the rule makes it."""
    archive.pack()

    def prepare(**values):
        arrays = translation.make(parse(source="iwslt14", **values), texts_folder=archive.folder, begin=begin)
        path = archive.folder / "corpus.h5"
        store.write(path, arrays, kind=translation.DATASET, settings={})
        return translation.read(path)

    return prepare


def test_the_archive_is_cleaned_and_split_as_published(prepared):
    corpus = prepared()
    # 60 lines all fit; every 23rd is for validation.
    assert [len(getattr(corpus, split)) for split in SPLITS] == [58, 2, 10]
    valid = [corpus.source.decode(corpus.valid.source.of(number)) for number in range(2)]
    # The 23rd line is the 21st sentence, after title and description.
    assert valid[0].startswith("das ist satz 20 &amp; er heißt")
    assert valid[1].startswith("das ist satz 43")
    text = [corpus.target.decode(corpus.train.target.of(number)) for number in range(3)]
    assert text == ["a title , short", "by dr. müller .", "this is sentence 0 &amp; it &apos;s called it ."]
    assert corpus.source.decode(corpus.train.source.of(1)) == "von dr. müller ."
    tests = [corpus.target.decode(corpus.test.target.of(number)) for number in range(1, 10, 2)]
    assert tests == [f"this is sentence {number}" for number in range(5)]


def test_case_may_be_kept_and_languages_change_places(prepared):
    kept = prepared(lower_case=False)
    assert kept.target.decode(kept.train.target.of(0)) == "A title , short"
    other = prepared(lower_case=False, source_language="en", target_language="de")
    assert other.source.decode(other.train.source.of(0)) == "A title , short"
    # Both are learned on the same words.
    assert other.segmenter.merges == kept.segmenter.merges


def test_pairs_that_do_not_fit_are_left_out_before_validation_is_taken(archive, prepared):
    for language, line in (("de", "Ja ."), ("en", "Yes , that is how it is .")):
        name = f"de-en/train.tags.de-en.{language}"
        archive.members[name] = f"{line}\n\n" + archive.members[name]
    archive.pack()
    corpus = prepared()
    assert [len(getattr(corpus, split)) for split in SPLITS] == [58, 2, 10]
    assert corpus.source.decode(corpus.valid.source.of(0)).startswith("das ist satz 20")
    assert len(prepared(max_ratio=4.0).train) == 59
    # Title and description alone have six words or less.
    with pytest.raises(TextSourceError, match="IWSLT'14: no valid pair is left of those with 1 to 6 words a side"):
        prepared(max_words=6)


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        ((1, 1), True),
        ((0, 0), False),
        ((0, 1), False),
        ((2, 3), True),
        ((3, 2), True),
        ((3, 5), False),
        ((5, 3), False),
        ((175, 175), True),
        ((176, 175), False),
        ((150, 176), False),
    ],
)
def test_which_pairs_fit(counts, kept):
    source, target = (["w"] * count for count in counts)
    assert translation.fits(source, target, ratio=1.5, most=175) is kept


def test_a_part_is_the_beginning_of_a_random_order(prepared):
    def sentences(**values):
        corpus = prepared(**values)
        return [corpus.target.decode(corpus.train.target.of(number)) for number in range(len(corpus.train))]

    # Without merges any training set knows the letters of these.
    few, more, whole = sentences(num_train=30), sentences(num_train=50), sentences()
    assert (len(few), len(more)) == (30, 50)
    assert set(few) < set(more) < set(whole)
    assert few == [sentence for sentence in whole if sentence in few]
    assert set(sentences(num_train=30, seed=1)) != set(few)
    with pytest.raises(TextSourceError, match=r"num_train = 100: IWSLT'14 has only 58 train pairs"):
        prepared(num_train=100)


def test_a_missing_archive_is_described(tmp_path):
    message = translation_sources.archive_shortage(tmp_path)
    for said in (f"{tmp_path}/{ARCHIVE}: missing", "IWSLT'14", "fbaipublicfiles", "texts_folder"):
        assert said in message
    with pytest.raises(TextSourceError) as error:
        translation.make(parse(source="iwslt14"), texts_folder=tmp_path, begin=begin)
    assert str(error.value) == message
    (tmp_path / ARCHIVE).mkdir()
    assert "is no file but a folder" in translation_sources.archive_shortage(tmp_path)


def test_an_archive_that_may_not_be_read_is_not_called_damaged(archive):
    archive.pack()
    (archive.folder / ARCHIVE).chmod(0)
    with powerless.for_a_while(), pytest.raises(TextSourceError, match="permission denied") as error:
        translation_sources.read_archive(archive.folder, ("de", "en"))
    assert "damaged" not in str(error.value)


def test_every_cut_and_flip_of_an_archive_is_found(archive):
    archive.pack()
    path = archive.folder / ARCHIVE
    whole = path.read_bytes()
    for cut in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(TextSourceError, match="damaged or not the published file"):
            translation_sources.read_archive(archive.folder, ("de", "en"))
    # But for what stands before the content: when, how and under which name it was packed.
    for place in range(len(f"0123456789{ARCHIVE}."), len(whole), 41):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(TextSourceError, match="damaged or not the published file"):
            translation_sources.read_archive(archive.folder, ("de", "en"))
    path.write_bytes(gzip.compress(b"no tar"))
    with pytest.raises(TextSourceError, match="no whole tar archive"):
        translation_sources.read_archive(archive.folder, ("de", "en"))


GERMAN = "de-en/train.tags.de-en.de"
TEST = "de-en/IWSLT14.TED.tst2011.de-en.en.xml"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (GERMAN, None, f"{GERMAN}: not in it"),
        (TEST, None, f"{TEST}: not in it"),
        (GERMAN, "Ein Satz.\n", "the two languages have 1 and 60 lines"),
        (GERMAN, b"Gut\nSchlecht \xff\n", f"{GERMAN}: line 2 is no UTF-8 (byte 0xff)"),
        (GERMAN, "x" * 30_000, f"{GERMAN}: line 1 has 30,000 letters"),
        (TEST, "<title>a</title>", "tst2011.de-en.de.xml and en: have 2 and 0 sentences"),
        (TEST, '<seg id="1">a</seg>\n' * 3, "have 2 and 3 sentences"),
        (TEST, "", "tst2011.de-en.de.xml and en: have 2 and 0 sentences"),
    ],
)
def test_odd_members_are_named(archive, name, content, said):
    if content is None:
        del archive.members[name]
    else:
        archive.members[name] = content
    with pytest.raises(TextSourceError, match=re.escape(said)) as error:
        archive.read()
    assert "damaged or not the published file" in str(error.value)
    assert "Traceback" not in str(error.value)


def test_an_archive_without_speech_is_refused(archive):
    for language in ("de", "en"):
        archive.members[f"de-en/train.tags.de-en.{language}"] = "<url>x</url>\n"
    with pytest.raises(TextSourceError, match="of 1 lines none is speech"):
        archive.read()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_an_archive_are_not_followed(archive, tmp_path, kind):
    (tmp_path / "secret").write_text("a\n" * 60)
    del archive.members[GERMAN]
    archive.odd[GERMAN] = (kind, str(tmp_path / "secret") if kind != tarfile.LNKTYPE else "de-en/README")
    with pytest.raises(TextSourceError, match="is a link, a folder or a device"):
        archive.read()


def test_nothing_of_an_archive_is_written_anywhere(archive, tmp_path):
    archive.members["../outside"] = "x"
    archive.members["/tmp/absolute"] = "x"
    archive.read()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [ARCHIVE]


def test_a_member_that_is_there_twice_is_refused(archive):
    archive.odd["./" + GERMAN] = (tarfile.REGTYPE, "")
    with pytest.raises(TextSourceError, match="is in it twice"):
        archive.read()


# A user's own text.


@pytest.fixture
def own(tmp_path):
    """A folder of a user's own text, and its settings."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for split, count in (("train", 40), ("valid", 4), ("test", 3)):
        (folder / f"{split}.de").write_text("".join(f"Das ist Nummer {k} hier.\n" for k in range(count)))
        (folder / f"{split}.en").write_text("".join(f"This is number {k} here.\n" for k in range(count)))

    def make(**values):
        return translation.make(
            parse(source="folder", folder="mine", **values), texts_folder="nowhere", root=tmp_path, begin=begin
        )

    return folder, make


def read_back(arrays, tmp_path):
    store.write(tmp_path / "corpus.h5", arrays, kind=translation.DATASET, settings={})
    return translation.read(tmp_path / "corpus.h5")


def test_own_text_goes_the_same_way(own, tmp_path):
    corpus = read_back(own[1](), tmp_path)
    assert [len(getattr(corpus, split)) for split in SPLITS] == [40, 4, 3]
    assert corpus.source.decode(corpus.test.source.of(2)) == "das ist nummer 2 hier ."
    assert corpus.target.decode(corpus.valid.target.of(0)) == "this is number 0 here ."
    for split in SPLITS:
        for side in getattr(corpus, split):
            assert side.ids[side.offsets[1:] - 1].tolist() == [2] * len(side)
            assert (side.lengths >= 2).all()
    # And what a new sentence is cut into is known from the file alone.
    pieces = corpus.segmenter(["das", "ist", "nummer", "7", "hier", "."])
    assert 3 not in corpus.source.encode(pieces)


def test_files_may_have_any_name_and_be_in_other_languages(own, tmp_path):
    folder, make = own
    for split in SPLITS:
        (folder / f"{split}.de").rename(folder / f"{split} of mine.txt")
        (folder / f"{split}.en").rename(folder / f"{split}.fr")
    names = {f"{split}_files": [f"{split} of mine.txt", f"{split}.fr"] for split in SPLITS}
    corpus = read_back(make(target_language="fr", **names), tmp_path)
    assert len(corpus.train) == 40


def test_line_ends_and_marks_of_other_systems_are_no_words(own, tmp_path):
    folder, make = own
    plain = make()
    for path in list(folder.iterdir()):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    for name, array in make().items():
        np.testing.assert_array_equal(array, plain[name])


def test_signs_that_other_programs_end_lines_at_do_not(own, tmp_path):
    folder, make = own
    text = (folder / "train.de").read_text().replace("ist", "\u2028ist\x85", 1).replace("hier", "\x0chier", 1)
    (folder / "train.de").write_text(text)
    corpus = read_back(make(), tmp_path)
    assert corpus.source.decode(corpus.train.source.of(0)) == "das ist nummer 0 hier ."


def test_missing_files_are_all_named(own):
    folder, make = own
    for name in ("train.en", "test.de"):
        (folder / name).unlink()
    with pytest.raises(TextSourceError) as error:
        make()
    said = str(error.value)
    assert f"{folder}/train.en: missing" in said
    assert f"{folder}/test.de: missing" in said
    assert "valid" not in said.partition("A corpus is")[0]
    assert "train_files" in said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train.en", b"One line.\n", r"train.de has 40 lines and .*train.en 1, but each line"),
        ("valid.de", b"a\nb\n\xe4\nd\n", r"valid.de: line 3 is no UTF-8 \(byte 0xe4\); write one sentence a line"),
        ("test.de", b"a\n \t\nc\n", r"mine/test.de: line 2 is empty"),
        ("test.de", b"a\n" + b"w " * 5000 + b"\nc\n", r"mine/test.de: line 2 has 5,000 words"),
        ("train.de", b"w" * 50_000, r"train.de: line 1 has 50,000 letters"),
        ("valid.en", b"", r"valid.de has 4 lines and .*valid.en 0"),
    ],
)
def test_what_is_wrong_with_own_text_is_said_with_file_and_line(own, name, content, said):
    folder, make = own
    (folder / name).write_bytes(content)
    with pytest.raises(TextSourceError, match=said):
        make()


def test_empty_files_are_refused(own):
    folder, make = own
    for name in ("valid.de", "valid.en"):
        (folder / name).write_bytes(b"")
    with pytest.raises(TextSourceError, match="are empty"):
        make()


def test_training_lines_that_do_not_fit_are_left_out_and_not_all_may_be(own, tmp_path):
    folder, make = own
    for name in ("train.de", "train.en"):
        (folder / name).write_text((folder / name).read_text() + "\n" + "w " * 500 + "\n")
    assert len(read_back(make(), tmp_path).train) == 40
    with pytest.raises(
        TextSourceError, match="the text in mine: no train pair is left of those with 1 to 2 words a side"
    ):
        make(max_words=2)


def test_a_folder_in_place_of_a_file_and_one_that_may_not_be_read(own):
    folder, make = own
    (folder / "train.de").chmod(0)
    (folder / "test.en").unlink()
    (folder / "test.en").mkdir()
    with powerless.for_a_while(), pytest.raises(TextSourceError) as error:
        make()
    assert "train.de: cannot be read: permission denied" in str(error.value)
    assert "test.en: is no file but a folder" in str(error.value)


# What is made by rule.


@pytest.fixture(scope="module")
def made():
    return number_words.make({"train": 3000, "valid": 200, "test": 200}, seed=0, advance=silent)


def test_no_sentence_of_a_split_is_in_another(made):
    for side in (0, 1):
        texts = [{sentence[side] for sentence in made[split]} for split in SPLITS]
        assert [len(text) for text in texts] == [3000, 200, 200]
        assert len(set.union(*texts)) == 3400


def test_fewer_are_the_first_of_many_and_seeds_differ(made):
    fewer = number_words.make({"train": 100, "valid": 200, "test": 200}, seed=0, advance=silent)
    assert fewer["train"] == made["train"][:100]
    assert fewer["test"] == made["test"]
    other = number_words.make({"train": 100, "valid": 200, "test": 200}, seed=1, advance=silent)
    assert not set(other["test"]) >= set(made["test"])


PROGRAM = """
import hashlib
from tacit.data import translation
from tacit.settings.corpora import ParallelText
corpus = ParallelText(source="numbers", merges=100, num_train=300, num_valid=20, num_test=20)
arrays = translation.make(corpus, texts_folder="", begin=lambda pairs: lambda count: None)
print(hashlib.sha256(b"".join(name.encode() + array.tobytes() for name, array in arrays.items())).hexdigest())
"""


def test_a_corpus_is_the_same_in_every_process():
    said = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            check=True,
            timeout=100,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_too_many_are_refused_and_not_tried_for_ever(monkeypatch):
    monkeypatch.setattr(number_words, "_KINDS", (lambda generator: Sentences("eins", "one"),))
    with pytest.raises(ValueError, match="num_test = 2: only 1 sentences could be made"):
        number_words.make({"train": 1, "valid": 1, "test": 2}, seed=0, advance=silent)


def test_neither_side_of_a_sentence_comes_again(monkeypatch):
    drawn = iter([("eins", "one"), ("eins", "a"), ("zwei", "one"), ("zwei", "two")])
    monkeypatch.setattr(number_words, "_KINDS", (lambda generator: Sentences(*next(drawn)),))
    made = number_words.make({"train": 0, "valid": 1, "test": 1}, seed=0, advance=silent)
    assert made == {"test": [("eins", "one")], "valid": [("zwei", "two")], "train": []}


@pytest.mark.parametrize(
    ("said", "german", "english"),
    [
        (time_of_day(2, 30), "halb drei", "half past two"),
        (time_of_day(12, 30), "halb eins", "half past twelve"),
        (time_of_day(2, 25), "fünf vor halb drei", "twenty-five past two"),
        (time_of_day(2, 35), "fünf nach halb drei", "twenty-five to three"),
        (time_of_day(4, 15), "viertel nach vier", "quarter past four"),
        (time_of_day(12, 45), "viertel vor eins", "quarter to one"),
        (time_of_day(1, 0), "ein uhr", "one o'clock"),
        (time_of_day(11, 55), "fünf vor zwölf", "five to twelve"),
        (time_of_day(7, 20), "zwanzig nach sieben", "twenty past seven"),
        (date(3, 5), "dritte mai", "the third of may"),
        (date(21, 3, "n"), "einundzwanzigsten märz", "the twenty-first of march"),
        (money(1, 21), "ein euro und einundzwanzig cent", "one euro and twenty-one cents"),
        (money(20, 1), "zwanzig euro und ein cent", "twenty euros and one cent"),
        (number_words.cardinal(1021), "eintausendeinundzwanzig", "one thousand and twenty-one"),
        (
            number_words.cardinal(1321),
            "eintausenddreihunderteinundzwanzig",
            "one thousand , three hundred and twenty-one",
        ),
    ],
)
def test_times_dates_and_sums_are_said_as_people_say_them(said, german, english):
    assert said == (german, english)


def test_every_time_of_day_is_its_own():
    times = [time_of_day(hour, minute) for hour in range(1, 13) for minute in range(0, 60, 5)]
    assert len({said.german for said in times}) == len({said.english for said in times}) == 144


def test_the_english_of_a_sentence_follows_from_its_german(made):
    english = {}
    for split in SPLITS:
        for sentence in made[split]:
            assert english.setdefault(sentence.german, sentence.english) == sentence.english
    # Number words are one word in German, and there are many that occur once.
    german = {word for sentence in made["train"] for word in sentence.german.split()}
    unseen = {word for sentence in made["test"] for word in sentence.german.split()} - german
    assert len(unseen) > 20


def test_what_is_made_is_cut_and_known(tmp_path, made):
    settings = parse(source="numbers", merges=200, num_train=800, num_valid=50, num_test=50)
    arrays = translation.make(settings, texts_folder="nowhere", begin=begin)
    corpus = read_back(arrays, tmp_path)
    assert [len(getattr(corpus, split)) for split in SPLITS] == [800, 50, 50]
    # Words that training never had are put together of its pieces.
    assert (corpus.test.source.ids != 3).mean() > 0.99
    assert (corpus.test.target.ids != 3).mean() > 0.99
    first = number_words.make(settings.sizes, seed=0, advance=silent)["test"][0]
    assert corpus.source.decode(corpus.test.source.of(0)) == first.german
    assert corpus.target.decode(corpus.test.target.of(0)) == first.english


# Files and settings.


def test_progress_hears_of_all_pairs_and_of_no_more(own, archive, tmp_path):
    archive.pack()
    for settings, expected in (
        (parse(source="folder", folder="mine"), 47),
        (parse(source="iwslt14"), 70),
        (parse(source="numbers", num_train=20, num_valid=3, num_test=4), 27),
    ):
        announced, heard = [], []

        def noting(pairs, announced=announced, heard=heard):
            announced.append(pairs)
            return heard.append

        translation.make(settings, texts_folder=archive.folder, root=tmp_path, begin=noting)
        assert announced == [expected]
        assert sum(heard) == expected


def test_the_file_says_which_corpus_it_is_and_damage_is_found(own, tmp_path):
    _, make = own
    path = tmp_path / "corpus.h5"
    read_back(make(), tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(store.StoreError, match="damaged"):
        translation.read(path)
    with pytest.raises(store.StoreError, match="no such file"):
        translation.read(tmp_path / "none.h5")


def test_sides_of_different_numbers_of_sentences_are_never_written(own, tmp_path):
    arrays = own[1]()
    arrays["test_target_offsets"] = arrays["test_target_offsets"][:-1]
    with pytest.raises(store.StoreError, match="test_target_offsets has the shape"):
        store.write(tmp_path / "corpus.h5", arrays, kind=translation.DATASET, settings={})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"source": "iwslt"}, "source"),
        ({"source": "folder"}, "source: folder needs a folder"),
        ({"source": "iwslt14", "folder": "x"}, "folder .*means nothing with source: iwslt14"),
        ({"source": "numbers", "train_files": ["a", "b"]}, "train_files .*means nothing"),
        ({"source": "numbers", "max_ratio": 2.0}, "max_ratio = 2.0 means nothing for what is made by rule"),
        ({"source": "numbers", "source_language": "fr"}, "in German and English"),
        ({"source": "iwslt14", "source_language": "en"}, "are both en"),
        ({"source": "iwslt14", "num_test": 6751}, "has only 6,750"),
        ({"source": "iwslt14", "seed": 1}, "seed = 1 means nothing where all pairs are kept"),
        ({"source": "numbers", "num_train": 1_000_000}, "at most 100,000 together"),
        ({"source": "numbers", "merges": -1}, "merges"),
        ({"source": "numbers", "merges": "many"}, "merges"),
        ({"source": "folder", "folder": "a; rm"}, "folder"),
        ({"source": "folder", "folder": "x", "train_files": ["../../etc/passwd", "b"]}, "name of a file in the folder"),
        ({"source": "folder", "folder": "x", "train_files": ["/etc/passwd", "b"]}, "name of a file in the folder"),
        ({"source": "folder", "folder": "x", "train_files": ["a", "a"]}, "a file is named twice"),
        ({"source": "folder", "folder": "x", "train_files": ["test.de", "a"]}, "a file is named twice"),
        ({"source": "folder", "folder": "x", "train_files": ["a"]}, "train_files"),
        ({"source": "folder", "folder": "x", "target_language": "English"}, "target_language"),
        ({"source": "folder", "folder": "x", "max_ratio": 0.5}, "max_ratio"),
        ({"source": "numbers", "vocabulary": 3}, "vocabulary: unknown key"),
    ],
)
def test_wrong_settings_are_refused(values, said):
    with pytest.raises(SettingsError, match=said):
        parse(**values)


def test_settings_that_mean_the_same_have_one_identity():
    assert parse(source="iwslt14").identity == parse(source="iwslt14", max_ratio=1.5, max_words=175).identity
    assert parse(source="numbers").identity == parse(source="numbers", num_train=4000).identity
    named = parse(source="folder", folder="x", train_files=["train.de", "train.en"])
    assert parse(source="folder", folder="x").identity == named.identity
    different = [
        parse(source="iwslt14"),
        parse(source="iwslt14", merges=21),
        parse(source="iwslt14", lower_case=False),
        parse(source="iwslt14", num_train=100),
        parse(source="iwslt14", num_train=100, seed=1),
        parse(source="iwslt14", source_language="en", target_language="de"),
        parse(source="numbers"),
        parse(source="numbers", seed=1),
        parse(source="folder", folder="x"),
        parse(source="folder", folder="y"),
    ]
    assert len({one.identity for one in different}) == len(different)


def test_planning_needs_neither_torch_nor_what_cuts_words():
    program = "import sys, tacit.settings.corpora, tacit.data.translation_sources, tacit.memory.translation\n"
    program += "print([name for name in ('torch', 'tokenizers', 'sacremoses', 'num2words') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60, text=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"source": "iwslt14"}, "iwslt14"),
        ({"source": "numbers", "source_language": "en", "target_language": "de"}, "numbers-en-de"),
        ({"source": "folder", "folder": "my/letters"}, "my-letters-de-en"),
        ({"source": "folder", "folder": "~/letters", "source_language": "fr"}, "letters-fr-en"),
    ],
)
def test_results_are_told_apart_by_the_name_of_their_text(values, name):
    assert parse(**values).name == name


def test_lines_that_end_in_carriage_returns_alone_are_no_sentence():
    assert translation_sources.lines_in(b"a\r\nb\r\n", "x") == ["a", "b"]
    with pytest.raises(TextSourceError, match="x: line 1 has a carriage return inside"):
        translation_sources.lines_in(b"a\rb\rc\n", "x")


def test_a_digest_is_of_the_content(tmp_path):
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_text("a")
    other.write_text("a")
    assert own_files.digest_of(one) == own_files.digest_of(other) != ""
    other.write_text("b")
    assert own_files.digest_of(one) != own_files.digest_of(other)
    assert own_files.digest_of(tmp_path / "none") == ""
