"""Leases on devices, logs of jobs, and the status command's reading of them."""

import contextlib
import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tacit import devices, runlog, status, store

HOLDER = textwrap.dedent(
    """
    import sys, time
    from tacit import devices
    folder, slots, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    with devices.lease(["0", "1"], slots=slots, folder=folder) as index:
        print(index, time.monotonic(), flush=True)
        time.sleep(seconds)
        print(time.monotonic(), flush=True)
    """
)


def hold(folder, *, slots=1, seconds=0.5):
    command = [sys.executable, "-c", HOLDER, str(folder), str(slots), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_leases_on_two_devices_never_overlap_and_use_both(tmp_path):
    holders = [hold(tmp_path) for _ in range(5)]
    spans = []
    for holder in holders:
        out, _ = holder.communicate(timeout=60)
        first, last = out.splitlines()
        index, begin = first.split()
        spans.append((int(index), float(begin), float(last)))
    assert {index for index, _, _ in spans} == {0, 1}
    for device in (0, 1):
        own = sorted(span[1:] for span in spans if span[0] == device)
        for (_, end), (begin, _) in itertools.pairwise(own):
            assert begin >= end


def test_slots_let_jobs_share_after_every_device_has_one(tmp_path):
    with (
        devices.lease(["a", "b"], slots=2, folder=tmp_path) as first,
        devices.lease(["a", "b"], slots=2, folder=tmp_path) as second,
        devices.lease(["a", "b"], slots=2, folder=tmp_path) as third,
    ):
        assert (first, second, third) == (0, 1, 0)


def test_a_killed_holder_frees_its_place(tmp_path):
    holder = hold(tmp_path, seconds=60)
    other = hold(tmp_path, seconds=60)
    holder.stdout.readline(), other.stdout.readline()
    waiting = hold(tmp_path, seconds=0)
    time.sleep(1)
    assert waiting.poll() is None
    os.kill(holder.pid, signal.SIGKILL)
    out, _ = waiting.communicate(timeout=30)
    assert out
    other.kill()
    holder.wait(), other.wait()


def test_a_waiting_job_says_what_for(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(devices, "_POLL_SECONDS", 0.01)
    sleeps = iter(range(3))

    def sleep(seconds):
        if next(sleeps, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(devices.time, "sleep", sleep)
    first, second = (devices.lease(["gpu7"], slots=1, folder=tmp_path) for _ in range(2))
    with first, caplog.at_level("WARNING", logger="tacit"), pytest.raises(KeyboardInterrupt), second:
        pass
    assert "waiting for a free place on GPU gpu7" in caplog.text


class Gpus:
    """GPUs that torch is made to see, computing on the CPU; those of `broken` do not work."""

    def __init__(self, monkeypatch, *uuids, broken=()):
        self.uuids = uuids
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(uuids))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA Test")
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=Uuid(uuids[index])), raising=False
        )
        trouble = "CUDA error: uncorrectable ECC error encountered"
        monkeypatch.setattr(devices, "_trouble_with", lambda gpu: trouble if uuids[gpu.index] in broken else "")


class Uuid:
    """As torch has them: an object of its own, that is text when asked to be."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


@pytest.fixture
def here(monkeypatch, tmp_path, caplog):
    """The settings of a workstation, locks in a folder of the test's own."""
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "auto")
    monkeypatch.setenv(devices.SLOTS_VARIABLE, "1")
    monkeypatch.delenv(devices.VISIBLE_VARIABLE, raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(devices, "_POLL_SECONDS", 0.01)
    caplog.set_level("INFO", logger="tacit")
    return tmp_path


def locks(folder):
    return sorted(path.name for path in folder.glob("tacit-gpus-*/*"))


def test_devices_follow_the_variable(monkeypatch, here, caplog):
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cpu")
    with devices.acquire() as device:
        assert device == torch.device("cpu")
    assert "computing on the CPU, as device is set to cpu" in caplog.text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "_signs_of_a_gpu", lambda: "")
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "auto")
    with devices.acquire() as device:
        assert device.type == "cpu"
    assert "computing on the CPU: torch sees no GPU here" in caplog.text
    assert {record.levelname for record in caplog.records} == {"INFO"}
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cuda")
    with pytest.raises(devices.DeviceError, match="sees no GPU"), devices.acquire():
        pass


@pytest.mark.parametrize("allocation", [None, "17"])
@pytest.mark.parametrize("visible", [None, "0,1", "4,6", "GPU-aa,GPU-bb"])
def test_gpus_are_leased_by_the_uuid_that_torch_reports(monkeypatch, here, caplog, allocation, visible):
    """Whatever they are called here, and in an allocation of Slurm as anywhere."""
    if allocation:
        monkeypatch.setenv("SLURM_JOB_ID", allocation)
    if visible:
        monkeypatch.setenv(devices.VISIBLE_VARIABLE, visible)
    Gpus(monkeypatch, "aa", "bb")
    with devices.acquire() as first, devices.acquire() as second:
        assert (first, second) == (torch.device("cuda", 0), torch.device("cuda", 1))
        assert locks(here) == ["aa-0.lock", "bb-0.lock"]
    assert "computing on cuda:1 (NVIDIA Test, UUID bb)" in caplog.text


