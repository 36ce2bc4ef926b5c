"""The student: the float model, rotated, with two-bit weights that begin at Lloyd-Max levels.

With R orthogonal the residual stream x becomes R·x. Norm gains move into the matrices behind them, because only a norm
without gain commutes with R; gains of 1 stay as parameters. In exact arithmetic the logits don't change.
  R1  matrices that read the stream: W·diag(gain)·Rᵀ; that write it: R·W; at run time R behind the embedding, Rᵀ before
      the final norm, so a head that is the embedding stays that
  R2  values of each head and the input of the output matrix, all in the weights; four-bit KV leaves values as they are
  R4  the input of `down` at run time, its weight beforehand
"""

import torch

from .llama import Llama
from .model_file import ModelFile
from .rotation import hadamard, sylvester


def rotated_tensors(file: ModelFile) -> "dict[str, torch.Tensor]":
    """Float tensors by GGUF name, all but embedding, head and final norm changed. Computed in double."""
    config = file.config
    stream, down = hadamard(config.width), hadamard(config.ffn)
    head = sylvester(config.head_size) / config.head_size**0.5
    names = [entry.name for entry in file.reader.tensors]
    tensors = {name: file.tensor(name) for name in names if not name.startswith("blk.")}
    for layer in range(config.layers):
        def read(name: str) -> torch.Tensor:
            return file.layer_tensor(layer, name).double()

        def per_head(weight: torch.Tensor) -> torch.Tensor:
            """Rows [heads · head size, ...] of values, each head by `head`."""
            heads = weight.reshape(-1, config.head_size, weight.shape[1])
            return torch.einsum("ed,hdk->hek", head, heads).reshape(weight.shape)

        attention_gain, ffn_gain = read("attn_norm"), read("ffn_norm")
        changed = {
            "attn_norm": torch.ones_like(attention_gain), "ffn_norm": torch.ones_like(ffn_gain),
            "attn_q": read("attn_q") * attention_gain @ stream.T, "attn_k": read("attn_k") * attention_gain @ stream.T,
            "attn_v": per_head(read("attn_v") * attention_gain @ stream.T),
            "attn_output": per_head((stream @ read("attn_output")).T.contiguous()).T,
            "ffn_gate": read("ffn_gate") * ffn_gain @ stream.T, "ffn_up": read("ffn_up") * ffn_gain @ stream.T,
            "ffn_down": stream @ read("ffn_down") @ down.T,
        }
        tensors.update({f"blk.{layer}.{name}.weight": value.float() for name, value in changed.items()})
    return tensors


def make_student(file: ModelFile, group: int, compute: torch.dtype, device: str = "cpu") -> Llama:
    """Quantized and ready to be trained, all but the embedding; `group`: inputs that share four levels."""
    student = Llama(file.config, rotated_tensors(file), compute)
    student.embedding.requires_grad_(False)
    student.rotate_stream()
    for block in student.blocks:
        block.rotate_down_input()
    student.to(device)
    for block in student.blocks:
        for linear in block.linears.values():
            linear.quantize(group)
    return student
