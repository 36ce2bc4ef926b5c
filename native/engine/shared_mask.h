#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "sampler.h"

namespace nibble {

/// The tokens that a constrained slot may sample next, in memory that another thread writes: first the words of the
/// mask, then the position of generated tokens that it is for. They stay until the token sampled under them is known.
class SharedMask {
 public:
  /// Words before those of the mask; the first one is the position.
  static constexpr size_t kHeadWords = 4;
  /// In place of the position: the text is complete, and no mask will come.
  static constexpr int32_t kEnded = -2;

  SharedMask() = default;
  explicit SharedMask(std::span<const int32_t> words) noexcept : words_(words) {}

  /// Words for a vocabulary.
  static constexpr size_t words_for(size_t vocab) noexcept { return kHeadWords + (vocab + 31) / 32; }

  bool empty() const noexcept { return words_.empty(); }
  size_t size() const noexcept { return words_.size(); }
  /// What is read from `tokens` afterwards is the mask of this position.
  int32_t position() const noexcept { return __atomic_load_n(words_.data(), __ATOMIC_ACQUIRE); }
  TokenMask tokens() const noexcept {
    if (empty()) return {};
    return {reinterpret_cast<const uint32_t*>(words_.data()) + kHeadWords, words_.size() - kHeadWords};
  }

 private:
  std::span<const int32_t> words_;
};

}  // namespace nibble
