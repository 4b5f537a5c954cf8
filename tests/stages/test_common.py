"""How a command ends."""

import pytest
import torch

from stages.common import run


def test_too_little_memory_on_the_device_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    def train() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(SystemExit) as ended:
        run(train)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "smaller batch_size, or device: cpu" in said
    assert "Tried to allocate 2 GiB" in said
    with pytest.raises(torch.OutOfMemoryError):
        run(train, debug=True)


def test_a_bug_keeps_its_traceback() -> None:
    def train() -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        run(train)
