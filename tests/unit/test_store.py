import contextlib
import errno
import fcntl
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pandas as pd
import pytest

import peak
import powerless
from tacit import files, store

KIND = store.Kind(
    "test run",
    {
        "loss": store.Array("float64", "epochs"),
        "images": store.Array("uint8", "images side side"),
        "rank": store.Array("int", optional=True),
        "none": store.Array("float", "0 *", optional=True),
        "weights_*": store.Array("float", "...", finite=False),
    },
    attributes=("mean",),
)
ANY = store.Kind("test run", {"*": store.Array("float int", "...")})
ARRAYS = {"loss": np.linspace(1, 0, 7), "images": np.arange(60_000, dtype=np.uint8).reshape(6, 100, 100)}
SETTINGS = {"seed": 3, "rate": 0.1, "sizes": [1, 2], "name": "x"}


def write(path):
    store.write(path, ARRAYS, kind=KIND, settings=SETTINGS, attributes={"mean": 0.25})


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "deep" / "run.h5")
    record = store.read(tmp_path / "deep" / "run.h5", kind=KIND)
    assert record.settings == SETTINGS
    assert record.attributes == {"mean": 0.25}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(record.arrays[name], array)
        assert record.arrays[name].dtype == array.dtype
    assert list(store.read(tmp_path / "deep" / "run.h5", kind=KIND, names=["loss"]).arrays) == ["loss"]


def test_writing_again_gives_the_same_bytes(tmp_path):
    write(tmp_path / "a.h5")
    write(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_file_opens_with_h5py_alone(tmp_path):
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["loss"][()], ARRAYS["loss"])
        assert file.attrs["format"] == "tacit"


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, keep):
    path = tmp_path / "run.h5"
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(store.StoreError, match=r"run\.h5: damaged.*delete it"):
        store.read(path, kind=KIND)


def forged(path, change):
    """Change a file as its author could: with a digest that is right."""
    with h5py.File(path, "a") as file:
        change(file)
    content = path.read_bytes()
    digest = hashlib.blake2b(content[512:], digest_size=32).hexdigest().encode()
    path.write_bytes((store._MAGIC + digest + b"\n").ljust(512, b"\0") + content[512:])


def test_a_flipped_bit_anywhere_is_noticed(tmp_path):
    path = tmp_path / "run.h5"
    write(path)
    content = path.read_bytes()
    places = random.Random(0)
    for place in [*range(0, 512, 37), *(places.randrange(len(content)) for _ in range(150))]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << places.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(
            store.StoreError, match=r"run\.h5: (damaged|an HDF5 file, but not one of Tacit's).*elete it"
        ):
            store.read(path, kind=KIND, names=["loss"])


