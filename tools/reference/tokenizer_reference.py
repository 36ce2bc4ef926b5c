"""Expected token ids and texts from the `tokenizers` and `sentencepiece` packages, for the tests of Nibble's tokenizer.

Writes one JSON file a suite into --out: `{name, metadata, encodes, decodes}`. `metadata` is what a GGUF file would
say about the vocabulary (null for --gguf, which is read by Nibble itself and, here, by the `gguf` package).
"""

import argparse
import io
import json
import pathlib
import random
import re
import unicodedata

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenizer_strings import nasty_strings, training_text

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PLAIN = ["<tool>", "<tool>s"]  # user-defined, one the beginning of the other

MODERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def split(*patterns: str) -> pre_tokenizers.PreTokenizer:
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def pre_tokenizer(name: str) -> pre_tokenizers.PreTokenizer:
    if name == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizer("gpt-2")])
    if name == "default":
        return split(r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")
    return split(MODERN % ("{1,3}" if name == "llama-bpe" else ""))


def finish(tokenizer: Tokenizer, name: str) -> Tokenizer:
    tokenizer.pre_tokenizer = pre_tokenizer(name)
    tokenizer.decoder = decoders.ByteLevel()
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def trained(name: str, seed: int) -> Tokenizer:
    tokenizer = finish(Tokenizer(models.BPE()), name)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(training_text(seed), trainer)
    state = json.loads(tokenizer.to_str())
    if name == "llama-bpe":
        # A word of the vocabulary that no merges lead to: only the whole-word rule finds it.
        state["model"]["ignore_merges"] = True
        state["model"]["vocab"]["\u0120zebra"] = len(state["model"]["vocab"])
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in PLAIN])
    return tokenizer


def byte_level_suite(name: str, seed: int, count: int) -> dict:
    tokenizer = trained(name, seed)
    state = json.loads(tokenizer.to_str())
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    tokens = [tokenizer.id_to_token(i) for i in range(size)]
    types = [CONTROL if token in SPECIAL else USER_DEFINED if token in PLAIN else NORMAL for token in tokens]
    bos, eos = tokens.index(SPECIAL[1]), tokens.index(SPECIAL[2])
    template = {"single": f"{SPECIAL[1]} $A {SPECIAL[2]}", "special_tokens": [(SPECIAL[1], bos), (SPECIAL[2], eos)]}
    tokenizer.post_processor = processors.TemplateProcessing(**template)
    metadata = {
        "model": "gpt2", "pre": name, "tokens": tokens, "tokenTypes": types, "scores": None,
        "merges": [" ".join(merge) if isinstance(merge, list) else merge for merge in state["model"]["merges"]],
        "bosId": bos, "eosId": eos, "unknownId": None, "addBos": True, "addEos": True, "addSpacePrefix": False,
    }
    return {"name": name, "metadata": metadata, **expected(tokenizer, seed, count)}


