"""Quantization-aware training of Llama-type GGUF models to two bits, exported as GGUF files that Nibble serves."""

__version__ = "0.1.0"
