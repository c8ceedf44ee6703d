import errno
import os
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pandas as pd
import pytest

from tacit import store

ARRAYS = {"loss": np.linspace(1, 0, 7), "images": np.arange(60_000, dtype=np.uint8).reshape(6, 100, 100)}
SETTINGS = {"seed": 3, "rate": 0.1, "sizes": [1, 2], "name": "x"}


def write(path):
    store.write(path, ARRAYS, kind="test run", settings=SETTINGS, attributes={"mean": 0.25})


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "deep" / "run.h5")
    record = store.read(tmp_path / "deep" / "run.h5", kind="test run")
    assert record.settings == SETTINGS
    assert record.attributes == {"mean": 0.25}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(record.arrays[name], array)
        assert record.arrays[name].dtype == array.dtype
    assert list(store.read(tmp_path / "deep" / "run.h5", kind="test run", names=["loss"]).arrays) == ["loss"]


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
        store.read(path, kind="test run")


def test_a_missing_array_is_named(tmp_path):
    write(tmp_path / "run.h5")
    with pytest.raises(store.StoreError, match=r"run\.h5.*nothing"):
        store.read(tmp_path / "run.h5", kind="test run", names=["nothing"])


def test_foreign_missing_newer_and_misplaced_files_are_named(tmp_path):
    with pytest.raises(store.StoreError, match=r"none\.h5: no such file"):
        store.read(tmp_path / "none.h5", kind="test run")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(store.StoreError, match=r"foreign\.h5.*not one of Tacit's"):
        store.read(tmp_path / "foreign.h5", kind="test run")
    (tmp_path / "text.h5").write_text("not HDF5 at all")
    with pytest.raises(store.StoreError, match=r"text\.h5: damaged, or not an HDF5 file"):
        store.read(tmp_path / "text.h5", kind="test run")
    write(tmp_path / "run.h5")
    with pytest.raises(store.StoreError, match=r"run\.h5: holds a test run, not a dataset"):
        store.read(tmp_path / "run.h5", kind="dataset")
    with h5py.File(tmp_path / "run.h5", "a") as file:
        file.attrs["format_version"] = store.FORMAT_VERSION + 1
    with pytest.raises(store.StoreError, match="newer Tacit"):
        store.read(tmp_path / "run.h5", kind="test run")


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
    def write_half(self, data):
        self.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", write_half)
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
    store.write(path, {"x": np.arange(3)}, kind="test run", settings={})
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
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        noise = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8)
        try:
            store.write(sys.argv[1], {"x": noise}, kind="test run", settings={})
        except store.StoreError as error:
            print(error)
        """
    )
    path = tmp_path / "run.h5"
    done = subprocess.run([sys.executable, "-c", child, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "run.h5: could not be written" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_tables_come_back_to_the_last_digit(tmp_path):
    table = pd.DataFrame({"a": [1, 2], "b": [0.1 + 0.2, 1 / 3], "c": ["x, y", "z"]})
    store.write_table(tmp_path / "t.csv", table)
    pd.testing.assert_frame_equal(store.read_table(tmp_path / "t.csv"), table, check_exact=True)
    with pytest.raises(store.StoreError, match=r"none\.csv: no such file"):
        store.read_table(tmp_path / "none.csv")
