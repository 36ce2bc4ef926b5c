"""`python -m nibble_train sample|tokenize|train|perplexity`: see README.md beside this package."""

import argparse
import sys
import time

import torch

from . import text
from .distillation import perplexity
from .export import export
from .llama import Llama
from .model_file import ModelFile, sha256_of
from .recipe import recipe_of
from .student import make_student
from .training import Plan, Training


def device_of() -> "tuple[torch.device, torch.dtype]":
    """A GPU computes matrices in bfloat16, a CPU in float32."""
    if not torch.cuda.is_available():
        return torch.device("cpu"), torch.float32
    torch.backends.cuda.matmul.allow_tf32 = True  # rotations; matrices of weights are in bfloat16
    return torch.device("cuda"), torch.bfloat16


def teacher_of(file: ModelFile) -> Llama:
    device, compute = device_of()
    return Llama.of(file, compute).to(device).freeze()


def sample_command(options) -> None:
    file = ModelFile(options.model)
    teacher = teacher_of(file)
    generator = torch.Generator(teacher.embedding.device).manual_seed(options.seed)
    start = time.monotonic()
    count = -(-options.tokens // options.window)
    openings = text.Openings(file)
    tokens = text.sample(teacher, openings, count, options.window, options.batch, generator, options.compile)
    text.save(options.out, tokens)
    seconds = time.monotonic() - start
    print(f"{tokens.numel():,} tokens in {seconds:.1f} s, {tokens.numel() / seconds:,.0f} a second")


def tokenize_command(options) -> None:
    ids = text.read_texts(ModelFile(options.model), options.data)
    tokens = text.sequences(ids, options.window)
    text.save(options.out, tokens)
    print(f"{tokens.numel():,} tokens")


def train_command(options) -> None:
    torch.manual_seed(options.seed)
    file = ModelFile(options.model)
    device, compute = device_of()
    student = make_student(file, options.group, compute, device)
    plan = Plan(options.steps, options.batch, options.parts, options.rate, options.seed, options.four_bits)
    watched = None if options.watch is None else text.read_texts(file, [options.watch])[: options.watch_tokens]
    tokens = text.load(options.tokens)
    recipe = recipe_of(file, options.group, options.four_bits, tokens.shape[1], tokens.numel(), options.seed)
    training = Training(student, teacher_of(file), tokens, plan, watched)
    if options.resume:
        training.restore(torch.load(options.checkpoint, map_location=device))
    if options.compile:
        training.compile()
    print(f"beta {training.beta:.4f}", flush=True)
    end = time.monotonic() + 60 * options.minutes_max
    is_done = False
    while not is_done and time.monotonic() < end:
        is_done = training.run(min(options.minutes_between, (end - time.monotonic()) / 60))
        if options.checkpoint is not None and not is_done:
            torch.save(training.state(), options.checkpoint)
            print(f"saved at step {training.step} of {plan.steps}", flush=True)
        if options.out is not None:
            export(options.out, file, student, recipe, sha256_of(options.tokens), options.seed)


def perplexity_command(options) -> None:
    file = ModelFile(options.model)
    data = open(options.data, "rb").read()[: options.bytes].decode("utf-8", "ignore")
    ids = torch.tensor(file.tokenizer().encode(data, add_special_tokens=False).ids)
    teacher = teacher_of(file)
    print(f"perplexity {perplexity(teacher, ids.to(teacher.embedding.device), options.window):.4f}")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nibble_train", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name: str, run, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(run=run)
        added.add_argument("--model", required=True, help="GGUF file of the float model")
        return added

    added = command("sample", sample_command, "writes training text that the model itself samples")
    added.add_argument("--out", required=True, help="where the token ids go (.npy)")
    added.add_argument("--tokens", type=int, default=48_000_000)
    added.add_argument("--window", type=int, default=512, help="tokens of a sequence")
    added.add_argument("--batch", type=int, default=2048, help="sequences at once")
    added.add_argument("--seed", type=int, default=1)
    added.add_argument("--compile", action="store_true", help="with torch.compile, and a GPU's graphs")

    added = command("tokenize", tokenize_command, "turns files of text into training text")
    added.add_argument("--data", nargs="+", required=True, help="UTF-8 files")
    added.add_argument("--out", required=True, help="where the token ids go (.npy)")
    added.add_argument("--window", type=int, default=512, help="tokens of a sequence")

    added = command("train", train_command, "trains two-bit weights and writes a GGUF file")
    added.add_argument("--tokens", required=True, help="training text (.npy)")
    added.add_argument("--out", help="the GGUF file")
    added.add_argument("--steps", type=int, required=True)
    added.add_argument("--batch", type=int, default=48, help="sequences of a step")
    added.add_argument("--parts", type=int, default=2, help="pieces of a batch that are in memory at once")
    added.add_argument("--rate", type=float, default=1.5e-3, help="highest, for weights in units of their rows")
    added.add_argument("--group", type=int, default=64, choices=(64, 128), help="inputs that share four levels")
    added.add_argument("--four-bits", action="store_true", help="every second part with a4 activations and kv4")
    added.add_argument("--seed", type=int, default=1)
    added.add_argument("--watch", help="UTF-8 file whose perplexity is printed every 200 steps; never trained on")
    added.add_argument("--watch-tokens", type=int, default=16_384)
    added.add_argument("--compile", action="store_true", help="with torch.compile, and a GPU's graphs")
    added.add_argument("--checkpoint", help="written when minutes are over, as the GGUF file is")
    added.add_argument("--resume", action="store_true", help="goes on from the checkpoint")
    added.add_argument("--minutes-between", type=float, default=float("inf"), help="from checkpoint to checkpoint")
    added.add_argument("--minutes-max", type=float, default=float("inf"), help="of this run")

    added = command("perplexity", perplexity_command, "of a float model, to compare with `nibble eval perplexity`")
    added.add_argument("--data", required=True, help="UTF-8 file")
    added.add_argument("--bytes", type=int, default=65_536, help="of the file that are read")
    added.add_argument("--window", type=int, default=512)
    return parser


def main() -> None:
    options = arguments().parse_args()
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        sys.exit(f"nibble_train: {error}")


if __name__ == "__main__":
    main()
