"""llama.cpp's own HTTP server, the one inside the xllamacpp package, for `nibble bench serve --peer`.

Usage: python llama_server.py MODEL.gguf THREADS CLIENTS TOKENS KEEP
CLIENTS slots of TOKENS tokens each. KEEP 1: a slot keeps its last prompt, and computes only what differs of the next.
Prints `ready on URL`, then serves until it is ended.
"""

import signal
import sys

import xllamacpp

FLASH_ATTENTION = 1  # llama_flash_attn_type: on


def main() -> None:
    path, threads, clients, tokens, keep = sys.argv[1], *map(int, sys.argv[2:6])
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel = clients
    params.n_ctx = clients * -(-tokens // 256) * 256
    params.cont_batching = True
    params.flash_attn_type = xllamacpp.llama_flash_attn_type(FLASH_ATTENTION)
    params.n_threads_http = clients + 2
    params.verbosity = -1
    # Where every prompt is another, keeping old ones would only cost time; so would copies of them outside the slots.
    params.cache_prompt = bool(keep)
    params.cache_ram_mib = 0
    server = xllamacpp.Server(params)
    print(f"ready on {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
