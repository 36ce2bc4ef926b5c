"""Copies a GGUF file with every matrix dequantized and rounded to F16, vectors to F32: the same weights for an engine
that computes in floats. Metadata is copied as it is; general.file_type becomes 1 (mostly F16).

Usage: python gguf_to_f16.py INPUT.gguf OUTPUT.gguf
Prints the largest relative change that the rounding makes to a weight, and the count of values that overflow F16.
"""

import sys

import gguf
import numpy as np


def copy_metadata(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    for name, field in reader.fields.items():
        # The writer sets the first four itself.
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=sub)


def main() -> None:
    source, target = sys.argv[1], sys.argv[2]
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    copy_metadata(reader, writer)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    worst, overflows = 0.0, 0
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, values)
            continue
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        overflows += int(np.count_nonzero(~np.isfinite(halves)))
        normal = np.abs(values) >= 2.0**-14  # below, F16 is subnormal and its error absolute
        change = np.abs(halves.astype(np.float32) - values)[normal] / np.abs(values)[normal]
        worst = max(worst, float(change.max(initial=0.0)))
        writer.add_tensor(tensor.name, halves)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{target}: largest relative change {worst:.3e}, {overflows} overflows")


if __name__ == "__main__":
    main()
