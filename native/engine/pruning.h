#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace nibble {

/// Prompt tokens of which some are dropped together, at absolute positions [256·w, 256·w + 256).
inline constexpr size_t kPruningWindow = 256;
inline constexpr size_t kPruningCutsMax = 4;

/// How a sequence's prompt is thinned out on its way through the layers (Agile-Quant, arXiv 2312.05693; here by window,
/// docs/arithmetic.md, "Methods"). Behind the layer of a cut a window has fewer tokens, which take the positions and KV
/// blocks of a shorter sequence: of a window's blocks each stage uses the first ones.
struct Pruning {
  struct Cut {
    uint32_t layers;  // ran before it
    uint32_t tokens;  // of each window stay, a multiple of the tokens of a KV block
  };
  /// By what tokens stay; anything but importance is for evaluations, to compare with.
  enum class Rank : uint8_t { importance, random };

  uint32_t windows = 0;  // whole windows of the prompt; 0: nothing is dropped
  uint32_t cut_count = 0;
  std::array<Cut, kPruningCutsMax> cuts{};  // layers ascending, tokens descending
  Rank rank = Rank::importance;

  /// Tokens of a window in the stage behind so many cuts.
  size_t window_tokens(size_t stage) const noexcept { return stage == 0 ? kPruningWindow : cuts[stage - 1].tokens; }
  /// Cuts before the layer runs.
  size_t stage_of(size_t layer) const noexcept {
    size_t stage = 0;
    while (stage < cut_count && cuts[stage].layers <= layer) ++stage;
    return windows == 0 ? 0 : stage;
  }
  /// Whether positions [0, tokens) end between windows, or behind all of them: a step must begin and end so.
  bool is_whole(size_t tokens) const noexcept {
    return tokens >= windows * kPruningWindow || tokens % kPruningWindow == 0;
  }
  /// Whole windows among the first `tokens` tokens.
  size_t windows_in(size_t tokens) const noexcept {
    return tokens / kPruningWindow < windows ? tokens / kPruningWindow : windows;
  }
  /// What is left in a stage of the first `tokens` tokens, which must be whole.
  size_t length(size_t stage, size_t tokens) const noexcept {
    const size_t whole = windows_in(tokens);
    return whole * window_tokens(stage) + (tokens - whole * kPruningWindow);
  }
  /// Whether the token at this position is in every stage whatever its importance.
  bool always_stays(size_t position) const noexcept { return position >= windows * kPruningWindow; }
};

}  // namespace nibble
