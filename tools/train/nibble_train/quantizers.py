"""What is simulated in training: two-bit weights with four learned levels a group, four-bit activations and KV.

Every function returns exactly what the engine computes with (docs/arithmetic.md, native/formats/pack.h), and lets
gradients through as if rounding weren't there (straight-through).
"""

import torch
from torch import nn

LEVEL_MIN, LEVEL_MAX = -32, 31  # of the codebook format
ACTIVATION_LIMIT = 7
KV_STEPS = 15
SCALE_MIN = 2.0**-24  # the smallest f16


def _through(values: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """Bit for bit `rounded`, with the gradient of `values` (added to that of `rounded`, if it has one)."""
    return rounded + (values - values.detach())


def to_f16(x: torch.Tensor) -> torch.Tensor:
    """x rounded to a value of f16 (nearest, ties to even; below 65520), in float32.

    By its bits: x.half().float() is what torch.compile leaves out.
    """
    bits = x.view(torch.int32)
    normal = ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)
    return torch.where(x.abs() < 2.0**-14, torch.round(x * 2.0**24) * 2.0**-24, normal)


def lloyd_max(groups: torch.Tensor, rounds: int = 24) -> torch.Tensor:
    """Four ascending levels [n, 4] of least squared error for each row of groups [n, g] (Lloyd 1982, Max 1960)."""
    quantiles = torch.tensor([0.08, 0.35, 0.65, 0.92], device=groups.device)
    size = groups.shape[1]
    levels = groups.sort(dim=1).values[:, (quantiles * (size - 1)).round().long()].contiguous()
    for _ in range(rounds):
        middles = (levels[:, 1:] + levels[:, :-1]) / 2
        codes = (groups[:, :, None] > middles[:, None, :]).sum(dim=2)
        for code in range(4):
            chosen = codes == code
            count = chosen.sum(dim=1)
            mean = (groups * chosen).sum(dim=1) / count.clamp(min=1)
            levels[:, code] = torch.where(count > 0, mean, levels[:, code])
    return levels.sort(dim=1).values


class LearnedLevels(nn.Module):
    """Learnable clipping and direct partitioning of the groups of a matrix (RCP, arXiv 2502.15779).

    The range of a group is h = gamma·max − beta·min of the weights that training begins with. Sigmoids split it into
    h·S1, h·(1 − S1)·S2 and h·(1 − S1)·(1 − S2): four levels. A weight takes the nearest. They start at Lloyd-Max.
    """

    def __init__(self, weight: torch.Tensor, group: int):
        super().__init__()
        rows, columns = weight.shape
        if columns % group != 0:
            raise ValueError(f"{columns} inputs are no multiple of groups of {group}")
        self.group = group
        groups = weight.detach().reshape(-1, group)
        amax = groups.abs().amax(dim=1).clamp(min=1e-6)
        high = torch.maximum(groups.amax(dim=1), amax / 64)
        low = torch.minimum(groups.amin(dim=1), -amax / 64)
        levels = torch.cat([lloyd_max(part) for part in groups.split(1 << 18)])
        # Levels may coincide (a group of few values): sigmoids never reach 0 and 1.
        span = (levels[:, 3] - levels[:, 0]).clamp(min=1e-9)
        first = ((levels[:, 1] - levels[:, 0]) / span).clamp(0.01, 0.98)
        second = ((levels[:, 2] - levels[:, 1]) / (span * (1 - first))).clamp(0.01, 0.99)
        shape = (rows, columns // group)
        self.register_buffer("high", high.reshape(shape))
        self.register_buffer("low", low.reshape(shape))
        clipping = torch.stack([levels[:, 3] / high, levels[:, 0] / low, torch.logit(first), torch.logit(second)])
        self.parameters_of_groups = nn.Parameter(clipping.reshape(4, *shape))  # gamma, beta, s1, s2

    def exact_levels(self) -> torch.Tensor:
        """[rows, groups, 4] in float, ascending."""
        gamma, beta, first, second = self.parameters_of_groups
        low = beta * self.low
        span = (gamma * self.high - low).clamp(min=1e-9)
        first, second = torch.sigmoid(first), torch.sigmoid(second)
        inner = span * first
        return torch.stack([low, low + inner, low + inner + span * (1 - first) * second, low + span], dim=-1)

    def stored_levels(self) -> "tuple[torch.Tensor, torch.Tensor]":
        """As they are kept: scales [rows, groups] (values of f16), whole numbers [rows, groups, 4] of -32 to 31."""
        levels = self.exact_levels().detach()
        scale = to_f16(levels.abs().amax(dim=-1) / LEVEL_MAX).clamp(min=SCALE_MIN)
        return scale, torch.round(levels / scale[..., None]).clamp(LEVEL_MIN, LEVEL_MAX)

    def levels(self) -> torch.Tensor:
        scale, whole = self.stored_levels()
        return _through(self.exact_levels(), scale[..., None] * whole)

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """The nearest level of each weight, [rows, groups, group] of 0 to 3."""
        scale, whole = self.stored_levels()
        levels = scale[..., None] * whole
        middles = (levels[..., 1:] + levels[..., :-1]) / 2
        grouped = weight.detach().reshape(*scale.shape, self.group)
        return sum((grouped > middles[..., i : i + 1]).long() for i in range(3))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weights as they are computed with. Levels get the sum of the gradients of their weights."""
        levels = self.levels()
        middles = ((levels[..., 1:] + levels[..., :-1]) / 2).detach()
        grouped = weight.reshape(*levels.shape[:2], self.group)
        lower = torch.where(grouped > middles[..., 0:1], levels[..., 1:2], levels[..., 0:1])
        upper = torch.where(grouped > middles[..., 2:3], levels[..., 3:4], levels[..., 2:3])
        return _through(grouped, torch.where(grouped > middles[..., 1:2], upper, lower)).reshape(weight.shape)


def four_bit_activations(x: torch.Tensor, group: int) -> torch.Tensor:
    """a4: per token and group, codes of at most 7 in magnitude."""
    grouped = x.float().reshape(*x.shape[:-1], -1, group)
    amax = grouped.detach().abs().amax(dim=-1, keepdim=True).clamp(min=2.0**-100)
    codes = torch.round(grouped.detach() * (ACTIVATION_LIMIT / amax))
    return _through(grouped, codes * (amax / ACTIVATION_LIMIT)).reshape(x.shape)


def four_bit_kv(x: torch.Tensor) -> torch.Tensor:
    """kv4 of rotated keys or values [..., head size]: an affine grid of 15 steps for each token and head."""
    values = x.float()
    fixed = values.detach()
    minimum = to_f16(fixed.amin(dim=-1, keepdim=True))
    scale = to_f16(((fixed.amax(dim=-1, keepdim=True) - minimum) / KV_STEPS).clamp(min=0))
    codes = torch.round((fixed - minimum) / scale.clamp(min=SCALE_MIN)).clamp(0, KV_STEPS)
    return _through(values, minimum + scale * codes)
