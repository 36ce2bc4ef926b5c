import json
import struct

import gguf
import numpy as np
import pytest
import torch

from nibble_train.export import codebook_blocks, export
from nibble_train.model_file import ModelFile
from nibble_train.recipe import recipe_of
from nibble_train.student import make_student


def decode_row(data: bytes, group: int) -> list:
    """By the words of native/formats/pack.h."""
    size, values = 6 + group // 4, []
    for start in range(0, len(data), size):
        block = data[start : start + size]
        d = float(np.frombuffer(block[:2], dtype=np.float16)[0])
        levels = struct.unpack("4b", block[2:6])
        assert list(levels) == sorted(levels) and min(levels) >= -32 and max(levels) <= 31
        for index in range(group):
            i, p, b = index // 16, index % 16 // 4, index % 4
            values.append(d * levels[block[6 + 4 * i + b] >> (2 * p) & 3])
    return values


@pytest.mark.parametrize("group", [64, 128])
def test_blocks_hold_what_was_given(group):
    scale = torch.rand(3, 2).half().float()
    levels = torch.randint(-32, 32, (3, 2, 4)).sort(dim=-1).values.float()
    codes = torch.randint(0, 4, (3, 2, group))
    rows = codebook_blocks(scale, levels, codes)
    assert rows.shape == (3, 2 * (6 + group // 4))
    expected = (scale[..., None] * levels).gather(2, codes).reshape(3, -1)
    for row in range(3):
        np.testing.assert_allclose(decode_row(rows[row].tobytes(), group), expected[row].numpy(), rtol=1e-6)


def read_tensors(path: str, monkeypatch) -> "tuple[dict, dict]":
    """Tensors (type, rows of bytes) and metadata by the gguf package, told the size of the codebook's blocks."""
    kinds = {20030: (64, 22), 20031: (128, 38)}
    real = gguf.constants.GGMLQuantizationType

    class Types:
        F32, F64, F16 = real.F32, real.F64, real.F16
        I8, I16, I32, I64 = real.I8, real.I16, real.I32, real.I64

        def __new__(cls, value):
            return value if value in kinds else real(value)

    monkeypatch.setattr("gguf.gguf_reader.GGMLQuantizationType", Types)
    monkeypatch.setattr("gguf.gguf_reader.GGML_QUANT_SIZES", {**gguf.GGML_QUANT_SIZES, **kinds})
    monkeypatch.setattr("gguf.gguf_reader.quant_shape_to_byte_shape", lambda shape, kind: (
        *shape[:-1], shape[-1] // (kinds[kind] if kind in kinds else gguf.GGML_QUANT_SIZES[kind])[0]
        * (kinds[kind] if kind in kinds else gguf.GGML_QUANT_SIZES[kind])[1]))
    reader = gguf.GGUFReader(path)
    tensors = {entry.name: (entry.tensor_type, entry.data) for entry in reader.tensors}
    return tensors, {key: field.contents() for key, field in reader.fields.items()}


def test_the_file_holds_the_student_and_says_how_it_was_made(toy, tmp_path, monkeypatch):
    student = make_student(toy, 64, torch.float32)
    with torch.no_grad():
        student.blocks[1].ffn_norm.gain[3] = 1.25
    path = str(tmp_path / "student.gguf")
    recipe = recipe_of(toy, 64, True, 24, 1536, 1)
    export(path, toy, student, recipe, "ab" * 32, 1)
    tensors, keys = read_tensors(path, monkeypatch)
    assert json.loads(keys["nibble.recipe"]) == recipe
    assert recipe["classes"]["embedding"] == {"weights": "f32"}  # as the toy has it
    assert recipe["classes"]["head"] == {"weights": "f32", "activations": "f32"}
    assert keys["nibble.format_version"] == 1 and keys["nibble.calibration.sha256"] == "ab" * 32
    assert keys["nibble.source.sha256"] == toy.sha256() and keys["nibble.seed"] == 1
    assert keys["tokenizer.ggml.tokens"] == toy.value("tokenizer.ggml.tokens")
    assert list(tensors) == [entry.name for entry in toy.reader.tensors]
    assert np.array_equal(tensors["token_embd.weight"][1], toy.tensor("token_embd.weight").numpy())
    assert tensors["blk.1.ffn_norm.weight"][1][3] == np.float32(1.25)
    linear = student.blocks[1].linears["qkv"]
    expected = linear.levels(linear.whole_weight()).detach().numpy()
    for name, first in (("attn_q", 0), ("attn_k", 128), ("attn_v", 192)):
        kind, rows = tensors[f"blk.1.{name}.weight"]
        assert kind == 20030
        for row in (0, len(rows) - 1):
            np.testing.assert_allclose(decode_row(rows[row].tobytes(), 64), expected[first + row], rtol=1e-6)


def test_models_of_other_kinds_are_refused(toy, tmp_path):
    path = str(tmp_path / "other.gguf")
    data = toy.path.read_bytes().replace(b"attn_q.weight", b"attn_x.weight")
    (tmp_path / "other.gguf").write_bytes(data)
    with pytest.raises(ValueError, match="another kind of model"):
        ModelFile(path)
