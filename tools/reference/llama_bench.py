"""Runs the llama.cpp of the xllamacpp package for `nibble bench peers`: JSON requests on standard input, one a line,
answers on file descriptor 3. src/cli/bench/peer-messages.ts describes both.

A batch of several sequences holds a token of each, as llama.cpp's own parallel decoding does. Nothing is sampled: the
next tokens are those of the prompt again, so the peer isn't charged for it.
"""

import ctypes
import json
import os
import sys
import time

from llama_peer import Peer

STEP_TOKENS = 512  # llama.cpp's default, and its fastest here
FLASH_ATTENTION = 1


def load(request: dict) -> tuple[Peer, dict]:
    sequences = request["sequences"]
    context_tokens = -(-request["tokensMax"] // 256) * 256  # llama.cpp would round up itself
    peer = Peer(
        request["modelPath"],
        context_tokens,
        request["threads"],
        sequences=sequences,
        step_tokens=STEP_TOKENS,
        flash_attention=FLASH_ATTENTION,
    )
    features = ", ".join(part.split(" = ")[0].split()[-1] for part in peer.system_info().split("|") if "= 1" in part)
    settings = f"threads {request['threads']}, flash attention, batch {STEP_TOKENS}, KV f16; {features}"
    return peer, {"kind": "loaded", "settings": settings}


def fill(peer: Peer, rows: list[tuple[int, int, int, bool]]) -> None:
    """Rows of the next batch: token, position, sequence, whether its logits are wanted."""
    batch = peer.batch
    batch.n_tokens = len(rows)
    for i, (token, position, sequence, is_wanted) in enumerate(rows):
        batch.token[i], batch.pos[i] = token, position
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        batch.logits[i] = int(is_wanted)


def wait(peer: Peer) -> None:
    """llama_decode may return early; reading the logits doesn't."""
    peer.library.llama_synchronize(ctypes.c_void_p(peer.context))


def run(peer: Peer, prompts: list[list[int]], generate: int) -> dict:
    peer.clear()
    start = time.perf_counter()
    for sequence, prompt in enumerate(prompts):
        for at in range(0, len(prompt), STEP_TOKENS):
            piece = range(at, min(len(prompt), at + STEP_TOKENS))
            fill(peer, [(prompt[i], i, sequence, i + 1 == len(prompt)) for i in piece])
            peer.decode()
    wait(peer)
    middle = time.perf_counter()
    for step in range(generate):
        fill(peer, [(p[step % len(p)], len(p) + step, sequence, True) for sequence, p in enumerate(prompts)])
        peer.decode()
        wait(peer)
    end = time.perf_counter()
    return {"kind": "ran", "prefillSeconds": middle - start, "decodeSeconds": end - middle}


def main() -> None:
    peer = None
    with os.fdopen(3, "w") as answers:
        for line in sys.stdin:
            request = json.loads(line)
            try:
                if request["kind"] == "load":
                    peer, answer = load(request)
                elif peer is None:
                    answer = {"kind": "failed", "message": "no model is loaded"}
                else:
                    answer = run(peer, request["prompts"], request["generate"])
            except SystemExit as error:
                answer = {"kind": "failed", "message": str(error)}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
