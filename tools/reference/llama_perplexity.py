"""Perplexity of llama.cpp on a text: windows without overlap, the last short one dropped, rows window/2 … window − 2
scored (llama.cpp's own protocol, 255 targets of 512). Losses are computed in float64 from llama.cpp's logits.

Usage: python llama_perplexity.py MODEL.gguf TEXT [--window 512] [--threads 2] [--ids IDS.json]
--ids also writes the token ids, to compare them with another tokenizer's.
"""

import argparse
import json
import math

import numpy as np
from llama_peer import Peer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ids")
    arguments = parser.parse_args()
    peer = Peer(arguments.model, arguments.window, arguments.threads)
    with open(arguments.text, encoding="utf-8", errors="replace", newline="") as file:
        ids = peer.tokenize(file.read())
    if arguments.ids:
        with open(arguments.ids, "w", encoding="utf-8") as file:
            json.dump(ids, file)
    window, losses = arguments.window, []
    scored = range(window // 2, window - 1)
    for start in range(0, len(ids) - window + 1, window):
        piece = ids[start : start + window]
        peer.clear()
        logits = peer.logits(piece, 0, scored).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        targets = np.array(piece)[window // 2 + 1 :]
        losses.extend(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets])
    perplexity = math.exp(np.mean(losses))
    error = perplexity * np.std(losses, ddof=1) / math.sqrt(len(losses))
    print(json.dumps({"perplexity": perplexity, "standardError": error, "targets": len(losses), "tokens": len(ids)}))


if __name__ == "__main__":
    main()
