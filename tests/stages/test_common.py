"""How a command ends."""

import pytest
import torch

from stages.common import run


def on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def on_the_cpu() -> None:
    torch.empty(2**50)


@pytest.mark.parametrize("train", [on_a_gpu, on_the_cpu])
def test_too_little_memory_on_the_device_says_what_to_do(train, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(train)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "smaller batch_size, or another device" in said
    assert "tried to allocate" in said.lower()
    with pytest.raises(RuntimeError):
        run(train, debug=True)


def test_a_bug_keeps_its_traceback() -> None:
    def train() -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        run(train)
