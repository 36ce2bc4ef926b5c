"""A Llama-type model in plain PyTorch, float (the teacher) or with simulated quantization (the student).

Linear layers run in `compute` (bfloat16 on a GPU), everything else in float32. Rotary pairs are neighbours, as GGUF
files of architecture `llama` store them.
"""

import torch
import torch.nn.functional as functional
from torch import nn

from .model_file import Config
from .quantizers import LearnedLevels, four_bit_activations, four_bit_kv
from .rotation import hadamard, sylvester

SHARES_HEADS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 5)  # attention that knows of it


class Norm(nn.Module):
    def __init__(self, gain: torch.Tensor, epsilon: float):
        super().__init__()
        self.gain = nn.Parameter(gain.clone())
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.epsilon) * self.gain


class Linear(nn.Module):
    """Matrices of one class that read the same input, one below the other: weight [N, K]."""

    def __init__(self, weight: torch.Tensor, compute: torch.dtype):
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.levels: "LearnedLevels | None" = None
        self.compute = compute

    def quantize(self, group: int) -> None:
        """From here on the parameter is the weight in units of its row's root mean square.

        Rows of a model differ a hundredfold in size, and a step of Adam has the same size for all.
        """
        self.levels = LearnedLevels(self.weight, group)
        unit = self.weight.detach().square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
        self.register_buffer("unit", unit)
        self.weight.data = self.weight.data / unit

    def whole_weight(self) -> torch.Tensor:
        """Before it takes the levels' values."""
        return self.weight if self.levels is None else self.weight * self.unit

    def forward(self, x: torch.Tensor, is_low: bool) -> torch.Tensor:
        """`is_low`: the input in four bits. Float32."""
        weight = self.whole_weight()
        if self.levels is not None:
            weight = self.levels(weight)
            if is_low:
                x = four_bit_activations(x, self.levels.group)
        return functional.linear(x.to(self.compute), weight.to(self.compute)).float()


def causal_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """[batch, heads, tokens, head size] each; keys and values may have fewer heads."""
    if SHARES_HEADS:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    future = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).triu(1)
    scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(future, float("-inf"))
    return scores.softmax(dim=-1) @ v


def rotate_pairs(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """RoPE of x [..., tokens, head size] by tables [tokens, head size / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2)


class Rotation(nn.Module):
    """R·x or Rᵀ·x for the matrix of rotation.hadamard, in `compute`.

    A GPU multiplies by all of it sooner than by its two factors, one of which is small.
    """

    def __init__(self, order: int, compute: torch.dtype):
        super().__init__()
        self.register_buffer("signs", (hadamard(order) * order**0.5).round().to(compute), persistent=False)

    def forward(self, x: torch.Tensor, is_inverse: bool = False) -> torch.Tensor:
        signs = self.signs.T if is_inverse else self.signs
        return functional.linear(x.to(signs.dtype), signs).float() * len(signs) ** -0.5


class Block(nn.Module):
    def __init__(self, config: Config, tensors: "dict[str, torch.Tensor]", compute: torch.dtype):
        super().__init__()
        self.config = config
        self.compute = compute
        stacked = {
            "qkv": torch.cat([tensors["attn_q"], tensors["attn_k"], tensors["attn_v"]]),
            "output": tensors["attn_output"],
            "gate_up": torch.cat([tensors["ffn_gate"], tensors["ffn_up"]]),
            "down": tensors["ffn_down"],
        }
        self.linears = nn.ModuleDict({name: Linear(weight, compute) for name, weight in stacked.items()})
        self.attention_norm = Norm(tensors["attn_norm"], config.epsilon)
        self.ffn_norm = Norm(tensors["ffn_norm"], config.epsilon)
        power = config.head_size & -config.head_size  # docs/arithmetic.md: the largest that divides the head size
        self.register_buffer("head_rotation", (sylvester(power) / power**0.5).float(), persistent=False)
        self.down_rotation: "Rotation | None" = None

    def rotate_down_input(self) -> None:
        """From here on the input of `down` is rotated (R4); its weight must suit."""
        self.down_rotation = Rotation(self.config.ffn, self.compute)

    def project(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, is_low: bool):
        """Queries, keys and values [batch, heads, tokens, head size] of x [batch, tokens, width]."""
        config = self.config
        sizes = [config.heads * config.head_size] + [config.kv_heads * config.head_size] * 2
        parts = self.linears["qkv"](self.attention_norm(x), is_low).split(sizes, dim=-1)
        q, k, v = (part.unflatten(-1, (-1, config.head_size)).transpose(1, 2) for part in parts)
        return rotate_pairs(q, cosine, sine), rotate_pairs(k, cosine, sine), v

    def finish(self, x: torch.Tensor, heads: torch.Tensor, is_low: bool) -> torch.Tensor:
        """The rest of the layer behind attention's heads [batch, heads, tokens, head size]."""
        x = x + self.linears["output"](heads.transpose(1, 2).flatten(2), is_low)
        gate, up = self.linears["gate_up"](self.ffn_norm(x), is_low).chunk(2, dim=-1)
        inner = functional.silu(gate) * up
        if self.down_rotation is not None:
            inner = self.down_rotation(inner)
        return x + self.linears["down"](inner, is_low)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, is_low: bool) -> torch.Tensor:
        """`is_low`: activations and KV in four bits. Keys and queries are rotated for it, values already are (R2)."""
        q, k, v = self.project(x, cosine, sine, is_low)
        if is_low:
            size = len(self.head_rotation)
            q, k = ((part.unflatten(-1, (-1, size)) @ self.head_rotation).flatten(-2) for part in (q, k))
            k, v = four_bit_kv(k), four_bit_kv(v)
        heads = causal_attention(q.to(self.compute), k.to(self.compute), v.to(self.compute))
        return self.finish(x, heads.float(), is_low)


