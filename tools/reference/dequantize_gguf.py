"""Reference values for test/integration/dequantize.test.ts, by the gguf package alone.

Writes FOLDER/weights.gguf with two tensors of every type that Nibble reads, FOLDER/NAME.f32 with the values that
gguf.quants.dequantize gives, and FOLDER/manifest.json (name, ggml type, shape in GGUF order, offset in the file):
  TYPE.quantized  normal values through gguf's own quantizer (where it has one)
  TYPE.blocks     random bytes with random finite f16 scales: every code and scale that a file can hold
Usage: python dequantize_gguf.py FOLDER SEED
"""

import json
import pathlib
import sys

import gguf
import numpy as np

ROWS = 19
# Places of the f16 scales and minima in a block: the struct definitions of the GGUF specification.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "TQ1_0": [52], "TQ2_0": [64],
}  # fmt: skip
FLOATS = ["F32", "F16", "BF16"]


def random_blocks(kind: str, cols: int, rng: np.random.Generator) -> np.ndarray:
    values, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    blocks = rng.integers(0, 256, (ROWS, cols // values, size), dtype=np.uint8)
    for at in SCALES[kind]:
        bits = rng.integers(0, 65536, (ROWS, cols // values), dtype=np.uint16)
        bits = np.where((bits & 0x7C00) == 0x7C00, bits ^ 0x4000, bits)  # neither NaN nor infinity
        blocks[:, :, at] = bits & 255
        blocks[:, :, at + 1] = bits >> 8
    return blocks.reshape(ROWS, -1)


def tensors(rng: np.random.Generator):
    for kind in [*FLOATS, *SCALES]:
        tensor_type = gguf.GGMLQuantizationType[kind]
        values = gguf.GGML_QUANT_SIZES[tensor_type][0]
        cols = 768 if values == 256 else 576
        if not kind.endswith("_K"):
            weights = rng.standard_normal((ROWS, cols)).astype(np.float32)
            weights *= np.exp2(rng.integers(-18, 8, (ROWS, 1))).astype(np.float32)  # f16 scales become subnormal
            yield f"{kind}.quantized", tensor_type, gguf.quants.quantize(weights, tensor_type)
        if kind in SCALES and kind != "TQ2_0":  # of random codes a quarter isn't ternary
            yield f"{kind}.blocks", tensor_type, random_blocks(kind, cols, rng)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    path = folder / "weights.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for name, tensor_type, data in tensors(np.random.default_rng(int(sys.argv[2]))):
        writer.add_tensor(name, data, raw_dtype=tensor_type)
        gguf.quants.dequantize(data, tensor_type).astype("<f4").tofile(folder / f"{name}.f32")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    manifest = [
        {"name": t.name, "type": int(t.tensor_type), "shape": [int(n) for n in t.shape], "offset": int(t.data_offset)}
        for t in gguf.GGUFReader(path).tensors
    ]
    (folder / "manifest.json").write_text(json.dumps(manifest))


if __name__ == "__main__":
    main()
