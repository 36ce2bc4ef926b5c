"""Writes native/check/rope_reference.h: rotary frequencies and magnitudes from mpmath at 60 digits.

Written from the papers and the public model configurations, not from Nibble's code: llama3 by wavelengths, YaRN by
correction dimensions (Peng et al. 2023, section 3.2 and appendix). Usage: python rope_frequencies.py > OUTPUT
"""

import textwrap

from mpmath import ceil, floor, log, mp, mpf, pi

mp.dps = 60

LLAMA = {"low": "1", "high": "4", "context": "8192"}
YARN = {"fast": "32", "slow": "1", "attention": "1"}
CASES = [
    # name, dimensions, base, scaling, {parameters}, factors
    ("plain", 64, 10000, "none", {}, None),
    ("large base", 128, 1000000, "none", {}, None),
    ("linear", 64, 10000, "linear", {"factor": "4"}, None),
    ("llama 3.1", 128, 500000, "llama3", {**LLAMA, "factor": "8"}, None),
    ("llama 3.2", 64, 500000, "llama3", {**LLAMA, "factor": "32"}, None),
    ("factors", 8, 500000, "llama3", {**LLAMA, "factor": "8"}, ["1", "1.5", "4.75", "8"]),
    ("plain with factors", 8, 10000, "none", {}, ["1", "1.25", "2.5", "64"]),
    ("yarn", 128, 1000000, "yarn", {**YARN, "factor": "4", "context": "32768"}, None),
    ("yarn 16", 64, 10000, "yarn", {**YARN, "factor": "16", "context": "4096", "attention": "0.75"}, None),
    ("narrow ramp", 64, 10000, "yarn", {**YARN, "factor": "2", "context": "100", "fast": "64", "slow": "60"}, None),
]


def llama3(theta, p):
    wavelength = 2 * pi / theta
    longest = p["context"] / p["low"]
    shortest = p["context"] / p["high"]
    if wavelength < shortest:
        return theta
    if wavelength > longest:
        return theta / p["factor"]
    mix = (p["context"] / wavelength - p["low"]) / (p["high"] - p["low"])
    return theta * ((1 - mix) / p["factor"] + mix)


def yarn_share_kept(dimensions, base, p):
    def correction(rotations):
        return dimensions * log(p["context"] / (rotations * 2 * pi)) / (2 * log(base))

    first = max(mpf(0), floor(correction(p["fast"])))
    last = min(mpf(dimensions - 1), ceil(correction(p["slow"])))
    span = max(mpf("0.001"), last - first)
    return [1 - min(mpf(1), max(mpf(0), (i - first) / span)) for i in range(dimensions // 2)]


def frequencies(dimensions, base, scaling, p, factors):
    p = {key: mpf(value) for key, value in p.items()}
    thetas = [mpf(base) ** (-mpf(2 * i) / dimensions) for i in range(dimensions // 2)]
    if factors:
        return [t / mpf(f) for t, f in zip(thetas, factors)], mpf(1)
    if scaling == "linear":
        return [t / p["factor"] for t in thetas], mpf(1)
    if scaling == "llama3":
        return [llama3(t, p) for t in thetas], mpf(1)
    if scaling == "yarn":
        kept = yarn_share_kept(dimensions, mpf(base), p)
        blended = [t * k + t / p["factor"] * (1 - k) for t, k in zip(thetas, kept)]
        return blended, p["attention"] * (1 + mpf("0.1") * log(p["factor"]))
    return thetas, mpf(1)


def numbers(values):
    text = ", ".join(repr(float(value)) for value in values)
    return textwrap.fill(text, 118, initial_indent=" " * 8, subsequent_indent=" " * 8)


def main():
    print("#pragma once")
    print("// Written by tools/reference/rope_frequencies.py (mpmath, 60 digits); not edited by hand.")
    print("// clang-format off")
    print('#include "../engine/architecture.h"\n\n#include <vector>\n\nnamespace nibble::rope_reference {\n')
    print("struct Case {\n  const char* name;\n  RopeSpec spec;\n  std::vector<float> factors;\n  double magnitude;")
    print("  std::vector<double> frequencies;  // radians per position\n};\n")
    print("inline std::vector<Case> cases() {\n  std::vector<Case> list;")
    for name, dimensions, base, scaling, p, factors in CASES:
        values, magnitude = frequencies(dimensions, base, scaling, p, factors)
        fields = [f".dimensions = {dimensions}", f".base = {base}", f".scaling = RopeScaling::{scaling}"]
        order = [("factor", "factor"), ("low", "low_freq_factor"), ("high", "high_freq_factor")]
        order += [("context", "original_context")]
        order += [("fast", "beta_fast"), ("slow", "beta_slow"), ("attention", "attention_factor")]
        fields += [f".{field} = {p[key]}" for key, field in order if key in p]
        spec = textwrap.fill(f"{{{', '.join(fields)}}},", 118, initial_indent=" " * 6, subsequent_indent=" " * 7)
        print(f'  list.push_back({{\n      "{name}",\n{spec}')
        print(f"      {{{', '.join(f'{float(f)}f' for f in factors or [])}}},\n      {float(magnitude)!r},")
        print("      {\n" + numbers(values) + "\n      }});")
    print("  return list;\n}\n\n}  // namespace nibble::rope_reference")


if __name__ == "__main__":
    main()
