"""Training text as whole sequences of token ids: sampled from the teacher, or read from files."""

import pathlib

import numpy as np
import torch
import torch.nn.functional as functional

from .llama import Llama, attention
from .model_file import ModelFile


class _Cache:
    """Keys and values of a batch, all layers: [layers, batch, KV heads, tokens, head size]."""

    def __init__(self, model: Llama, batch: int, tokens: int):
        config = model.config
        shape = (config.layers, batch, config.kv_heads, tokens, config.head_size)
        device = model.embedding.device
        self.keys = torch.zeros(shape, dtype=model.compute, device=device)
        self.values = torch.zeros(shape, dtype=model.compute, device=device)


def _next_logits(model: Llama, tokens: torch.Tensor, position: int, cache: _Cache) -> torch.Tensor:
    """Logits [batch, vocabulary] behind tokens [batch] at `position`."""
    config = model.config
    cosine, sine = (table[position : position + 1] for table in model.rope(cache.keys.shape[3]))
    x = model.embed(tokens[:, None])
    for layer, block in enumerate(model.blocks):
        q, k, v = block.project(x, cosine, sine, is_low=False)
        cache.keys[layer, :, :, position] = k[:, :, 0].to(model.compute)
        cache.values[layer, :, :, position] = v[:, :, 0].to(model.compute)
        # Queries that share keys stand where attention expects several tokens: all see every position so far.
        shared = q.reshape(len(x), config.kv_heads, -1, config.head_size).to(model.compute)
        seen = slice(0, position + 1)
        heads = attention(shared, cache.keys[layer, :, :, seen], cache.values[layer, :, :, seen], is_causal=False)
        x = block.finish(x, heads.float().reshape(len(x), config.heads, 1, config.head_size), is_low=False)
    hidden = model.finish(x)[:, 0]
    return functional.linear(hidden.to(model.compute), model.head_weight().to(model.compute)).float()


@torch.no_grad()
def sample(model: Llama, count: int, length: int, batch: int, generator: torch.Generator) -> torch.Tensor:
    """Token ids [count, length], drawn at temperature 1, as the model itself would write.

    The first token is drawn evenly from the vocabulary, so that texts differ; a text that ends is followed by another
    behind its end token, as in training. (LLM-QAT, arXiv 2305.17888, section 3.1, without its greedy beginning.)
    """
    device = model.embedding.device
    parts = []
    for start in range(0, count, batch):
        size = min(batch, count - start)
        cache = _Cache(model, size, length)
        tokens = torch.empty(size, length, dtype=torch.long, device=device)
        tokens[:, 0] = torch.randint(0, model.config.vocab, (size,), generator=generator, device=device)
        for position in range(length - 1):
            logits = _next_logits(model, tokens[:, position], position, cache)
            noise = torch.empty_like(logits).exponential_(generator=generator)  # arg max of p / Exp(1) has law p
            tokens[:, position + 1] = (logits - noise.log()).argmax(dim=-1)
        parts.append(tokens.cpu())
    return torch.cat(parts)


def read_texts(file: ModelFile, paths: "list[str]") -> torch.Tensor:
    """Token ids [n] of UTF-8 files, an end token behind each."""
    tokenizer = file.tokenizer()
    ids = []
    for path in paths:
        ids += tokenizer.encode(pathlib.Path(path).read_text(encoding="utf-8"), add_special_tokens=False).ids
        ids.append(file.config.eos)
    return torch.tensor(ids)


def sequences(ids: torch.Tensor, length: int) -> torch.Tensor:
    """[n, length] of ids [m]; the rest is dropped."""
    return ids[: len(ids) // length * length].reshape(-1, length)


def save(path: str, tokens: torch.Tensor) -> None:
    np.save(path, tokens.numpy().astype(np.int32))


def load(path: str) -> torch.Tensor:
    tokens = torch.from_numpy(np.load(path, allow_pickle=False)).long()
    if tokens.ndim != 2:
        raise ValueError(f"{path}: sequences of token ids were expected, [count, length]")
    return tokens
