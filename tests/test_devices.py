"""Which device is taken, and how processes meet: asked of torch, never assumed."""

import pytest
import torch

from tinyllm import devices
from tinyllm.devices import has_bf16, is_distributed, is_main, join_processes, leave_processes, pick_device


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have some devices and no others."""

    def has(*kinds):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in kinds)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return has


@pytest.mark.parametrize(
    ("kinds", "name", "picked"),
    [
        ((), "auto", "cpu"),
        (("mps",), "auto", "mps"),
        (("cuda",), "auto", "cuda:0"),
        (("cuda", "mps"), "auto", "cuda:0"),
        (("cuda", "mps"), "mps", "mps"),
        (("cuda",), "cpu", "cpu"),
    ],
)
def test_the_fastest_device_that_is_there_is_taken_unless_another_is_named(machine, kinds, name, picked):
    machine(*kinds)
    assert pick_device(name) == torch.device(picked)


def test_each_process_has_a_gpu_of_its_own(machine, monkeypatch):
    machine("cuda")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device("auto") == torch.device("cuda:3") and pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("name", "message"), [("cuda", "has no cuda"), ("mps", "has no mps"), ("tpu", "'tpu'")])
def test_a_device_that_is_not_there_is_named(machine, name, message):
    machine()
    with pytest.raises(ValueError, match=message):
        pick_device(name)


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda:1", "nccl")])
def test_processes_meet_by_what_their_device_has(monkeypatch, device, backend):
    calls = []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a run")
    monkeypatch.setattr(devices.distributed, "init_process_group", calls.append)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(str(device)))
    join_processes(torch.device(device))
    assert calls == ([device, backend] if device.startswith("cuda") else [backend])


def test_a_process_alone_meets_nobody(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    join_processes(torch.device("cpu"))
    assert not torch.distributed.is_initialized() and not is_distributed() and is_main()
    leave_processes()


def test_who_has_met_others_can_leave_them_and_meet_again(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a run")
    for name, value in dict(MASTER_ADDR="127.0.0.1", MASTER_PORT="0", RANK="0", WORLD_SIZE="1").items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        join_processes(torch.device("cpu"))
        assert torch.distributed.is_initialized() and not is_distributed(), "alone it is not together"
        leave_processes()
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("fast", [False, True])
def test_sixteen_bits_are_asked_of_the_device_that_computes(monkeypatch, fast):
    """A GPU that only pretends to have them, or a processor beside it that does, makes nothing faster."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or fast)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": not fast})
    found = [has_bf16(torch.device(name)) for name in ("cuda", "cpu", "mps")]
    assert found == [fast, not fast, False]
