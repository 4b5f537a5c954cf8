"""Which negative pairs to learn from: random, by uncertainty, by uncertainty and correlation (eq. 8-10).

Bucher, Herbin and Jurie, 2016. A negative pair is an image and a candidate: the attribute vector of another seen class,
or of an image of one. D₋ is kept as counts, a sparse (images, candidates) matrix, since draws are with replacement.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from zslcore.errors import ZSLError
from zslcore.training.seeding import stream

Growth = Literal["accumulate", "resample"]
Normalise = Literal["image", "pairs"]
Distances = Callable[[NDArray[np.int64]], Tensor]
"""Rows of images (b,) -> S_t of eq. 1 to every candidate, (b, candidates)."""

PAIRS_LIMIT = 512 * 2**20
"""Bytes the counts of D₋ may take."""


def log_correlation(vectors: Tensor, classes: NDArray[np.int64], block: int = 2**22) -> Tensor:
    """log q of eq. 9: minus the mean distance of each vector to those of its class, itself included.

    vectors: (c, a); classes: (c,) -> (c,). At most `block` distances are held at a time (or one row of a class).
    """
    out = torch.empty(len(vectors), dtype=vectors.dtype, device=vectors.device)
    for k in np.unique(classes):
        members = torch.from_numpy(np.flatnonzero(classes == k)).to(vectors.device)
        of_class = vectors[members]
        for rows in torch.split(members, max(1, block // len(members))):
            out[rows] = -torch.cdist(vectors[rows], of_class, compute_mode="donot_use_mm_for_euclid_dist").mean(1)
    return out


def check_correlation(vectors: NDArray[np.float32], classes: NDArray[np.int64]) -> None:
    """Raise ZSLError unless attribute vectors vary within every class, without which eq. 9 says nothing."""
    constant = [int(k) for k in np.unique(classes) if not np.ptp(vectors[classes == k], axis=0).any()]
    if constant:
        raise ZSLError(
            f"mining by uncertainty-correlation: in {len(constant)} of {len(np.unique(classes))} seen classes (first: "
            f"number {constant[0]}) all images have the same attributes, so that q of eq. 9 is 1 there and tells "
            "nothing; use strategy: uncertainty, or per-image attributes that vary (the paper leaves AwA out as well)"
        )


def check_size(n: int, images: int, candidates: int) -> None:
    """Raise ZSLError where n pairs an image would take more than `PAIRS_LIMIT`."""
    size = 8 * min(n, candidates) * images
    if size > PAIRS_LIMIT:
        raise ZSLError(
            f"mining: n = {n} for {images} images takes {size / 2**20:.0f} MiB of pairs, more than "
            f"{PAIRS_LIMIT // 2**20}; use a smaller n, or the classes' signatures as candidates"
        )


def probabilities(distances: Tensor, same_class: Tensor, log_q: Tensor | None = None) -> Tensor:
    """p_t of eq. 10 over each image's candidates, summing to 1; u_t of eq. 8 without `log_q`.

    distances: (b, c) S_t(X, Y); same_class: (b, c) bool, candidates of the image's class, which get 0. Within an image
    S_t(X, Y*) of eq. 8 is a common factor and cancels.
    """
    logits = -distances.double()
    if log_q is not None:
        logits = logits + log_q.double()
    return logits.masked_fill(same_class, -torch.inf).softmax(1)


def log_masses(
    distances: Tensor, truth: NDArray[np.int64], same_class: Tensor, log_q: Tensor | None = None
) -> NDArray[np.float64]:
    """(b,) log of the sum of p_t over each image's candidates, with S_t(X, Y*), which no longer cancels.

    Of `normalise: pairs`: an image's share of D₋. truth: (b,) the candidate that is each image's true vector, Y*; the
    rest as in `probabilities`.
    """
    logits = distances.gather(1, torch.from_numpy(truth)[:, None].to(distances.device)).double() - distances.double()
    if log_q is not None:
        logits = logits + log_q.double()
    return logits.masked_fill(same_class, -torch.inf).logsumexp(1).cpu().numpy()


def draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Draw with replacement: (b, c) probabilities, (b, n) numbers in (0, 1] -> (b, n) candidates.

    By inversion of the cumulated weights; a candidate of weight 0 is never drawn.
    """
    cumulated = weights.cumsum(1)
    return torch.searchsorted(cumulated, uniform * cumulated[:, -1:])


