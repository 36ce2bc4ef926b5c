#pragma once
#include <cstdint>

namespace nibble {

/// How a linear layer with quantized weights reads its input (docs/arithmetic.md, "Quantized linear"): as it is, or
/// quantized per token and group to codes of at most 127 (a8) or 7 (a4); agile is a4 for rows of tokens whose heads
/// rest on the first token, and a8 for the others; or by Tender's groups of channels, to codes of at most 127 or 7.
enum class ActivationKind : uint8_t { f32, a8, a4, agile, tender8, tender4 };

/// Which tokens agile gives 4 bits: those whose importance exceeds the threshold. Evaluations also choose those below
/// it, or by chance: all positions have a number in [0, 1) in place of their importance.
enum class AgileChoice : uint8_t { most, least, random };

}  // namespace nibble