@pytest.mark.parametrize("allocation", [None, "17"])
def test_one_gpu_is_leased_once_also_in_an_allocation_and_under_two_names(monkeypatch, here, caplog, allocation):
    if allocation:
        monkeypatch.setenv("SLURM_JOB_ID", allocation)
    Gpus(monkeypatch, "aa")
    monkeypatch.setenv(devices.VISIBLE_VARIABLE, "0")
    monkeypatch.setattr(devices.time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    with devices.acquire() as first:
        assert first == torch.device("cuda", 0)
        monkeypatch.setenv(devices.VISIBLE_VARIABLE, "GPU-aa")
        with pytest.raises(KeyboardInterrupt), devices.acquire():
            pass
    assert "waiting for a free place on GPU aa" in caplog.text
    with devices.acquire() as again:
        assert again == torch.device("cuda", 0)


def test_a_user_without_a_name_has_a_folder_for_locks(monkeypatch, here):
    """In a container with a user that no passwd entry names."""
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    monkeypatch.setattr(devices.Path, "stat", lambda path: SimpleNamespace(st_uid=54321, st_mode=0o40700))
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert devices.lock_folder() == here / "tacit-gpus-54321"


def test_the_folder_for_locks_is_the_users_own(monkeypatch, here):
    folder = devices.lock_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    folder.rename(here / "tacit-gpus-54321")
    with pytest.raises(devices.DeviceError, match=r"belongs to user .* let TMPDIR name a folder of yours"):
        devices.lock_folder()
    (here / "file").touch()
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(here / "file"))
    with pytest.raises(devices.DeviceError, match=r"no place for locks on GPUs: .* let TMPDIR"):
        devices.lock_folder()


@pytest.mark.parametrize("hidden", ["", " ", "-1"])
def test_hiding_all_gpus_is_a_choice(monkeypatch, here, caplog, hidden):
    monkeypatch.setenv(devices.VISIBLE_VARIABLE, hidden)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "_signs_of_a_gpu", lambda: "/dev/nvidia0")
    with devices.acquire() as device:
        assert device.type == "cpu"
    assert "hides all GPUs" in caplog.text
    assert {record.levelname for record in caplog.records} == {"INFO"}


@pytest.mark.parametrize(
    ("version", "error", "reason"),
    [
        (None, None, "is built for the CPU alone"),
        ("13.0", RuntimeError("The NVIDIA driver on your system is too old"), "driver on your system is too old"),
        ("13.0", None, "it finds none"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_a_warning_with_the_reason(monkeypatch, here, caplog, version, error, reason):
    def init():
        if error:
            raise error

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.version, "cuda", version)
    monkeypatch.setattr(torch.version, "hip", None, raising=False)
    monkeypatch.setattr(devices, "_signs_of_a_gpu", lambda: "/dev/nvidia0")
    monkeypatch.setenv(devices.VISIBLE_VARIABLE, "7")
    with devices.acquire() as device:
        assert device.type == "cpu"
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert reason in warning
    assert "/dev/nvidia0" in warning
    assert "CUDA_VISIBLE_DEVICES=7" in warning
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cuda")
    with pytest.raises(devices.DeviceError, match=reason), devices.acquire():
        pass


def test_a_gpu_that_does_not_work_is_passed_over_with_a_warning(monkeypatch, here, caplog):
    Gpus(monkeypatch, "aa", "bb", broken=("aa",))
    with devices.acquire() as device:
        assert device == torch.device("cuda", 1)
        assert locks(here)[-1] == "bb-0.lock"
    assert "GPU aa cannot be used: CUDA error: uncorrectable ECC error encountered; trying another" in caplog.text
    Gpus(monkeypatch, "aa", broken=("aa",))
    with devices.acquire() as device:
        assert device.type == "cpu"
    assert "computing on the CPU, which may take very long: GPU aa cannot be used" in caplog.text
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cuda")
    with pytest.raises(devices.DeviceError, match="uncorrectable ECC"), devices.acquire():
        pass


def test_what_fails_in_the_job_itself_is_not_taken_for_a_broken_gpu(monkeypatch, here):
    Gpus(monkeypatch, "aa")
    with pytest.raises(RuntimeError, match="of the job"), devices.acquire():
        raise RuntimeError("of the job")


def test_the_trial_sum_tells_what_fails(monkeypatch):
    assert devices._trouble_with(torch.device("cpu")) == ""

    def fail(*given, **named):
        raise RuntimeError("CUDA error: no kernel image is available\nmore")

    monkeypatch.setattr(torch, "ones", fail)
    assert devices._trouble_with(torch.device("cpu")) == "CUDA error: no kernel image is available"


def test_signs_of_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(devices.shutil, "which", lambda program: None)
    assert devices._signs_of_a_gpu(tmp_path) == ""
    slots = tmp_path / "sys/bus/pci/devices"
    # A network card of NVIDIA's, a display of another's, one that cannot be read.
    for name, vendor, kind in (("0000:01", "0x10de", "0x020000"), ("0000:02", "0x8086", "0x030000")):
        (slots / name).mkdir(parents=True)
        (slots / name / "vendor").write_text(vendor + "\n")
        (slots / name / "class").write_text(kind + "\n")
    (slots / "0000:03").mkdir()
    assert devices._signs_of_a_gpu(tmp_path) == ""
    (slots / "0000:02" / "vendor").write_text("0x10de\n")
    assert devices._signs_of_a_gpu(tmp_path) == "NVIDIA on the PCI bus at 0000:02"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    assert "PCI" in devices._signs_of_a_gpu(tmp_path)
    (tmp_path / "dev" / "nvidia0").touch()
    assert devices._signs_of_a_gpu(tmp_path) == "/dev/nvidia0"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'GPU 0: NVIDIA H200 (UUID: GPU-aa)'", "nvidia-smi lists GPU 0: NVIDIA H200"),
        ("echo failed to talk to the driver; exit 9", ""),
        ("echo No devices found", ""),
    ],
)
def test_nvidia_smi_is_a_sign_if_it_lists_one(monkeypatch, tmp_path, script, expected):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(devices.shutil, "which", lambda name: str(program))
    assert devices._signs_of_a_gpu(tmp_path) == expected


