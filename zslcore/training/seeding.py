"""Random streams: one a purpose, so that no step shifts what another draws."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream(seed: int, purpose: str) -> int:
    """A seed for one purpose, so that what one step draws never shifts what another draws."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:7], "big")


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Seed torch for this block only; the state from before comes back after it."""
    with torch.random.fork_rng():
        torch.manual_seed(stream(seed, purpose))
        yield