class Llama(nn.Module):
    """Tensors by their GGUF names. The head is the embedding unless `head` says otherwise."""

    def __init__(self, config: Config, tensors: "dict[str, torch.Tensor]", compute: torch.dtype):
        super().__init__()
        self.config = config
        self.compute = compute
        layers = [
            {name.split(".")[2]: value for name, value in tensors.items() if name.startswith(f"blk.{i}.")}
            for i in range(config.layers)
        ]
        self.embedding = nn.Parameter(tensors["token_embd.weight"].clone())
        head = tensors.get("output.weight")
        self.head = None if head is None else nn.Parameter(head.clone())
        self.final_norm = Norm(tensors["output_norm.weight"], config.epsilon)
        self.blocks = nn.ModuleList([Block(config, layer, compute) for layer in layers])
        self.stream_rotation: "Rotation | None" = None
        self._rope: "tuple[torch.Tensor, torch.Tensor] | None" = None

    def rotate_stream(self) -> None:
        """From here on layers see R·x (R1), which is undone before the final norm."""
        self.stream_rotation = Rotation(self.config.width, torch.float32)

    @classmethod
    def of(cls, file, compute: torch.dtype = torch.float32) -> "Llama":
        names = [entry.name for entry in file.reader.tensors]
        return cls(file.config, {name: file.tensor(name) for name in names}, compute)

    def freeze(self) -> "Llama":
        """No gradients from here on, and matrices kept in what they are computed with."""
        self.requires_grad_(False)
        self.embedding.data = self.embedding.data.to(self.compute)
        for block in self.blocks:
            for linear in block.linears.values():
                linear.weight.data = linear.weight.data.to(self.compute)
        return self

    def head_weight(self) -> torch.Tensor:
        return self.embedding if self.head is None else self.head

    def rope(self, count: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Cosine and sine of positions 0 to count - 1, [count, head size / 2] each."""
        if self._rope is None or len(self._rope[0]) < count:
            size = self.config.head_size
            frequency = self.config.rope_base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
            angle = torch.arange(count, dtype=torch.float64)[:, None] * frequency
            device = self.embedding.device
            self._rope = angle.cos().float().to(device), angle.sin().float().to(device)
        return self._rope[0][:count], self._rope[1][:count]

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        x = functional.embedding(tokens, self.embedding).float()
        return x if self.stream_rotation is None else self.stream_rotation(x)

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        return self.final_norm(x if self.stream_rotation is None else self.stream_rotation(x, is_inverse=True))

    def hidden(self, tokens: torch.Tensor, is_low: bool = False) -> torch.Tensor:
        """Of tokens [batch, tokens]: what the head multiplies, [batch, tokens, width] in float32."""
        cosine, sine = self.rope(tokens.shape[1])
        x = self.embed(tokens)
        # Where layers are trained the first is no different from others, so that one compiled layer serves all.
        x.requires_grad_(torch.is_grad_enabled() and self.final_norm.gain.requires_grad)
        for block in self.blocks:
            x = block(x, cosine, sine, is_low)
        return self.finish(x)

    def forward(self, tokens: torch.Tensor, is_low: bool = False) -> torch.Tensor:
        """Logits [batch, tokens, vocabulary], float32."""
        hidden = self.hidden(tokens, is_low)
        return functional.linear(hidden.to(self.compute), self.head_weight().to(self.compute)).float()
