"""Writes a toy student to a GGUF file, and its logits to a JSON file: what the engine is compared with.

Usage: python engine_toy.py STUDENT.gguf LOGITS.json
"""

import json
import pathlib
import sys
import tempfile

folder = pathlib.Path(__file__).parent
sys.path[:0] = [str(folder), str(folder.parent)]

import torch  # noqa: E402
from conftest import VOCAB, write_toy  # noqa: E402

from nibble_train.export import export  # noqa: E402
from nibble_train.model_file import ModelFile  # noqa: E402
from nibble_train.recipe import recipe_of  # noqa: E402
from nibble_train.student import make_student  # noqa: E402

TOKENS = 64


@torch.no_grad()
def main(student_path: str, logits_path: str) -> None:
    torch.manual_seed(3)
    with tempfile.TemporaryDirectory() as scratch:
        write_toy(f"{scratch}/toy.gguf")
        toy = ModelFile(f"{scratch}/toy.gguf")
        student = make_student(toy, 64, torch.float32)
        for block in student.blocks:
            block.ffn_norm.gain.mul_(torch.rand_like(block.ffn_norm.gain) + 0.5)
        tokens = torch.randint(0, VOCAB, (1, TOKENS))
        recipe = recipe_of(toy, 64, True, TOKENS, TOKENS, 1)
        export(student_path, toy, student, recipe, "ab" * 32, 1)
    rows = {name: student(tokens, is_low)[0].tolist() for name, is_low in (("f32", False), ("a4kv4", True))}
    pathlib.Path(logits_path).write_text(json.dumps({"tokens": tokens[0].tolist(), **rows}))


main(*sys.argv[1:])
