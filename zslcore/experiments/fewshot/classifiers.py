"""What decides within an episode, for all episodes of a batch at once: a linear classifier, or the nearest mean."""

import torch
from torch import Tensor


def linear(support: Tensor, query: Tensor, ridge: float = 1.0) -> Tensor:
    """Ridge regression onto one-hot targets, closed form: support (b, way, shot, d), query (b, q, d) -> (b, q, way).

    W = Sᵀ (S Sᵀ + λ I)⁻¹ Y on centred features, λ = `ridge` times the mean squared length of the support features, so
    that the scale of the features does not matter.
    """
    b, way, shot, d = support.shape
    rows = support.reshape(b, way * shot, d)
    mean = rows.mean(1, keepdim=True)
    rows = rows - mean
    gram = rows @ rows.transpose(1, 2)
    strength = ridge * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
    gram = gram + strength[:, None, None] * torch.eye(way * shot, device=rows.device, dtype=rows.dtype)
    targets = torch.eye(way, device=rows.device, dtype=rows.dtype).repeat_interleave(shot, 0) - 1 / way
    dual = torch.linalg.solve(gram, targets.expand(b, -1, -1))
    scores: Tensor = (query - mean) @ (rows.transpose(1, 2) @ dual)
    return scores


def nearest_mean(support: Tensor, query: Tensor) -> Tensor:
    """Minus squared distances to the class means: Prototypical Networks' decision (Snell et al., 2017)."""
    return -torch.cdist(query, support.mean(2)).square()
