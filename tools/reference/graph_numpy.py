"""A decoder-only transformer (llama, qwen2, qwen3) in float64 NumPy, read from a GGUF file by the gguf package.

Written from the papers and the GGUF specification, not from Nibble's code: RMSNorm (Zhang & Sennrich 2019), rotary
embedding (Su et al. 2021), grouped-query attention (Ainslie et al. 2023), SwiGLU (Shazeer 2020), YaRN (Peng et al.
2023), Llama 3.1's frequency rule. Nothing is rounded but the weights, which are as the file has them. With --kv-f16
keys and values are rounded to f16, as Nibble's cache holds them.

With --importance FILE a token's importance in each layer is written, too: its own softmax weight on position 0, summed
over the heads; float64, the layers' tokens one after the other. With --hidden FILE so is the residual stream behind
each layer. With --prune WINDOWS:LAYERS=TOKENS[,LAYERS=TOKENS…] the first WINDOWS windows of 256 tokens have only so
many tokens left behind so many layers: the first of all, and the most important runs of 64, of equals the later one;
those that are left stand side by side.

Usage: python graph_numpy.py MODEL.gguf IDS.json OUTPUT [--kv-f16] [--importance FILE] [--hidden FILE] [--prune SPEC]
IDS.json: [ids]. OUTPUT: float64, little endian, [tokens left in the end, vocab].
"""

import argparse
import json
import math
import sys

import gguf
import numpy as np


class Model:
    def __init__(self, path: str) -> None:
        reader = gguf.GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.fields = reader.fields
        self.name = self.field("general.architecture")
        self.layers = self.key("block_count")
        self.hidden = self.key("embedding_length")
        self.heads = self.key("attention.head_count")
        self.kv_heads = self.key("attention.head_count_kv", self.heads)
        self.head_dim = self.key("attention.key_length", self.hidden // self.heads)
        self.rotary = self.key("rope.dimension_count", self.head_dim)
        self.eps = self.key("attention.layer_norm_rms_epsilon")

    def field(self, name: str, default=None):
        return self.fields[name].contents() if name in self.fields else default

    def key(self, name: str, default=None):
        return self.field(f"{self.name}.{name}", default)

    def tensor(self, name: str) -> np.ndarray | None:
        """[outputs, inputs] or [size], in float64; None if the file hasn't got it."""
        found = self.tensors.get(name)
        if found is None:
            return None
        return gguf.quants.dequantize(found.data, found.tensor_type).astype(np.float64)


def rope_frequencies(model: Model) -> tuple[np.ndarray, float]:
    """Radians per position of each pair, and the factor on cosine and sine."""
    pairs, base = model.rotary // 2, model.key("rope.freq_base", 10000.0)
    theta = base ** (-2.0 * np.arange(pairs) / model.rotary)
    factors = model.tensor("rope_freqs.weight")
    if factors is not None:
        return theta / factors, 1.0
    kind, factor = model.key("rope.scaling.type", "none"), model.key("rope.scaling.factor", 1.0)
    context = model.key("rope.scaling.original_context_length")
    if kind == "linear":
        return theta / factor, 1.0
    if kind == "llama3":
        low, high = model.key("rope.scaling.low_freq_factor"), model.key("rope.scaling.high_freq_factor")
        wavelength = 2 * math.pi / theta
        mix = np.clip((context / wavelength - low) / (high - low), 0, 1)
        return theta * ((1 - mix) / factor + mix), 1.0
    if kind == "yarn":

        def correction(turns: float) -> float:
            return model.rotary * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(base))

        first = max(0, math.floor(correction(model.key("rope.scaling.yarn_beta_fast", 32.0))))
        last = min(model.rotary - 1, math.ceil(correction(model.key("rope.scaling.yarn_beta_slow", 1.0))))
        kept = 1 - np.clip((np.arange(pairs) - first) / max(0.001, last - first), 0, 1)
        magnitude = model.key("rope.scaling.yarn_attn_factor", 1.0) * (1 + 0.1 * math.log(factor))
        return theta * kept + theta / factor * (1 - kept), magnitude
    return theta, 1.0


