"""Reference values for test/native/quantize-reference.test.ts, in float64, by other code than ours.

Writes into FOLDER, for a matrix of random weights whose inputs are correlated and of very different size:
  weights.f32 [ROWS, COLS], hessian.f32 [COLS, COLS]
  FORMAT.rtn              blocks by the gguf package's own quantizer
  manifest.json           {"rows", "cols", "gptq": [{"format", "actOrder", "loss", "rtnLoss"}]}
Losses are tr(E·H·Eᵀ) / tr(W·H·Wᵀ) with the damped H. GPTQ is algorithm 1 of Frantar et al. (2022), with the inverse's
Cholesky factor as in the paper; groups get their scales when they are reached, or with act-order before, from the
weights as they are.
Usage: python quantize_matrix.py FOLDER SEED
"""

import json
import pathlib
import sys

import gguf
import numpy as np

ROWS, COLS, TOKENS, DAMPING = 400, 256, 700, 0.01
GGUF_TYPES = {"w4g32": "Q4_0", "w4g32a": "Q4_1", "w5g32": "Q5_0", "w5g32a": "Q5_1", "w8g32": "Q8_0"}
# lowest code, highest code, group, affine
FORMATS = {
    "w4g32": (-8, 7, 32, False),
    "w4g32a": (0, 15, 32, True),
    "w5g32": (-16, 15, 32, False),
    "w4g64": (-8, 7, 64, False),
    "w4g128a": (0, 15, 128, True),
    "w4row": (-7, 7, COLS, False),
}  # fmt: skip


def scale_of(format_name: str, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and minimum of each row's group, by the format's own rule, as the file can hold them."""
    low, high, group, affine = FORMATS[format_name]
    minimum = np.zeros(len(w))
    if affine:
        minimum = w.min(axis=1)
        scale = (w.max(axis=1) - minimum) / high
    elif low == -high:
        scale = np.abs(w).max(axis=1) / high
    else:
        scale = np.take_along_axis(w, np.abs(w).argmax(axis=1)[:, None], axis=1)[:, 0] / low
    store = np.float32 if group == COLS else np.float16
    return scale.astype(store).astype(np.float64), minimum.astype(store).astype(np.float64)


def to_grid(format_name: str, w: np.ndarray, scale: np.ndarray, minimum: np.ndarray) -> np.ndarray:
    low, high, _, _ = FORMATS[format_name]
    codes = np.divide(w - minimum, scale, out=np.zeros_like(w), where=scale != 0)
    return np.clip(np.rint(codes), low, high) * scale + minimum


def gptq(format_name: str, weights: np.ndarray, h: np.ndarray, act_order: bool) -> np.ndarray:
    group = FORMATS[format_name][2]
    w = weights.copy()
    scales = [scale_of(format_name, weights[:, i : i + group]) for i in range(0, COLS, group)]
    order = np.argsort(-np.diag(h), kind="stable") if act_order else np.arange(COLS)
    upper = np.linalg.cholesky(np.linalg.inv(h[np.ix_(order, order)])).T
    w = w[:, order]
    quantized = np.zeros_like(w)
    for i, column in enumerate(order):
        if not act_order and group != COLS and i % group == 0:
            scales[i // group] = scale_of(format_name, w[:, i : i + group])
        quantized[:, i] = to_grid(format_name, w[:, i], *scales[column // group])
        error = (w[:, i] - quantized[:, i]) / upper[i, i]
        w[:, i:] -= np.outer(error, upper[i, i:])
    result = np.empty_like(quantized)
    result[:, order] = quantized
    return result


def rtn(format_name: str, weights: np.ndarray) -> np.ndarray:
    group = FORMATS[format_name][2]
    result = np.empty_like(weights)
    for i in range(0, COLS, group):
        scale, minimum = scale_of(format_name, weights[:, i : i + group])
        result[:, i : i + group] = to_grid(format_name, weights[:, i : i + group], scale[:, None], minimum[:, None])
    return result


def main(folder: pathlib.Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((COLS, COLS)) * (rng.random(COLS) < 0.2) + 2 * np.eye(COLS)
    inputs = rng.standard_normal((TOKENS, COLS)) @ mix * np.exp(rng.standard_normal(COLS))
    weights = (rng.standard_normal((ROWS, COLS)) * 0.05).astype(np.float32)
    hessian = (inputs.T @ inputs).astype(np.float32)
    weights.tofile(folder / "weights.f32")
    hessian.tofile(folder / "hessian.f32")
    for name, kind in GGUF_TYPES.items():
        gguf.quants.quantize(weights, gguf.GGMLQuantizationType[kind]).tofile(folder / f"{name}.rtn")
    h = hessian.astype(np.float64)
    h += DAMPING * np.mean(np.diag(h)) * np.eye(COLS)
    w = weights.astype(np.float64)
    energy = np.sum((w @ h) * w)
    loss = lambda q: float(np.sum(((w - q) @ h) * (w - q)) / energy)  # noqa: E731
    results = [
        {"format": name, "actOrder": act, "loss": loss(gptq(name, w, h, act)), "rtnLoss": loss(rtn(name, w))}
        for name in FORMATS
        for act in (False, True)
    ]
    (folder / "manifest.json").write_text(json.dumps({"rows": ROWS, "cols": COLS, "gptq": results}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
