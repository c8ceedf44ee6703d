import errno
import os

import numpy as np
import pytest
import torch

from tacit import checkpoints
from tacit.files import StoreError
from tacit.training import keeping


def state(epoch):
    generator = torch.Generator().manual_seed(epoch)
    weight = torch.rand(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last)
    return {"0.weight": weight, "0.bias": torch.rand(2, generator=generator), "scalar": torch.tensor(epoch)}


def kept(path, epochs=(0, 1, 2)):
    keeper = keeping.Keeper(path)
    for epoch in epochs:
        keeper.keep(epoch, state(epoch))
    return keeper


def assert_keeps(keeper, epochs=(0, 1, 2)):
    assert set(keeper.states) == set(epochs)
    for epoch in epochs:
        for name, tensor in state(epoch).items():
            found = keeper.states[epoch][name]
            assert (found.shape, found.dtype) == (tuple(tensor.shape), tensor.numpy().dtype)
            np.testing.assert_array_equal(np.asarray(found), tensor.numpy(), strict=True)


def test_what_is_kept_comes_back_and_is_in_no_memory(tmp_path):
    keeper = kept(tmp_path / "c.kept")
    assert_keeps(keeper)
    assert not any(isinstance(value, np.ndarray | torch.Tensor) for value in vars(keeper.states[0]["0.bias"]).values())


def test_a_checkpoint_names_it_in_a_few_bytes_and_what_came_later_is_written_again(tmp_path):
    keeper = kept(tmp_path / "c.kept", (0, 1))
    named = keeper.state()
    assert len(str(named)) < 200
    keeper.keep(2, state(2))
    with (tmp_path / "c.kept").open("ab") as file:
        file.write(b"half of another")
    again = keeping.Keeper(tmp_path / "c.kept")
    again.load_state(named)
    assert_keeps(again, (0, 1))
    again.keep(2, state(2))
    assert again.state() == keeper.state()
    assert_keeps(again)
    # The other process at the same run has lost nothing.
    assert_keeps(keeper)


def test_nothing_kept_yet_is_nothing(tmp_path):
    named = keeping.Keeper(tmp_path / "c.kept").state()
    (tmp_path / "c.kept").write_bytes(b"of an earlier attempt")
    keeper = keeping.Keeper(tmp_path / "c.kept")
    keeper.load_state(named)
    keeper.keep(0, state(0))
    assert_keeps(keeper, (0,))


@pytest.mark.parametrize("damage", ["missing", "shorter", "flipped", "empty"])
def test_damage_is_proven_and_a_new_beginning_possible(tmp_path, damage):
    path = tmp_path / "c.kept"
    named = kept(path).state()
    content = bytearray(path.read_bytes())
    content[-1] ^= 128
    changed = {"shorter": content[:-1], "flipped": content, "empty": b""}
    path.unlink()
    if damage != "missing":
        path.write_bytes(changed[damage])
    keeper = keeping.Keeper(path)
    with pytest.raises(checkpoints.Damaged, match=r"c\.kept, which belongs to it, is "):
        keeper.load_state(named)
    keeper.keep(0, state(0))
    assert_keeps(keeper, (0,))


def test_damage_that_comes_while_it_is_used_is_noticed_when_it_is_read(tmp_path):
    keeper = kept(tmp_path / "c.kept")
    content = bytearray((tmp_path / "c.kept").read_bytes())
    content[-1] ^= 128
    with (tmp_path / "c.kept").open("r+b") as file:
        file.write(content)
    with pytest.raises(StoreError, match=r"c\.kept: not what was written to it"):
        keeper.states[2]["scalar"].numpy()


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "no space left"), (errno.EACCES, "permission denied")])
def test_errors_of_the_machine_are_said_as_such(tmp_path, monkeypatch, number, words):
    keeper = kept(tmp_path / "c.kept")
    named = keeper.state()

    def fails(*arguments):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fails)
        with pytest.raises(StoreError, match=rf"c\.kept: .*{words}"):
            keeper.keep(3, state(3))
    with monkeypatch.context() as patched:
        patched.setattr(os, "preadv", fails)
        with pytest.raises(StoreError, match=r"c\.kept: could not be read now"):
            keeping.Keeper(tmp_path / "c.kept").load_state(named)
    assert (tmp_path / "c.kept").exists()
