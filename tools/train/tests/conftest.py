"""A model small enough to be trained in a second: random weights, a vocabulary of 96 tokens."""

import gguf
import numpy as np
import pytest
import torch

from nibble_train.model_file import ModelFile

WIDTH, HEADS, KV_HEADS, HEAD_SIZE, FFN, VOCAB, LAYERS = 128, 4, 2, 32, 192, 96, 2


def write_toy(path: str, seed: int = 5) -> None:
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([f"t{i}" for i in range(VOCAB)])
    writer.add_token_merges(["t 1"])  # the engine wants some
    writer.add_eos_token_id(0)

    def matrix(rows: int, columns: int, deviation: float) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * deviation).astype(np.float32)

    def gain() -> np.ndarray:
        values = random.uniform(0.5, 1.5, WIDTH)
        values[7] = 6.0  # an outlier channel
        return values.astype(np.float32)

    writer.add_tensor("token_embd.weight", matrix(VOCAB, WIDTH, 0.2))
    writer.add_tensor("output_norm.weight", gain() / 2)
    shapes = {
        "attn_q": (HEADS * HEAD_SIZE, WIDTH), "attn_k": (KV_HEADS * HEAD_SIZE, WIDTH),
        "attn_v": (KV_HEADS * HEAD_SIZE, WIDTH), "attn_output": (WIDTH, HEADS * HEAD_SIZE),
        "ffn_gate": (FFN, WIDTH), "ffn_up": (FFN, WIDTH), "ffn_down": (WIDTH, FFN),
    }
    for layer in range(LAYERS):
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", gain())
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", gain())
        for name, (rows, columns) in shapes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(rows, columns, columns**-0.5))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> ModelFile:
    path = str(tmp_path_factory.mktemp("toy") / "toy.gguf")
    write_toy(path)
    return ModelFile(path)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(3)
    torch.set_num_threads(1)
