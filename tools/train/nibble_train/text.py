"""Training text as whole sequences of token ids: sampled from the teacher, or read from files."""

import pathlib
import re

import numpy as np
import torch
import torch.nn.functional as functional

from .llama import Block, Llama
from .model_file import ModelFile
from .recorded import Recorded

SPAN = 64  # cached tokens that attention sees are whole spans of so many: each number is recorded for itself
NAME = re.compile("Ġ[A-Z][a-z]{2,}")
SECOND = ("Ġis", "Ġwas", "Ġand", "Ġ(", ",")  # behind a name
COLDEST = 0.8


class Openings:
    """How texts begin, so that they differ: three of four with a name and a word like "is", the fourth with any token.

    (LLM-QAT, arXiv 2305.17888, section 3.1, begins all with any token.) Without such tokens all begin with any.
    """

    def __init__(self, file: ModelFile):
        tokens = file.value("tokenizer.ggml.tokens")
        self.vocab = len(tokens)
        self.names = torch.tensor([i for i, token in enumerate(tokens) if NAME.fullmatch(token)])
        self.second = torch.tensor([tokens.index(token) for token in SECOND if token in tokens])

    def __call__(self, count: int, length: int, generator: torch.Generator) -> torch.Tensor:
        """Token ids [count, length], below 0 where the model writes: -1 - the token that stands there behind an end."""
        device = generator.device
        def draw(limit: int, *shape: int) -> torch.Tensor:
            return torch.randint(0, limit, shape, generator=generator, device=device)

        firsts = draw(self.vocab, count, length)
        named = torch.arange(count, device=device) % 4 != 3
        has_names = len(self.names) > 0 and len(self.second) > 0
        if has_names:
            names = self.names.to(device)[draw(len(self.names), count, length)]
            firsts = torch.where(named[:, None], names, firsts)
        texts = -1 - firsts
        texts[:, 0] = firsts[:, 0]
        if has_names:
            second = self.second.to(device)[draw(len(self.second), count)]
            texts[:, 1] = torch.where(named, second, texts[:, 1])
        return texts


def temperatures(count: int, device=None) -> torch.Tensor:
    """[count, 1]: texts of a small model at 1 lose their thread soon, much colder ones are all alike."""
    return torch.linspace(COLDEST, 1, count, device=device)[:, None]


def _draw(logits: torch.Tensor, temperature: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """One token of each row by its probability: arg max of p / Exp(1) has law p."""
    return (logits.float() / temperature - noise.log()).argmax(dim=-1)


class Sampler:
    """Writes a batch of texts with a cache of keys and values: [layers][batch, KV heads, tokens, head size].

    The step is the same for all positions but for how many spans of the cache it reads, so a GPU can repeat it.
    """

    def __init__(self, model: Llama, batch: int, length: int, generator: torch.Generator, is_compiled: bool = False):
        self.model, self.generator = model, generator
        config, device = model.config, model.embedding.device
        shape = (batch, config.kv_heads, -(-length // SPAN) * SPAN, config.head_size)
        self.keys, self.values = (
            [torch.zeros(shape, dtype=model.compute, device=device) for _ in range(config.layers)] for _ in range(2)
        )
        self.texts = torch.empty(batch, length, dtype=torch.long, device=device)
        self.temperature = temperatures(batch, device)
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self.rope = model.rope(length)
        parts = (Block.project, Block.finish, _draw)
        self.project, self.finish, self.draw = (
            torch.compile(part, dynamic=False) if is_compiled else part for part in parts
        )
        self.recorded: "dict[int, Recorded] | None" = {} if is_compiled and device.type == "cuda" else None

    def attend(self, layer: int, q: torch.Tensor, spans: int) -> torch.Tensor:
        """Heads [batch, heads, 1, head size] of queries of that shape; those that share keys stand together."""
        config = self.model.config
        shared = q.reshape(len(q), config.kv_heads, -1, config.head_size).to(self.model.compute)
        keys, values = (cache[layer][:, :, : spans * SPAN] for cache in (self.keys, self.values))
        scores = (shared @ keys.transpose(-1, -2)).float() * config.head_size**-0.5
        future = torch.arange(spans * SPAN, device=q.device) > self.position
        shares = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
        return (shares.to(values.dtype) @ values).float().reshape(q.shape)

    def logits(self, spans: int) -> torch.Tensor:
        """[batch, vocabulary] behind the token at the position."""
        model = self.model
        cosine, sine = (table.index_select(0, self.position) for table in self.rope)
        x = model.embed(self.texts.index_select(1, self.position))
        for layer, block in enumerate(model.blocks):
            q, k, v = self.project(block, x, cosine, sine, False)
            self.keys[layer].index_copy_(2, self.position, k.to(model.compute))
            self.values[layer].index_copy_(2, self.position, v.to(model.compute))
            x = self.finish(block, x, self.attend(layer, q, spans), False)
        hidden = model.finish(x)[:, 0].to(model.compute)
        return functional.linear(hidden, model.head_weight().to(model.compute))

    def step(self, spans: int) -> None:
        """The next token: the given one, that of a new text behind an end, or the model's."""
        logits = self.logits(spans)
        noise = torch.empty(logits.shape, device=logits.device).exponential_(generator=self.generator)
        drawn = self.draw(logits, self.temperature, noise)[:, None]
        last, given = (self.texts.index_select(1, self.position + i) for i in range(2))
        written = torch.where(last == self.model.config.eos, -1 - given, drawn)
        self.texts.index_copy_(1, self.position + 1, torch.where(given < 0, written, given))

    def run(self, spans: int) -> None:
        if self.recorded is None:
            self.step(spans)
        elif spans in self.recorded:
            self.recorded[spans]()
        else:  # which takes the step, too
            pool = next(iter(self.recorded.values())).graph.pool() if self.recorded else None
            self.recorded[spans] = Recorded(lambda: self.step(spans), 1, self.generator, pool)

    def write(self, texts: torch.Tensor) -> torch.Tensor:
        """Of texts [batch, length] as `Openings` makes them."""
        self.texts.copy_(texts)
        for position in range(texts.shape[1] - 1):
            self.position.fill_(position)
            self.run(position // SPAN + 1)
        return self.texts.to("cpu", copy=True)


@torch.no_grad()
def sample(model: Llama, openings: Openings, count: int, length: int, batch: int, generator: torch.Generator,
           is_compiled: bool = False) -> torch.Tensor:
    """Token ids [count, length], as the model itself would write. A text that ends is followed by a new one."""
    batch = min(batch, count)
    sampler = Sampler(model, batch, length, generator, is_compiled)
    parts = [sampler.write(openings(batch, length, generator)) for _ in range(-(-count // batch))]
    return torch.cat(parts)[:count]


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