def gguf_suite(path: str, seed: int, count: int) -> dict:
    """The vocabulary of a GGUF file whose pre-tokenizer is one of the above, without BOS and EOS."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    value = {key: fields[f"tokenizer.ggml.{key}"].contents() for key in ("pre", "tokens", "token_type", "merges")}
    merges = [tuple(merge.split(" ")) for merge in value["merges"]]
    model = models.BPE(vocab={token: i for i, token in enumerate(value["tokens"])}, merges=merges)
    tokenizer = finish(Tokenizer(model), value["pre"])
    special = [token for token, kind in zip(value["tokens"], value["token_type"]) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return {"name": "default-model", "metadata": None, **expected(tokenizer, seed, count)}


def agreed_strings(normalizer, seed: int, count: int) -> list[str]:
    """
    The library's table of combining marks is some Unicode versions old. Strings on which its NFC differs from Python's
    (about 1 in 10,000) have no agreed answer and are left out; the test asserts how many remain.
    """
    texts = nasty_strings(seed, count + 40)
    if normalizer is not None:
        texts = [text for text in texts if normalizer.normalize_str(text) == unicodedata.normalize("NFC", text)]
    return texts


def expected(tokenizer: Tokenizer, seed: int, count: int) -> dict:
    rng = random.Random(seed + 1)
    encodes, decodes = [], []
    for i, text in enumerate(agreed_strings(tokenizer.normalizer, seed, count)):
        parse, add = i % 3 != 0, i % 7 == 0
        tokenizer.encode_special_tokens = not parse
        ids = tokenizer.encode(text, add_special_tokens=add).ids
        encodes.append({"text": text, "parseSpecial": parse, "addSpecialTokens": add, "ids": ids})
        if i % 2 == 0:  # else ids at random: broken UTF-8 in every combination
            ids = [rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randint(0, 12))]
        keep = i % 5 == 0
        decodes.append({"ids": ids, "keepSpecial": keep, "text": tokenizer.decode(ids, skip_special_tokens=not keep)})
    return {"encodes": encodes, "decodes": decodes}


def sentencepiece_suite(name: str, seed: int, count: int, *, prefix: bool, fallback: bool, crossing: bool) -> dict:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_text(seed)), model_writer=model, model_type="bpe", vocab_size=1000,
        byte_fallback=fallback, character_coverage=0.98, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=prefix, split_by_whitespace=not crossing,
        allow_whitespace_only_pieces=True, control_symbols=SPECIAL, user_defined_symbols=[*PLAIN, "\u2581\u2581\u2581"],
        num_threads=1, minloglevel=2, hard_vocab_limit=False,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(processor.get_piece_size())
    user_defined = {*PLAIN, "\u2581\u2581\u2581"}
    types = [piece_type(processor, i, user_defined) for i in ids]
    metadata = {
        "model": "llama", "pre": None, "tokens": [processor.id_to_piece(i) for i in ids], "tokenTypes": types,
        "merges": [], "scores": [processor.get_score(i) for i in ids], "bosId": processor.bos_id(),
        "eosId": processor.eos_id(), "unknownId": processor.unk_id(), "addBos": True, "addEos": False,
        "addSpacePrefix": prefix,
    }
    encodes, decodes = [], []
    rng = random.Random(seed + 1)
    for i, text in enumerate(nasty_strings(seed, count)):
        parse, add = i % 3 == 0, i % 7 == 0
        out = encode_sentencepiece(processor, text, parse, types)
        encodes.append({
            "text": text, "parseSpecial": parse, "addSpecialTokens": add, "ids": [processor.bos_id()] * add + out,
        })
        keep = i % 5 == 0
        if i % 2 == 0 or keep or parse or processor.unk_id() in out:
            out = out if i % 2 else [rng.randrange(len(types)) for _ in range(rng.randint(0, 12))]
            decodes.append({"ids": out, "keepSpecial": keep, "text": join_pieces(processor, out, keep, types)})
        else:  # SentencePiece drops the space that it added; Nibble's ids may be a continuation, so it doesn't
            text = processor.decode(out)
            decodes.append({"ids": out, "keepSpecial": keep, "text": (" " if prefix and out else "") + text})
    return {"name": name, "metadata": metadata, "encodes": encodes, "decodes": decodes}


def piece_type(processor: sentencepiece.SentencePieceProcessor, i: int, user_defined: set[str]) -> int:
    if processor.is_unknown(i):
        return UNKNOWN
    if processor.is_control(i):
        return CONTROL
    if processor.is_byte(i):
        return BYTE
    return USER_DEFINED if processor.id_to_piece(i) in user_defined else NORMAL


def encode_sentencepiece(processor, text: str, parse: bool, types: list[int]) -> list[int]:
    """SentencePiece never reads control tokens from text: they are cut out before, leftmost and longest first."""
    if not parse:
        return processor.encode(text)
    control = {processor.id_to_piece(i): i for i, kind in enumerate(types) if kind in (CONTROL, UNKNOWN)}
    pattern = "|".join(re.escape(piece) for piece in sorted(control, key=len, reverse=True))
    ids = []
    for part in re.split(f"({pattern})", text):
        if part in control:
            ids.append(control[part])
        elif part:
            ids += processor.encode(part)
    return ids


def join_pieces(processor, ids: list[int], keep: bool, types: list[int]) -> str:
    data = b""
    for i in ids:
        piece = processor.id_to_piece(i)
        if types[i] == BYTE:
            data += bytes([int(piece[3:5], 16)])
        elif types[i] not in (CONTROL, UNKNOWN):
            data += piece.replace("\u2581", " ").encode()
        elif keep:
            data += piece.encode()
    return data.decode("utf-8", "replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True, help="strings a suite")
    parser.add_argument("--gguf", help="also the vocabulary of this model file")
    options = parser.parse_args()
    seed, count = options.seed, options.count
    suites = [byte_level_suite(name, seed, count) for name in ("gpt-2", "smollm", "llama-bpe", "qwen2", "default")]
    suites += [
        sentencepiece_suite("sentencepiece", seed, count, prefix=True, fallback=True, crossing=False),
        sentencepiece_suite("sentencepiece-without-bytes", seed, count, prefix=False, fallback=False, crossing=False),
        sentencepiece_suite("sentencepiece-across-words", seed, count, prefix=True, fallback=True, crossing=True),
    ]
    if options.gguf:
        suites.append(gguf_suite(options.gguf, seed, count))
    for suite in suites:
        (options.out / f"{suite['name']}.json").write_text(json.dumps(suite))


if __name__ == "__main__":
    main()
