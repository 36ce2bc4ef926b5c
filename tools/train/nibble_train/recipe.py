"""The recipe that a trained file carries (docs/quantization.md): what it holds, and how it is computed with."""


def recipe_of(group: int, is_low: bool, window: int, tokens: int, seed: int) -> dict:
    weights = f"w2g{group}c"
    activations = "a4" if is_low else "f32"
    layer = {"weights": weights, "activations": activations}
    head = {"weights": "w8g32", "activations": "a8" if is_low else "f32"}
    return {
        "version": 1,
        "name": "rcp-w2a4-trained" if is_low else "rcp-w2a16-trained",
        "classes": {
            "qkv": layer, "output": layer, "gateUp": layer, "down": layer,
            "head": head, "embedding": {"weights": "w8g32"},
        },
        "rounding": "rtn",
        "clip": "none",
        "levels": "learned",
        "rotation": "hadamard",
        "scaling": "none",
        "calibration": {"source": "self", "tokens": min(tokens, 16_777_216), "window": window, "seed": seed},
    }
