"""Reads GGUF files with the `gguf` package, independently of Nibble, and prints what it finds as JSON.

usage: gguf_check.py FILE...
One line a file: version, metadata (long arrays as length and SHA-256 of their items), and for each tensor its type,
shape, byte range, and mean, standard deviation and extremes of the dequantized values.
"""

import hashlib
import json
import sys

import gguf
import numpy as np


def field_value(field):
    value = field.contents()
    if isinstance(value, list) and len(value) > 16:
        digest = hashlib.sha256("\n".join(map(str, value)).encode()).hexdigest()
        return {"length": len(value), "sha256": digest}
    return value


def describe_tensor(tensor):
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{tensor.name} has values that are not finite")
    return {
        "name": tensor.name,
        "type": tensor.tensor_type.name,
        "shape": [int(size) for size in tensor.shape],
        "offset": int(tensor.data_offset),
        "bytes": int(tensor.n_bytes),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def main(paths):
    if not paths:
        sys.exit(__doc__)
    for path in paths:
        reader = gguf.GGUFReader(path)
        metadata = {name: field_value(field) for name, field in reader.fields.items()}
        tensors = [describe_tensor(tensor) for tensor in reader.tensors]
        print(json.dumps({"path": path, "metadata": metadata, "tensors": tensors}, ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1:])
