"""Leases on devices, logs of jobs, and the status command's reading of them."""

import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time

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
    assert "waiting for a free place on gpu7" in caplog.text


def test_devices_follow_the_variable(monkeypatch):
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cpu")
    with devices.acquire() as device:
        assert device == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "auto")
    with devices.acquire() as device:
        assert device.type == "cpu"
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cuda")
    with pytest.raises(devices.DeviceError, match="sees no GPU"), devices.acquire():
        pass


def test_with_gpus_a_lease_is_taken_under_slurm_within_the_allocation(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "auto")
    monkeypatch.setenv(devices.SLOTS_VARIABLE, "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with devices.acquire() as first, devices.acquire() as second:
        assert (first, second) == (torch.device("cuda", 0), torch.device("cuda", 1))
        assert sorted(path.name for path in tmp_path.glob("*/*")) == ["4-0.lock", "6-0.lock"]
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with devices.acquire() as first, devices.acquire() as second:
        assert {first, second} == {torch.device("cuda", 0), torch.device("cuda", 1)}
        assert sorted(path.name for path in tmp_path.glob("*-17/*")) == ["4-0.lock", "6-0.lock"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with devices.acquire() as first, devices.acquire() as second:
        assert first == second == torch.device("cuda", 0)


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
    assert status._ends_in_error(path)
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
    assert not status._ends_in_error(tmp_path / "job.log")
    assert not status._ends_in_error(tmp_path / "none.log")


def test_logs_have_the_tail_of_what_they_tell_of():
    assert str(status.log_of("results/demo/x/seed~0.h5")) == "logs/demo/x/seed~0.log"
    assert str(status.log_of("figures/pathfinder.pdf")) == "logs/figures/pathfinder.log"