def test_arrays_have_checksums_of_their_own_for_other_programs(tmp_path):
    write(tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5") as file:
        assert all(file[name].fletcher32 for name in ARRAYS)
    content = bytearray((tmp_path / "run.h5").read_bytes())
    place = content.index(ARRAYS["loss"].tobytes())
    content[place + 9] ^= 1
    (tmp_path / "run.h5").write_bytes(content)
    with h5py.File(tmp_path / "run.h5") as file, pytest.raises(OSError, match=r"fletcher32|filter"):
        file["loss"][()]


def replace(name, value, **options):
    def change(file):
        del file[name]
        if value is not None:
            file.create_dataset(name, data=value, **options)

    return change


def virtual(file):
    del file["loss"]
    layout = h5py.VirtualLayout((7,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (7,))
    file.create_virtual_dataset("loss", layout)


def external(file):
    del file["loss"]
    file.create_dataset("loss", shape=(7,), dtype="f8", external=[("/etc/passwd", 0, 56)])


def link(target):
    def change(file):
        del file["loss"]
        file["loss"] = target

    return change


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


FORGED = {
    "external link": (link(h5py.ExternalLink("other.h5", "x")), "loss is a link to elsewhere"),
    "soft link": (link(h5py.SoftLink("/images")), "loss is a link to elsewhere"),
    "virtual": (virtual, "loss lies in another file"),
    "external storage": (external, "loss lies in another file"),
    "group": (lambda file: (file.__delitem__("loss"), file.create_group("loss")), "loss is no array"),
    "missing": (replace("loss", None), "loss is missing"),
    "undeclared": (lambda file: file.create_dataset("extra", data=[1.0]), "there is extra, which none has"),
    "type": (replace("loss", np.arange(7)), "loss is int64, not float64"),
    "text": (replace("loss", np.array([b"a"] * 7)), "loss is bytes8, not float64"),
    "objects": (replace("loss", ["a"] * 7), "loss is object, not float64"),
    "byte order": (replace("loss", np.zeros(7, ">f8")), "loss is float64, not float64|loss is .*float64"),
    "axes": (replace("loss", np.zeros((7, 1))), r"loss has the shape \(7 x 1\), not \(epochs\)"),
    "lengths": (replace("images", np.zeros((2, 3, 4), "u1")), r"images has the shape \(2 x 3 x 4\)"),
    "not a number": (replace("loss", np.full(7, np.nan)), "loss is not finite"),
    "infinite": (replace("loss", np.array([0.0, -np.inf])), "loss is not finite"),
    "packed otherwise": (replace("loss", np.zeros(7), compression="lzf"), "packed in a way"),
    "empty space": (replace("loss", h5py.Empty("f8")), "loss has no shape"),
    "attribute missing": (lambda file: file.attrs.__delitem__("mean"), "attribute mean is None, not a number"),
    "attribute infinite": (attribute("mean", np.inf), "attribute mean is inf, not a number"),
    "attribute array": (attribute("mean", np.zeros(5)), "attribute mean is no number and no text"),
    "settings": (attribute("settings", "{not JSON"), "damaged"),
    "no settings": (lambda file: file.attrs.__delitem__("settings"), "not one of Tacit's"),
    "version": (attribute("format_version", "x"), "format x"),
}


@pytest.mark.parametrize("what", FORGED)
def test_what_is_not_declared_is_refused_and_never_followed(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    with h5py.File("other.h5", "w") as file:
        file["x"] = np.zeros(7)
    write(tmp_path / "run.h5")
    change, words = FORGED[what]
    forged(tmp_path / "run.h5", change)
    with pytest.raises(store.StoreError, match=rf"run\.h5: .*({words})"):
        store.read(tmp_path / "run.h5", kind=KIND)


@pytest.mark.parametrize("chunks", [None, (1 << 20,)])
def test_an_array_that_the_file_has_no_room_for_is_refused_before_room_is_made(tmp_path, chunks):
    """2 GiB of zeros in a few kB, or 2 TiB of nothing at all."""
    write(tmp_path / "run.h5")

    def trap(file):
        del file["loss"]
        if chunks is None:
            file.create_dataset("loss", shape=(1 << 38,), dtype="f8", chunks=(1 << 20,), compression="gzip")
        else:
            made = file.create_dataset("loss", shape=(1 << 28,), dtype="f8", chunks=chunks, compression="gzip")
            made[: 1 << 20] = 0

    forged(tmp_path / "run.h5", trap)
    peak.reset()
    before = peak.megabytes()
    with pytest.raises(store.StoreError, match=r"loss says that it has .* bytes, which the file has no room for"):
        store.read(tmp_path / "run.h5", kind=KIND)
    assert peak.megabytes() - before < 200


def test_what_is_not_declared_is_not_written_either(tmp_path):
    for arrays, words in (
        (ARRAYS | {"loss": np.array([np.nan])}, "loss is not finite"),
        ({"loss": ARRAYS["loss"]}, "images is missing"),
        (ARRAYS | {"extra": np.zeros(1)}, "there is extra"),
    ):
        with pytest.raises(store.StoreError, match=rf"run\.h5: not written, as it would be no test run: {words}"):
            store.write(tmp_path / "run.h5", arrays, kind=KIND, settings={}, attributes={"mean": 1})
    assert list(tmp_path.iterdir()) == []


def test_scalars_and_empty_arrays_come_back(tmp_path):
    extra = {"rank": np.array(3), "none": np.zeros((0, 4)), "weights_0": np.float32(np.inf) * np.ones((2, 3), "f4")}
    store.write(tmp_path / "run.h5", ARRAYS | extra, kind=KIND, settings={}, attributes={"mean": 1})
    back = store.read(tmp_path / "run.h5", kind=KIND).arrays
    for name, array in extra.items():
        np.testing.assert_array_equal(back[name], array, strict=True)


# The machine's state.


@contextlib.contextmanager
def locked(path):
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_a_file_that_another_program_writes_is_left_alone(tmp_path, monkeypatch):
    write(tmp_path / "run.h5")
    with locked(tmp_path / "run.h5"):
        with pytest.raises(
            store.StoreError, match=r"another program has it open.*HDF5_USE_FILE_LOCKING=FALSE"
        ) as caught:
            store.read(tmp_path / "run.h5", kind=KIND)
        assert "elete" not in str(caught.value)
        monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "FALSE")
        assert store.read(tmp_path / "run.h5", kind=KIND).settings == SETTINGS


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_needs_none(tmp_path, monkeypatch, number):
    write(tmp_path / "run.h5")

    def no_locks(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert store.read(tmp_path / "run.h5", kind=KIND).settings == SETTINGS


STATES = {
    "EACCES": "permission denied",
    "ENOMEM": "not enough memory",
    "EMFILE": "ulimit -n",
    "ENFILE": "fs.file-max",
    "EIO": "dmesg",
    "ENAMETOOLONG": "the name is longer",
    "ESTALE": "stale file handle",
    "ETIMEDOUT": "does not answer",
    "ELOOP": "symbolic links",
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("call", ["open", "preadv"])
def test_a_file_that_cannot_be_read_now_is_not_called_damaged(tmp_path, monkeypatch, name, call):
    write(tmp_path / "run.h5")
    store.write_table(tmp_path / "t.csv", pd.DataFrame({"a": [1]}))
    number = getattr(errno, name)

    def fails(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fails)
    for read, path in (
        (lambda path: store.read(path, kind=KIND), tmp_path / "run.h5"),
        (lambda path: store.read_table(path, expected=store.Table(keys=())), tmp_path / "t.csv"),
    ):
        with pytest.raises(store.StoreError, match=rf"{path.name}: could not be read now: .*{STATES[name]}") as caught:
            read(path)
        assert "amaged" not in str(caught.value) and "elete" not in str(caught.value)


def test_a_disk_that_fails_in_the_middle_is_not_called_damage(tmp_path, monkeypatch):
    """At each read in turn, also once the digest was found right and it is the HDF5 library that reads."""
    write(tmp_path / "run.h5")
    preadv, calls = os.preadv, []

    def fails(*arguments):
        calls.append(1)
        if len(calls) > allowed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(*arguments)

    monkeypatch.setattr(os, "preadv", fails)
    allowed = 1000
    store.read(tmp_path / "run.h5", kind=KIND)
    needed = len(calls)
    assert needed > 10
    for number in range(needed):
        allowed = number
        calls.clear()
        with pytest.raises(store.StoreError, match="could not be read now: the disk or its connection failed"):
            store.read(tmp_path / "run.h5", kind=KIND)


def test_permissions_are_said_as_such(tmp_path):
    write(tmp_path / "run.h5")
    (tmp_path / "run.h5").chmod(0)
    tmp_path.chmod(0o555)
    code = powerless.STATEMENTS + textwrap.dedent(
        """
        import sys
        from tacit import store
        kind = store.Kind("test run", {"x": store.Array("float64", "n")})
        for action in (
            lambda: store.read(sys.argv[1], kind=kind),
            lambda: store.write(sys.argv[1], {"x": [1.0]}, kind=kind, settings={}),
        ):
            try:
                action()
            except store.StoreError as error:
                print(error)
        """
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run.h5")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    reading, writing = said.splitlines()
    assert "run.h5: could not be read now: permission denied" in reading
    assert "run.h5: could not be written: permission denied" in writing


def test_too_many_open_files_and_long_names_are_said_as_such(tmp_path):
    write(tmp_path / "run.h5")
    held = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(store.StoreError, match=r"could not be read now: .*ulimit -n"):
            store.read(tmp_path / "run.h5", kind=KIND)
        with pytest.raises(store.StoreError, match=r"could not be written: .*ulimit -n"):
            write(tmp_path / "run.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)
    with pytest.raises(store.StoreError, match="the name is longer than this file system takes"):
        write(tmp_path / f"{'x' * 300}.h5")
    with pytest.raises(store.StoreError, match="the name is longer than this file system takes"):
        store.read(tmp_path / f"{'x' * 300}.h5", kind=KIND)


def test_too_little_memory_is_said_as_such(tmp_path, monkeypatch):
    write(tmp_path / "run.h5")

    def no_memory(*arguments, **named):
        raise MemoryError

    monkeypatch.setattr(store, "_read_array", no_memory)
    with pytest.raises(store.StoreError, match=r"could not be read now: not enough memory.*mem_mb"):
        store.read(tmp_path / "run.h5", kind=KIND)


@pytest.mark.parametrize("size", [16, 40, 200])
def test_a_disk_that_is_really_full_is_said_and_nothing_crashes(tmp_path, size):
    """On a small file system, in a process of its own, as the HDF5 library is known to crash there."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    child = textwrap.dedent(
        """
        import os, sys
        import numpy as np
        from tacit import store
        kind = store.Kind("test run", {"*": store.Array("float", "...")})
        arrays = {f"x{n}": np.random.default_rng(n).random((n % 7 + 1) * 300) for n in range(60)}
        try:
            store.write(sys.argv[1], arrays, kind=kind, settings={})
        except store.StoreError as error:
            print(error)
        """
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", child, folder / "run.h5"], capture_output=True, text=True, timeout=60
        )
        left = list(folder.iterdir())
    finally:
        subprocess.run(["umount", folder], check=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run.h5: no space left on the disk; free some" in done.stdout
    assert left == []


PEAK = """
import sys
import numpy as np
import peak
from tacit import store
kind = store.Kind("test run", {"x": store.Array("float64", "n")})
array = np.random.default_rng(0).random(12_500_000)
before = peak.megabytes()
store.write(sys.argv[1], {"x": array}, kind=kind, settings={})
print(peak.megabytes() - before)
"""


def test_an_array_of_100_mb_is_written_without_copies_of_it(tmp_path):
    assert peak.printed_by(PEAK, tmp_path / "run.h5") < 30


def test_a_missing_array_is_named(tmp_path):
    write(tmp_path / "run.h5")
    with pytest.raises(store.StoreError, match=r"run\.h5.*nothing"):
        store.read(tmp_path / "run.h5", kind=KIND, names=["nothing"])


def test_foreign_missing_newer_and_misplaced_files_are_named(tmp_path):
    with pytest.raises(store.StoreError, match=r"none\.h5: no such file"):
        store.read(tmp_path / "none.h5", kind=KIND)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(store.StoreError, match=r"foreign\.h5.*not one of Tacit's"):
        store.read(tmp_path / "foreign.h5", kind=KIND)
    (tmp_path / "text.h5").write_text("not HDF5 at all")
    with pytest.raises(store.StoreError, match=r"text\.h5: damaged, or not an HDF5 file"):
        store.read(tmp_path / "text.h5", kind=KIND)
    write(tmp_path / "run.h5")
    with pytest.raises(store.StoreError, match=r"run\.h5: holds a test run, not a dataset"):
        store.read(tmp_path / "run.h5", kind=KIND._replace(name="dataset"))
    forged(tmp_path / "run.h5", lambda file: file.attrs.__setitem__("format_version", store.FORMAT_VERSION + 1))
    with pytest.raises(store.StoreError, match="newer Tacit"):
        store.read(tmp_path / "run.h5", kind=KIND)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "run.h5"
    write(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), store.replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.h5"]


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path, monkeypatch):
    def no_space(descriptor, content, place):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", no_space)
    with pytest.raises(store.StoreError, match=r"run\.h5: no space left on the disk; free some"):
        write(tmp_path / "run.h5")
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_left_goes_with_the_next_one_and_live_ones_stay(tmp_path):
    path, node = tmp_path / "run.h5", os.uname().nodename
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    parts = {
        f".run.h5.{node}-{gone.pid}.part": "killed here",
        f".run.h5.{node}-{os.getppid()}.part": "alive here",
        ".run.h5.elsewhere-17.part": "perhaps alive elsewhere",
        ".run.h5.else-where-18.part": "of another host, long ago",
        ".another.h5.elsewhere-17.part": "of another file",
    }
    for name in parts:
        (tmp_path / name).touch()
    os.utime(tmp_path / ".run.h5.else-where-18.part", (0, 0))
    store.write(path, {"x": np.arange(3)}, kind=ANY, settings={})
    left = {parts.get(file.name, file.name) for file in tmp_path.iterdir()}
    assert left == {"run.h5", "alive here", "perhaps alive elsewhere", "of another file"}
    (tmp_path / f".run.h5.{node}-{gone.pid}.part").touch()
    store.discard(path)
    assert not path.exists()
    assert not (tmp_path / f".run.h5.{node}-{gone.pid}.part").exists()


def test_a_write_that_the_system_breaks_off_leaves_nothing(tmp_path):
    """A limit on the size of files breaks off a real write in the middle."""
    child = textwrap.dedent(
        """
        import resource, signal, sys
        import numpy as np
        from tacit import store
        kind = store.Kind("test run", {"x": store.Array("uint8", "n")})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        noise = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8)
        try:
            store.write(sys.argv[1], {"x": noise}, kind=kind, settings={})
        except store.StoreError as error:
            print(error)
        """
    )
    path = tmp_path / "run.h5"
    done = subprocess.run([sys.executable, "-c", child, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "run.h5: could not be written" in done.stdout
    assert list(tmp_path.iterdir()) == []


TABLE = pd.DataFrame({"seed": [1, 2], "b": [0.1 + 0.2, 1 / 3], "c": ["x, y", "z"]})
RUNS = store.Table(keys=("seed",), numbers=("b",), others=("c",))


def test_tables_come_back_to_the_last_digit(tmp_path):
    store.write_table(tmp_path / "t.csv", TABLE)
    pd.testing.assert_frame_equal(store.read_table(tmp_path / "t.csv", expected=RUNS), TABLE, check_exact=True)
    with pytest.raises(store.StoreError, match=r"none\.csv: no such file"):
        store.read_table(tmp_path / "none.csv", expected=RUNS)


def test_the_digest_of_a_table_is_one_that_others_can_check(tmp_path):
    store.write_table(tmp_path / "t.csv", TABLE)
    declared = json.loads((tmp_path / ".t.csv.json").read_text())["blake2b"]
    (tmp_path / "sums").write_text(f"{declared}  t.csv\n")
    done = subprocess.run(["b2sum", "--check", "sums"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "t.csv: OK\n")


DAMAGE = {
    "truncated digits": lambda content: content.replace(b"0.30000000000000004", b"0.3"),
    "a row twice": lambda content: content + content.splitlines(keepends=True)[-1],
    "a row less": lambda content: b"".join(content.splitlines(keepends=True)[:-1]),
    "a flipped bit": lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    "empty": lambda content: b"",
    "binary": lambda content: b"\xff\xfe\x00",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_table_is_noticed(tmp_path, damage):
    path = tmp_path / "t.csv"
    store.write_table(path, TABLE)
    changed = DAMAGE[damage](path.read_bytes())
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(store.StoreError, match=r"t\.csv: it was damaged or edited since it was written; delete it"):
        store.read_table(path, expected=RUNS)


def test_a_flipped_bit_in_what_a_table_was_made_of_is_noticed(tmp_path):
    store.write_table(tmp_path / "t.csv", TABLE)
    beside = tmp_path / ".t.csv.json"
    content = beside.read_bytes()
    for place in range(len(content)):
        # The last bit turns letters into letters and digits into digits.
        changed = bytearray(content)
        changed[place] ^= 1
        if content[place : place + 1].isspace():
            continue
        beside.write_bytes(changed)
        with pytest.raises(store.StoreError, match=r"t\.csv: (damaged|it was damaged)"):
            store.read_table(tmp_path / "t.csv", expected=RUNS)


def test_a_flipped_bit_in_what_a_file_says_of_itself_is_damage_and_no_other_format(tmp_path):
    path = tmp_path / "run.h5"
    write(path)
    content = bytearray(path.read_bytes())
    for words in (b"format_version", b"settings"):
        changed = bytearray(content)
        changed[changed.index(words)] ^= 1
        path.write_bytes(changed)
        with pytest.raises(store.StoreError, match=r"run\.h5: damaged"):
            store.describe(path)


def test_a_table_without_its_digest_is_refused(tmp_path):
    store.write_table(tmp_path / "t.csv", TABLE)
    (tmp_path / ".t.csv.json").unlink()
    with pytest.raises(store.StoreError, match=r"t\.csv: its description, \.t\.csv\.json, is not beside it"):
        store.read_table(tmp_path / "t.csv", expected=RUNS)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (TABLE.drop(columns="b"), "it has no column b"),
        (TABLE.assign(seed=1), r"2 rows are of the same run \(seed 1\)"),
        (TABLE.assign(b=["x", "y"]), "its column b holds what is no finite number"),
        (TABLE.assign(b=[np.inf, 1]), "its column b holds what is no finite number"),
        (TABLE.assign(b=[np.nan, 1]), "its column b holds what is no finite number"),
    ],
)
def test_a_table_of_another_form_is_refused(tmp_path, table, words):
    store.write_table(tmp_path / "t.csv", table)
    with pytest.raises(store.StoreError, match=rf"t\.csv: {words}; delete it"):
        store.read_table(tmp_path / "t.csv", expected=RUNS)


def test_a_sink_gives_back_what_it_could_not_write(tmp_path, monkeypatch):
    sink = files.Sink(tmp_path / "x")
    sink.write(b"abcdef")
    monkeypatch.setattr(os, "pwrite", lambda *arguments: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    sink.seek(4)
    sink.write(b"EFGH")
    sink.seek(2)
    assert sink.read(5) == b"cdEFG"
    with pytest.raises(OSError, match="full"):
        sink.check()
    sink.close()