@dataclass
class Miner:
    """The negative pairs of each epoch. Deterministic given `seed`, whatever the block size.

    labels: (images,) and classes: (candidates,) class numbers; truth: (images,) the candidate that is each image's true
    vector. n: negatives a positive. log_q: (candidates,) for uncertainty-correlation. mined: False draws uniformly (the
    random strategy).
    The first epoch of a mined D₋ has one random pair an image, those "of [1]" that S₁ is learned from. After it, with
    growth `resample`, D₋ is drawn each epoch, n pairs an image; with `accumulate` it grows evenly, to n pairs an
    image in the last epoch (for n = 1: not at all); images take turns, so that their numbers of pairs differ by one at
    most. What the random strategy draws depends on no score, so that it has n pairs from the start.
    normalise: eq. 8 as probabilities over each `image`'s candidates, or over all `pairs`: then as many pairs as before
    fall to images in proportion to the sum of p_t, more to those far from their true vector.
    block: at most this many scores are held at a time (or one row of candidates).
    """

    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    truth: NDArray[np.int64]
    n: int
    epochs: int
    mined: bool = True
    log_q: Tensor | None = None
    growth: Growth = "accumulate"
    normalise: Normalise = "image"
    seed: int = 0
    block: int = 2**22
    pairs: sparse.csr_matrix = field(init=False)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ZSLError(f"mining: n is {self.n}; at least one negative pair a positive one is needed")
        if len(np.unique(self.classes)) < 2:
            raise ZSLError("mining: only one seen class; negative pairs need attribute vectors of another")
        check_size(self.n, len(self.labels), len(self.classes))
        self.pairs = sparse.csr_matrix((len(self.labels), len(self.classes)), dtype=np.int32)
        self._sorted = np.argsort(self.classes, kind="stable")
        ordered = self.classes[self._sorted]
        self._start = np.searchsorted(ordered, self.labels, side="left")
        self._size = np.searchsorted(ordered, self.labels, side="right") - self._start
        self._turn = np.random.default_rng(stream(self.seed, "mining/turns")).permutation(len(self.labels))

    def quota(self, epoch: int) -> NDArray[np.int64]:
        """(images,) how many pairs each image draws in this epoch (from 0), before `normalise: pairs` shifts them."""
        images = len(self.labels)
        if not self.mined:
            return np.full(images, self.n if epoch == 0 or self.growth == "resample" else 0)
        if epoch == 0:
            return np.ones(images, dtype=np.int64)
        if self.growth == "resample":
            return np.full(images, self.n)
        return self._added(epoch) - self._added(epoch - 1)

    def _added(self, epoch: int) -> NDArray[np.int64]:
        """(images,) pairs that each image has in addition to its first one, after this epoch."""
        count = len(self.labels)
        total = (self.n - 1) * count * epoch // max(self.epochs - 1, 1)
        return -((self._turn - total) // count)  # ceil((total - turn) / count): pairs dealt out in turns

    @property
    def size(self) -> int:
        """|D₋|, repeated pairs counted."""
        return int(self.pairs.sum(dtype=np.int64))

    def mine(self, epoch: int, distances: Distances) -> None:
        """Set `pairs` to D₋ of this epoch (from 0): (images, candidates) int32 counts. Mine epochs in order."""
        quota = self.quota(epoch)
        random = np.random.default_rng(stream(self.seed, f"mining/{epoch}"))
        scored = self.mined and epoch > 0
        if scored and self.normalise == "pairs" and quota.any():
            quota = self._shared_out(int(quota.sum()), distances, random)
        rows = np.flatnonzero(quota)
        width = int(quota.max(initial=0))
        parts = [sparse.csr_matrix((0, len(self.classes)), dtype=np.int32)]
        for part in self._blocks(rows, width):
            used = np.arange(width) < quota[part, None]
            uniform = np.ones(used.shape)
            uniform[used] = 1 - random.random(int(quota[part].sum()))
            candidates = self._by_score(part, distances, uniform) if scored else self._at_random(part, uniform)
            images = np.repeat(np.arange(len(part)), quota[part])
            ones = np.ones(len(images), dtype=np.int32)
            shape = (len(part), len(self.classes))
            parts.append(sparse.csr_matrix((ones, (images, candidates[used])), shape=shape))
        new = _spread(sparse.vstack(parts, format="csr"), rows, len(self.labels))
        self.pairs = self.pairs + new if self.growth == "accumulate" else new

    def _blocks(self, rows: NDArray[np.int64], width: int) -> Iterator[NDArray[np.int64]]:
        step = max(1, self.block // max(len(self.classes), width, 1))
        return (rows[start : start + step] for start in range(0, len(rows), step))

    def _shared_out(self, total: int, distances: Distances, random: np.random.Generator) -> NDArray[np.int64]:
        """(images,) how many of `total` draws over all pairs fall to each image."""
        logs = [np.empty(0)]
        for part in self._blocks(np.arange(len(self.labels)), 0):
            to_candidates = distances(part)
            same_class = self._same_class(part, to_candidates.device)
            logs.append(log_masses(to_candidates, self.truth[part], same_class, self.log_q))
        masses = np.concatenate(logs)
        masses = np.exp(masses - masses.max())
        return random.multinomial(total, masses / masses.sum())

    def _same_class(self, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        return torch.from_numpy(self.labels[rows, None] == self.classes).to(device)

    def _by_score(
        self, rows: NDArray[np.int64], distances: Distances, uniform: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        to_candidates = distances(rows)
        weights = probabilities(to_candidates, self._same_class(rows, to_candidates.device), self.log_q)
        return draw(weights, torch.from_numpy(uniform).to(weights.device)).cpu().numpy()

    def _at_random(self, rows: NDArray[np.int64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Uniformly over candidates of other classes: they stand sorted by class, the image's class is skipped."""
        start, size = self._start[rows, None], self._size[rows, None]
        position = ((1 - uniform) * (len(self.classes) - size)).astype(np.int64)
        return self._sorted[position + size * (position >= start)]


def _spread(counts: sparse.csr_matrix, rows: NDArray[np.int64], images: int) -> sparse.csr_matrix:
    """Counts of some images, in ascending order, as a matrix of all images."""
    sizes = np.zeros(images + 1, dtype=np.int64)
    sizes[rows + 1] = np.diff(counts.indptr)
    return sparse.csr_matrix((counts.data, counts.indices, sizes.cumsum()), shape=(images, counts.shape[1]))
