"""Reads Llama-type models from GGUF files: configuration, float tensors, and the tokenizer for a user's text."""

import dataclasses
import hashlib
import pathlib

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

CONTROL = 3
LAYER_TENSORS = (
    "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down",
)


@dataclasses.dataclass(frozen=True)
class Config:
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    ffn: int
    vocab: int
    rope_base: float
    epsilon: float
    bos: int
    eos: int


class ModelFile:
    """A GGUF file of architecture `llama` without biases and rope scaling; anything else is refused."""

    def __init__(self, path: str):
        self.path = pathlib.Path(path)
        self.reader = GGUFReader(path)
        self.config = self._config()
        wanted = {"token_embd.weight", "output_norm.weight"}
        wanted |= {f"blk.{i}.{name}.weight" for i in range(self.config.layers) for name in LAYER_TENSORS}
        self._entries = {entry.name: entry for entry in self.reader.tensors}
        self.is_tied = "output.weight" not in self._entries
        if not self.is_tied:
            wanted.add("output.weight")
        if set(self._entries) != wanted:
            raise ValueError(f"tensors of another kind of model: {sorted(set(self._entries) ^ wanted)[:5]}")

    def value(self, key: str, otherwise=None):
        field = self.reader.fields.get(key)
        if field is None and otherwise is None:
            raise ValueError(f"{self.path}: no {key}")
        return otherwise if field is None else field.contents()

    def _config(self) -> Config:
        architecture = self.value("general.architecture")
        if architecture != "llama" or self.value("llama.rope.scaling.type", "none") != "none":
            raise ValueError(f"{self.path}: only plain llama models are trained, not {architecture}")
        heads = self.value("llama.attention.head_count")
        width = self.value("llama.embedding_length")
        config = Config(
            layers=self.value("llama.block_count"), width=width, heads=heads,
            kv_heads=self.value("llama.attention.head_count_kv", heads),
            head_size=self.value("llama.attention.key_length", width // heads),
            ffn=self.value("llama.feed_forward_length"), vocab=len(self.value("tokenizer.ggml.tokens")),
            rope_base=self.value("llama.rope.freq_base", 10000.0),
            epsilon=self.value("llama.attention.layer_norm_rms_epsilon"),
            bos=self.value("tokenizer.ggml.bos_token_id", 0), eos=self.value("tokenizer.ggml.eos_token_id", 0),
        )
        if self.value("llama.rope.dimension_count", config.head_size) != config.head_size:
            raise ValueError(f"{self.path}: partial rotary embedding is not trained")
        return config

    def type_of(self, name: str) -> int:
        """The GGUF number of the format of a tensor."""
        return int(self._entries[name].tensor_type)

    def tensor(self, name: str) -> torch.Tensor:
        """Float32, rows of outputs: [N, K], or [K] for a norm."""
        entry = self._entries[name]
        values = dequantize(entry.data, entry.tensor_type)
        return torch.from_numpy(np.array(values, dtype=np.float32))

    def layer_tensor(self, layer: int, name: str) -> torch.Tensor:
        return self.tensor(f"blk.{layer}.{name}.weight")

    def sha256(self) -> str:
        return sha256_of(self.path)

    def tokenizer(self):
        """For a user's text: the `tokenizers` package with this file's vocabulary. Byte-level BPE only."""
        from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

        if self.value("tokenizer.ggml.model") != "gpt2" or self.value("tokenizer.ggml.pre") not in ("smollm", "gpt-2"):
            raise ValueError("text can be read with the pre-tokenizers smollm and gpt-2 only")
        tokens, types = self.value("tokenizer.ggml.tokens"), self.value("tokenizer.ggml.token_type")
        merges = [tuple(merge.split(" ")) for merge in self.value("tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
        steps = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
        if self.value("tokenizer.ggml.pre") == "smollm":
            steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        special = [token for token, kind in zip(tokens, types) if kind == CONTROL]
        tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
        return tokenizer


def sha256_of(path: "str | pathlib.Path") -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
