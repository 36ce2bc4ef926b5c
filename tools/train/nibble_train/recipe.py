"""The recipe that a trained file carries (docs/quantization.md): what it holds, and how it is computed with."""

from .model_file import ModelFile

FLOATS = {0: "f32", 1: "f16", 30: "bf16"}
ROWS_OF_TYPE = {**FLOATS, 2: "w4g32", 3: "w4g32a", 6: "w5g32", 7: "w5g32a", 8: "w8g32"}  # GGUF type: name in recipes


def _copied(file: ModelFile, name: str) -> str:
    """How a recipe calls the format of a tensor that is copied. Raises ValueError if it has no name."""
    kind = file.type_of(name)
    if kind not in ROWS_OF_TYPE:
        raise ValueError(f"{file.path}: {name} would be copied, but no recipe has its type ({kind})")
    return ROWS_OF_TYPE[kind]


def recipe_of(file: ModelFile, group: int, is_low: bool, window: int, tokens: int, seed: int) -> dict:
    """Of layers trained in groups of `group` from `file`, whose embedding and head are copied."""
    weights = f"w2g{group}c"
    activations = "a4" if is_low else "f32"
    layer = {"weights": weights, "activations": activations}
    embedding = _copied(file, "token_embd.weight")
    head = embedding if file.is_tied else _copied(file, "output.weight")
    reads_floats = head in FLOATS.values() or not is_low
    return {
        "version": 1,
        "name": "rcp-w2a4-trained" if is_low else "rcp-w2a16-trained",
        "classes": {
            "qkv": layer, "output": layer, "gateUp": layer, "down": layer,
            "head": {"weights": head, "activations": "f32" if reads_floats else "a8"},
            "embedding": {"weights": embedding},
        },
        "rounding": "rtn",
        "clip": "none",
        "levels": "learned",
        "rotation": "hadamard",
        "scaling": "none",
        "calibration": {"source": "self", "tokens": min(tokens, 16_777_216), "window": window, "seed": seed},
    }