def test_a_log_holds_messages_progress_and_the_traceback(tmp_path, capsys):
    path = tmp_path / "deep" / "job.log"
    with pytest.raises(SystemExit), runlog.to(path):
        progress = runlog.Progress(3, what="training", unit="epoch", every=0)
        for _ in range(3):
            progress.advance(note="loss 0.5")
        progress.close()
        raise ZeroDivisionError("by nothing")
    text = path.read_text()
    assert "training: 3 of 3 epochs" in text
    assert "loss 0.5" in text
    assert "Traceback" in text
    assert "ZeroDivisionError: by nothing" in text
    assert "\r" not in text
    assert status._end_of(path) == "failed"
    capsys.readouterr()


def test_a_users_mistake_shows_no_traceback_on_the_terminal(tmp_path, capsys):
    with pytest.raises(SystemExit), runlog.to(tmp_path / "job.log"):
        raise store.StoreError("run.h5: damaged; delete it")
    shown = capsys.readouterr().err
    assert "Error: run.h5: damaged; delete it" in shown
    assert "Traceback" not in shown
    assert "Traceback" in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize("ask", [lambda: torch.empty(2**50), lambda: np.empty(2**50)], ids=["torch", "numpy"])
def test_memory_asked_for_in_vain_is_said_with_advice(tmp_path, capsys, ask):
    with pytest.raises(SystemExit), runlog.to(tmp_path / "job.log"):
        ask()
    assert "Error: out of memory" in capsys.readouterr().err
    assert "Traceback" in (tmp_path / "job.log").read_text()


def test_a_job_that_ends_well_is_no_failure(tmp_path):
    with runlog.to(tmp_path / "job.log"):
        logging.getLogger("tacit").info("all is well")
    assert "all is well" in (tmp_path / "job.log").read_text()
    assert status._end_of(tmp_path / "job.log") == "done"
    assert status._end_of(tmp_path / "none.log") == ""


def test_a_job_under_way_has_no_end_yet(tmp_path):
    with runlog.to(tmp_path / "job.log"):
        logging.getLogger("tacit").info("at work")
        assert status._end_of(tmp_path / "job.log") == "none"


def full_disk(folder):
    """Mount a file system with no room in `folder`."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    with contextlib.suppress(OSError), (folder / "filler").open("wb") as file:
        file.write(bytes(1 << 20))


def test_a_log_on_a_full_disk_fails_no_job(tmp_path, capsys):
    full_disk(tmp_path / "logs")
    ended = []
    try:
        with runlog.to(tmp_path / "logs" / "job.log"):
            for _ in range(100):
                logging.getLogger("tacit").info("x" * 1000)
            ended.append(True)
    finally:
        subprocess.run(["umount", tmp_path / "logs"], check=True)
    said = capsys.readouterr().err
    assert ended == [True]
    assert said.count("job.log: the log could not be written") == 1
    assert "Traceback" not in said and "Logging error" not in said


def test_a_log_that_has_no_place_fails_no_job_and_errors_are_still_said(tmp_path, capsys):
    (tmp_path / "logs").write_text("a file where a folder should be")
    with runlog.to(tmp_path / "logs" / "job.log"):
        logging.getLogger("tacit").info("hello")
    assert "the log could not be written" in capsys.readouterr().err
    with pytest.raises(SystemExit), runlog.to(tmp_path / "logs" / "job.log"):
        raise store.StoreError("run.h5: damaged; delete it")
    assert "Error: run.h5: damaged; delete it" in capsys.readouterr().err
