"""Greedy continuations by llama.cpp: lines {"prompt": [ids], "continuation": [ids]} for `nibble eval teacher-forced`.

Prompts are consecutive pieces of a text, evenly spread over it.
Usage: python llama_greedy.py MODEL.gguf TEXT OUTPUT.jsonl [--prompts 20] [--prompt-tokens 48] [--tokens 32]
"""

import argparse
import json

from llama_peer import Peer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("output")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--prompt-tokens", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=32)
    arguments = parser.parse_args()
    length = arguments.prompt_tokens
    peer = Peer(arguments.model, length + arguments.tokens)
    with open(arguments.text, encoding="utf-8", errors="replace", newline="") as file:
        ids = peer.tokenize(file.read())
    stride = (len(ids) - length) // arguments.prompts
    with open(arguments.output, "w", encoding="utf-8") as output:
        for start in range(0, stride * arguments.prompts, stride):
            prompt = ids[start : start + length]
            peer.clear()
            continuation = [int(peer.logits(prompt, 0, range(length - 1, length)).argmax())]
            while len(continuation) < arguments.tokens:
                position = length + len(continuation) - 1
                continuation.append(int(peer.logits(continuation[-1:], position, range(1)).argmax()))
            output.write(json.dumps({"prompt": prompt, "continuation": continuation}) + "\n")


if __name__ == "__main__":
    main()
