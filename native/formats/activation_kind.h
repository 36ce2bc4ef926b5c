#pragma once
#include <cstdint>

namespace nibble {

/// How a linear layer with quantized weights reads its input (docs/arithmetic.md, "Quantized linear"): as it is, or
/// quantized per token and group to codes of at most 127 (a8) or 7 (a4); agile is a4 for rows of unimportant tokens and
/// a8 for the others; or by Tender's groups of channels, to codes of at most 127 or 7.
enum class ActivationKind : uint8_t { f32, a8, a4, agile, tender8, tender4 };

}  // namespace nibble
