"""Texts to tokenize: a small corpus to train vocabularies on, and random and nasty strings from a seed."""

import random
import unicodedata

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, doesn't it? I've said we'll see what they're up to.",
    "In 1969, 384,400 kilometres from home, two people walked on the moon for about 2 hours and 31 minutes.",
    "def tokenize(text: str) -> list[int]:\n    return [vocab[t] for t in split(text)]  # O(n log n)\n",
    "for (let i = 0; i < 10; i++) {\n\tconsole.log(`${i}: ${values[i] ?? 'none'}`);\n}\n\n",
    "Ein Bär läuft übers Feld; größer als ein Fuß und schneller, als man glaubt.",
    "L'été dernier, où étiez-vous ? Ça va très bien, merci beaucoup !",
    "El niño comió piñas en la montaña mañana por la mañana.",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "Η γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί.",
    "今天天气很好，我们去公园散步吧。机器学习模型需要大量的数据。",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "다람쥐 헌 쳇바퀴에 타고파. 모든 사람은 자유롭게 태어났다.",
    "כל בני האדם נולדו בני חורין ושווים בערכם.",
    "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน",
    "Party 🎉🎉 with 👨‍👩‍👧‍👦 and 👍🏽, then 🇨🇭 flags ❤️ and more 😀😃😄!",
    "<p class=\"note\">See https://example.org/a?b=c&d=%20e#f for more.</p>",
    "+-*/ == != <= >= && || ?? => ... --- ### $$$ @@@ ~~~ ^^^ |||",
    "    indented\n        more\n\t\ttabs\r\nwindows\r\n\r\n   \n trailing   ",
]

FRAGMENTS = [
    "'s", "'S", "'t", "'re", "'RE", "'Ve", "'m", "'ll", "'lL", "'D", "'\u017f", "\u2019s", "''", "'", "'r", "'sx",
    " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", " \n", "\n ", "\v", "\f", "\x1c", "\x85", "\u00a0", "\u1680",
    "\u2003", "\u2028", "\u202f", "\u3000", "\u200b", "\u200d", "\u2060", "\ufeff", "\u180e",
    "\x00", "\x01", "\x04", "\x06", "\x13", "\x1b", "\x7f", "\x80", "\x9f", "\u00ad", "\ufffd", "\ufffe", "\uffff",
    "\ufdd0", "\ue000", "\U000f0000", "\U0010ffff", "\U0001fffe", "\u0378", "\U000e0041",
    "e\u0301", "\u0301", "\u0316\u0300", "\u0300\u0316", "a\u0323\u0307", "q\u0307\u0323", "\u1e9b\u0323", "\u212b",
    "\u2126", "\uf900", "\u0958", "\u1112\u1161\u11ab", "\ud55c", "\u1100\u1161", "\u0344", "\ufb01", "\ufb05",
    "\u01c6", "\u0130", "\u00df", "\u1e9e", "\u212a", "\u017f", "\U0001d400", "\U00010400", "\U0002f800",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1e8\U0001f1ed", "\u2764\ufe0f",
    "\U0001f600", "0\ufe0f\u20e3", "\u05e9\u05dc\u05d5\u05dd", "\u202e", "\u0645\u064e", "\u0e17\u0e31\u0e49\u0e07",
    "\u00bd", "\u0663", "\u2167", "\u4e00", "\u3007", "\u00b2", "\U0001d7d8", "0", "7", "12", "123", "1234", "31337",
    "1,000.50", "\u0661\u0662\u0663\u0664", "x2", "2x", "$5", "$", "+", "^", "<=", "~", "|", "`", "\u00a9", "\u20ac",
    "\u00ab", "\u2014", "_", "-", "!", "!!\n", "?\r\n\r\n", "...\n\n", "\u3002\n", "//", "\\", "\"", "(", ")", ";\n",
    "a", "B", "the", "The", " the", " and", "hello", " zebra", "zebra", "Zürich", "naïve", "日本", "語", "한국", "мир",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "<|", "|>", "<|im_start|", "<tool>", "<tool>s", "<too",
    "<s>", "</s>", "<unk>", "<0x41>", "<0x0A>", "\u2581", "\u2581\u2581", "\u2581the", "\u0120", "\u010a", "\u0120the",
]

ASSIGNED = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
SPACES = [" ", " ", " ", "\n", "\t", "\r", "\r\n", "\u00a0", "\u3000", "\x85", "\u2028"]


def training_text(seed: int) -> list[str]:
    """Sentences in many scripts, cut and joined at random, so that merges of many kinds arise."""
    rng = random.Random(seed)
    lines = []
    for _ in range(600):
        parts = [rng.choice(SENTENCES) for _ in range(rng.randint(1, 3))]
        words = " ".join(parts).split(" ")
        start = rng.randrange(len(words))
        lines.append(" ".join(words[start : start + rng.randint(3, 30)]) or "x")
    return lines


def _one(rng: random.Random) -> str:
    kind = rng.randrange(10)
    if kind == 0:
        sentence = rng.choice(SENTENCES)
        start = rng.randrange(len(sentence))
        return sentence[start : start + rng.randint(1, 120)]
    if kind == 1:
        return "".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(0, 60)))
    if kind == 2:
        return "".join(chr(rng.choice(ASSIGNED)) for _ in range(rng.randint(1, 30)))
    if kind == 3:
        return rng.choice(FRAGMENTS) * rng.randint(1, 80) + rng.choice(FRAGMENTS)
    if kind == 4:
        parts = [rng.choice(SPACES) * rng.randint(1, 3) + rng.choice(["", "", "a", "!", "1"]) for _ in range(8)]
        return "".join(parts)
    if kind == 5:
        return "".join(rng.choice("0123456789½٣٤Ⅷ² ,.x") for _ in range(rng.randint(1, 24)))
    if kind == 6:
        block = rng.choice(ASSIGNED)
        near = [chr(c) for c in range(block, min(block + 64, 0x110000)) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
        return "".join(rng.choice(near) for _ in range(rng.randint(1, 40)))
    if kind == 7:
        return "".join(rng.choice("abcdeé ") for _ in range(rng.randint(1, 100)))
    return "".join(rng.choice(FRAGMENTS) for _ in range(rng.randint(1, 16)))


def nasty_strings(seed: int, count: int) -> list[str]:
    """`count` strings: every fragment alone, some long ones, then random ones. The same seed gives the same strings."""
    rng = random.Random(seed)
    fixed = ["", *FRAGMENTS, *SENTENCES]
    fixed += [fragment * 3000 for fragment in ("a", "ab", " ", "\n", "日", "\U0001f600", "1", "!", "\u0301", "the ", "'s")]
    fixed += ["".join(rng.choice("abcdefgh") for _ in range(5000)), "".join(rng.choice(SENTENCES) for _ in range(60))]
    return fixed + [_one(rng) for _ in range(max(0, count - len(fixed)))]
