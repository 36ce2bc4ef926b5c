"""Copies a GGUF file with every matrix dequantized and written in another format, vectors in F32: the same weights for
another engine or kernel. Metadata is copied as it is, but for general.file_type. With a 4-bit format the embedding and
the output matrix become Q8_0.

Usage: python gguf_convert.py INPUT.gguf OUTPUT.gguf F16|BF16|Q8_0|Q4_0|Q4_1
Prints the root mean square of the change over that of the weights, and the count of values that overflow.
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
    source, target, type_name = sys.argv[1:4]
    matrix_type = gguf.GGMLQuantizationType[type_name]
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    copy_metadata(reader, writer)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{type_name}"])
    squares, changes, overflows = 0.0, 0.0, 0
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, values)
            continue
        is_outer = tensor.name in ("token_embd.weight", "output.weight")
        wanted = gguf.GGMLQuantizationType.Q8_0 if is_outer and type_name.startswith("Q4") else matrix_type
        with np.errstate(over="ignore"):
            data = gguf.quants.quantize(values, wanted)
            rounded = gguf.quants.dequantize(data, wanted)
        overflows += int(np.count_nonzero(~np.isfinite(rounded)))
        squares += float(np.sum(np.square(values, dtype=np.float64)))
        changes += float(np.sum(np.square(rounded - values, dtype=np.float64)))
        writer.add_tensor(tensor.name, data, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{target}: relative change {(changes / squares) ** 0.5:.3e}, {overflows} overflows")


if __name__ == "__main__":
    main()
