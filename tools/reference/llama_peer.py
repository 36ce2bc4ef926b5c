"""llama.cpp through its C interface, which the xllamacpp package exports: ids in, logits out.

Parameter structs are passed as opaque bytes, larger than any version's (they are filled by llama.cpp's own defaults and
go by value on the stack or by reference), and only the few fields used here are set, after a check of their defaults.
Install: pip install xllamacpp numpy
"""

import ctypes
import pathlib

import numpy as np

THREADS_DEFAULT = 4  # GGML_DEFAULT_N_THREADS
FLOATS = ctypes.POINTER(ctypes.c_float)


class Parameters(ctypes.Structure):
    _fields_ = [("words", ctypes.c_int32 * 256)]


class Batch(ctypes.Structure):
    """struct llama_batch of llama.h."""

    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", FLOATS),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


def load_library() -> ctypes.CDLL:
    import importlib.util

    spec = importlib.util.find_spec("xllamacpp")
    if spec is None:
        raise SystemExit("pip install xllamacpp")
    library = ctypes.CDLL(str(next(pathlib.Path(spec.submodule_search_locations[0]).glob("*.so"))))
    for name in ("llama_model_load_from_file", "llama_init_from_model", "llama_model_get_vocab", "llama_get_memory"):
        getattr(library, name).restype = ctypes.c_void_p
    for name in ("llama_model_default_params", "llama_context_default_params"):
        getattr(library, name).restype = Parameters
    library.llama_batch_init.restype = Batch
    library.llama_get_logits_ith.restype = FLOATS
    library.llama_print_system_info.restype = ctypes.c_char_p
    return library


class Peer:
    def __init__(
        self,
        path: str,
        context_tokens: int,
        threads: int = 2,
        sequences: int = 1,
        step_tokens: int | None = None,
        flash_attention: int = -1,
    ) -> None:
        """
        Each sequence has `context_tokens` of its own; a step takes `step_tokens` (default: so many as well).
        `flash_attention`: 1 on, 0 off, -1 llama.cpp's choice.
        """
        step_tokens = step_tokens or context_tokens
        self.library = library = load_library()
        quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        self.quiet = quiet  # kept alive
        library.llama_log_set(quiet, None)
        library.llama_backend_init()
        self.model = library.llama_model_load_from_file(path.encode(), library.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp can't load {path}")
        parameters = library.llama_context_default_params()
        words = parameters.words
        n_threads = next(i for i in range(4, 12) if words[i] == words[i + 1] == THREADS_DEFAULT)
        if list(words[0:4]) != [512, 2048, 512, 1]:
            raise SystemExit("llama_context_params has another layout")
        flash = n_threads + 6
        if list(words[n_threads + 3 : flash + 1]) != [-1] * 4:  # rope scaling, pooling, attention, flash attention
            raise SystemExit("llama_context_params has another layout")
        words[0] = context_tokens * sequences
        words[1] = words[2] = step_tokens  # n_batch, n_ubatch
        words[3] = sequences
        words[flash] = flash_attention
        words[n_threads] = words[n_threads + 1] = threads
        self.context = library.llama_init_from_model(ctypes.c_void_p(self.model), parameters)
        if not self.context:
            raise SystemExit("llama.cpp can't make a context")
        self.vocab = ctypes.c_void_p(library.llama_model_get_vocab(ctypes.c_void_p(self.model)))
        self.vocab_size = library.llama_vocab_n_tokens(self.vocab)
        self.batch = library.llama_batch_init(step_tokens, 0, 1)

    def system_info(self) -> str:
        return self.library.llama_print_system_info().decode()

    def tokenize(self, text: str) -> list[int]:
        """Special tokens only where the file wants them (BOS); those in the text are plain text."""
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 8))()
        count = self.library.llama_tokenize(self.vocab, data, len(data), ids, len(ids), True, False)
        if count < 0:
            raise SystemExit("llama_tokenize failed")
        return list(ids[:count])

    def clear(self) -> None:
        memory = ctypes.c_void_p(self.library.llama_get_memory(ctypes.c_void_p(self.context)))
        self.library.llama_memory_clear(memory, True)

    def decode(self) -> None:
        status = self.library.llama_decode(ctypes.c_void_p(self.context), self.batch)
        if status != 0:
            raise SystemExit(f"llama_decode: {status}")

    def logits(self, ids: list[int], start: int, wanted: range) -> np.ndarray:
        """Feeds ids at positions start…; returns f32 [len(wanted), vocab], rows of the ids with these indices."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, start + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = int(i in wanted)
        self.decode()
        rows = np.empty((len(wanted), self.vocab_size), np.float32)
        for row, i in zip(rows, wanted):
            pointer = self.library.llama_get_logits_ith(ctypes.c_void_p(self.context), i)
            row[:] = np.ctypeslib.as_array(pointer, (self.vocab_size,))
        return rows