def rms_norm(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * gain


def rotate(model: Model, x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """x [tokens, heads, head_dim]; cos, sin [tokens, rotary / 2]. GGUF's llama files pair neighbours, others halves."""
    out, half = x.copy(), model.rotary // 2
    neighbours = model.name == "llama"
    first = slice(0, model.rotary, 2) if neighbours else slice(0, half)
    second = slice(1, model.rotary, 2) if neighbours else slice(half, model.rotary)
    cos, sin = cos[:, None, :], sin[:, None, :]
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., first] * sin + x[..., second] * cos
    return out


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Causal. q [tokens, heads, d]; k, v [tokens, kv_heads, d] -> [tokens, heads · d], importances [tokens]."""
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[2])
    scores = np.where(np.tril(np.ones(scores.shape[1:], bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("hij,jhd->ihd", weights, v).reshape(q.shape[0], -1), weights[:, :, 0].sum(axis=0)


class Pruning:
    def __init__(self, spec: str) -> None:
        windows, _, cuts = spec.partition(":")
        self.sizes = [256] * int(windows)
        self.cuts = dict(tuple(map(int, cut.split("="))) for cut in cuts.split(",") if cut)

    def kept(self, layers: int, importance: np.ndarray) -> np.ndarray:
        """Behind `layers` layers: the places of the tokens that stay, ascending."""
        if layers not in self.cuts:
            return np.arange(len(importance))
        kept, start, count = [], 0, self.cuts[layers]
        for size in self.sizes:
            chosen = [0] if start == 0 else []
            first, end = start + len(chosen), start + size
            # Runs of 64 adjacent tokens, counted from the window's end, by their sums.
            runs = [range(max(first, stop - 64), stop) for stop in range(end, first, -64)]
            for run in sorted(runs, key=lambda run: (sum(importance[list(run)]), run.stop), reverse=True):
                missing = count - len(chosen)
                chosen += list(run)[max(0, len(run) - missing) :]
            kept += sorted(chosen)
            start += size
        self.sizes = [count] * len(self.sizes)
        return np.array(kept + list(range(start, len(importance))), dtype=int)


def forward(
    model: Model, ids: list[int], kv_f16: bool, pruning: Pruning
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Logits of the tokens that are left, every layer's importances, and the residual stream behind every layer."""

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        y = x @ model.tensor(f"{name}.weight").T
        bias = model.tensor(f"{name}.bias")
        return y if bias is None else y + bias

    def heads_normed(x: np.ndarray, name: str) -> np.ndarray:
        gain = model.tensor(f"{name}.weight")
        return x if gain is None else rms_norm(x, gain, model.eps)

    theta, magnitude = rope_frequencies(model)
    importances, hidden = [], []
    embedding = model.tensor("token_embd.weight")
    x = embedding[ids]
    for layer in range(model.layers):
        block = f"blk.{layer}."
        tokens = len(x)
        angles = np.arange(tokens)[:, None] * theta
        cos, sin = np.cos(angles) * magnitude, np.sin(angles) * magnitude
        h = rms_norm(x, model.tensor(f"{block}attn_norm.weight"), model.eps)
        q = linear(h, f"{block}attn_q").reshape(tokens, model.heads, model.head_dim)
        k = linear(h, f"{block}attn_k").reshape(tokens, model.kv_heads, model.head_dim)
        v = linear(h, f"{block}attn_v").reshape(tokens, model.kv_heads, model.head_dim)
        q = rotate(model, heads_normed(q, f"{block}attn_q_norm"), cos, sin)
        k = rotate(model, heads_normed(k, f"{block}attn_k_norm"), cos, sin)
        if kv_f16:
            k, v = k.astype(np.float16).astype(np.float64), v.astype(np.float16).astype(np.float64)
        attended, importance = attention(q, k, v)
        importances.append(importance)
        x = x + linear(attended, f"{block}attn_output")
        h = rms_norm(x, model.tensor(f"{block}ffn_norm.weight"), model.eps)
        gate = linear(h, f"{block}ffn_gate")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, f"{block}ffn_up"), f"{block}ffn_down")
        hidden.append(x)
        x = x[pruning.kept(layer + 1, importance)]
    x = rms_norm(x, model.tensor("output_norm.weight"), model.eps)
    head = model.tensor("output.weight")
    return x @ (embedding if head is None else head).T, importances, hidden


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("model", "ids", "output"):
        parser.add_argument(name)
    parser.add_argument("--kv-f16", action="store_true")
    parser.add_argument("--importance")
    parser.add_argument("--hidden")
    parser.add_argument("--prune", default="0:")
    args = parser.parse_args()
    with open(args.ids, encoding="utf-8") as file:
        ids = json.load(file)
    logits, importances, hidden = forward(Model(args.model), ids, args.kv_f16, Pruning(args.prune))
    logits.astype("<f8").tofile(args.output)
    if args.importance:
        np.concatenate(importances).astype("<f8").tofile(args.importance)
    if args.hidden:
        np.concatenate(hidden).astype("<f8").tofile(args.hidden)


if __name__ == "__main__":
    main()
