#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace nibble {

/// Packing against direct dequantization for every GGML type: values, portions, padding, layout, refusal of NaN and
/// infinity, no byte touched beyond a buffer. Returns what failed. (The values themselves are compared with the gguf
/// package's in test/integration/dequantize.test.ts.)
std::vector<std::string> check_formats(uint64_t seed);

/// Those whose rows have one scale (check_scaled_rows.cpp); part of check_formats.
void check_scaled_rows(std::vector<std::string>& failures, uint64_t seed);

}  // namespace nibble
