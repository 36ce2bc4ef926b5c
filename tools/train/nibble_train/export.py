"""Writes a student as a GGUF file of Nibble: codes and levels in blocks, the rest as the source file has it.

Layout of NB_W2G64C and NB_W2G128C: native/formats/pack.h. Keys `nibble.*`: src/model/nibble-metadata.ts.
"""

import json
import struct

import numpy as np
import torch

from . import __version__
from .llama import Llama
from .model_file import ModelFile

CODEBOOK_TYPES = {64: 20030, 128: 20031}
ALIGNMENT = 32
F32, UINT32, STRING, UINT64 = 0, 4, 8, 10
PARTS = {
    "qkv": ("attn_q", "attn_k", "attn_v"), "output": ("attn_output",), "gate_up": ("ffn_gate", "ffn_up"),
    "down": ("ffn_down",),
}


def codebook_blocks(scale: torch.Tensor, levels: torch.Tensor, codes: torch.Tensor) -> np.ndarray:
    """scale [N, G] (values of f16), levels [N, G, 4], codes [N, G, g] of 0 to 3 → bytes [N, G · (6 + g/4)].

    Value 16·i + 4·p + b of a block is bits 2p and 2p + 1 of byte 4·i + b.
    """
    rows, groups, size = codes.shape
    quads = codes.reshape(rows, groups, size // 16, 4, 4).to(torch.uint8)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8)[:, None]
    packed = (quads << shifts).sum(dim=3).to(torch.uint8).reshape(rows, groups, size // 4)
    d = scale.half().contiguous().numpy().view(np.uint8).reshape(rows, groups, 2)
    four = levels.to(torch.int8).contiguous().numpy().view(np.uint8)
    return np.concatenate([d, four, packed.numpy()], axis=2).reshape(rows, -1)


def codebook_tensors(student: Llama) -> "dict[str, tuple[int, np.ndarray]]":
    """By GGUF name: tensor type and rows of bytes, of every matrix of the layers."""
    config = student.config
    heads, kv = config.heads * config.head_size, config.kv_heads * config.head_size
    sizes = {"qkv": [heads, kv, kv], "output": [config.width], "gate_up": [config.ffn] * 2, "down": [config.width]}
    tensors = {}
    for layer, block in enumerate(student.blocks):
        for kind, linear in block.linears.items():
            scale, levels = (part.cpu() for part in linear.levels.stored_levels())
            blocks = codebook_blocks(scale, levels, linear.levels.codes(linear.whole_weight()).cpu())
            pieces = np.split(blocks, np.cumsum(sizes[kind])[:-1])
            for name, piece in zip(PARTS[kind], pieces):
                tensors[f"blk.{layer}.{name}.weight"] = (CODEBOOK_TYPES[linear.levels.group], piece)
    return tensors


def float_tensors(student: Llama) -> "dict[str, tuple[int, np.ndarray]]":
    def f32(values: torch.Tensor) -> "tuple[int, np.ndarray]":
        return F32, values.detach().float().cpu().contiguous().numpy().view(np.uint8)

    tensors = {"output_norm.weight": f32(student.final_norm.gain)}
    for layer, block in enumerate(student.blocks):
        tensors[f"blk.{layer}.attn_norm.weight"] = f32(block.attention_norm.gain)
        tensors[f"blk.{layer}.ffn_norm.weight"] = f32(block.ffn_norm.gain)
    return tensors


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _entry(key: str, kind: int, value: bytes) -> bytes:
    return _string(key) + struct.pack("<I", kind) + value


def metadata(file: ModelFile, recipe: dict, text_sha256: str, seed: int) -> "list[bytes]":
    """The entries of the source file as they are, without its own keys of Nibble, and new ones."""
    own = [
        _entry("nibble.format_version", UINT32, struct.pack("<I", 1)),
        _entry("nibble.recipe", STRING, _string(json.dumps(recipe, separators=(",", ":")))),
        _entry("nibble.source.sha256", STRING, _string(file.sha256())),
        _entry("nibble.calibration.sha256", STRING, _string(text_sha256)),
        _entry("nibble.tool.version", STRING, _string(f"nibble-train {__version__}")),
        _entry("nibble.seed", UINT64, struct.pack("<Q", seed)),
    ]
    kept = [
        b"".join(part.tobytes() for part in field.parts)
        for key, field in file.reader.fields.items()
        if not key.startswith(("GGUF.", "nibble."))
    ]
    return kept + own


def write_gguf(path: str, entries: "list[bytes]", tensors: "list[tuple[str, tuple, int, bytes]]") -> None:
    """tensors: name, shape in GGUF order (inputs first), type, data."""
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries)) + b"".join(entries)
    offset = 0
    for name, shape, kind, data in tensors:
        header += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += -(-len(data) // ALIGNMENT) * ALIGNMENT
    with open(path, "wb") as out:
        out.write(header + bytes(-len(header) % ALIGNMENT))
        for _, _, _, data in tensors:
            out.write(data + bytes(-len(data) % ALIGNMENT))


@torch.no_grad()
def export(path: str, file: ModelFile, student: Llama, recipe: dict, text_sha256: str, seed: int) -> None:
    if file.value("general.alignment", ALIGNMENT) != ALIGNMENT:
        raise ValueError(f"{file.path}: only files aligned to {ALIGNMENT} bytes are copied")
    made = {**float_tensors(student), **codebook_tensors(student)}
    tensors = []
    for source in file.reader.tensors:
        kind, data = made.get(source.name, (int(source.tensor_type), source.data))
        tensors.append((source.name, tuple(int(size) for size in source.shape), kind, data.tobytes()))
    write_gguf(path, metadata(file, recipe, text_sha256, seed), tensors)
