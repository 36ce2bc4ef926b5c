#include "sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cstring>
#include <limits>

#include "math64.h"
#include "philox.h"
#include "row_scan.h"

namespace nibble {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Four bits as words of ones or zeros.
constexpr auto kLanes = [] {
  std::array<std::array<uint32_t, 4>, 16> lanes{};
  for (uint32_t bits = 0; bits < 16; ++bits) {
    for (uint32_t i = 0; i < 4; ++i) lanes[bits][i] = (bits >> i & 1) != 0 ? UINT32_MAX : 0;
  }
  return lanes;
}();

/// Forbidden tokens get −FLT_MAX, as banned ones do: differences stay numbers. Within a structure nearly all words are
/// zero, within a text nearly all are full or, where it has to be of some kind of letter, mixed: no branches there.
void forbid(float* x, size_t n, TokenMask mask) noexcept {
  constexpr auto kForbidden = std::bit_cast<uint32_t>(-FLT_MAX);
  for (size_t w = 0; w < mask.size(); ++w) {
    const uint32_t bits = mask[w];
    if (bits == UINT32_MAX) continue;
    float* word = x + w * 32;
    const size_t count = std::min<size_t>(32, n - w * 32);
    if (bits == 0) {
      std::fill_n(word, count, -FLT_MAX);
      continue;
    }
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
      const std::array<uint32_t, 4>& keep = kLanes[bits >> i & 15];
      std::array<uint32_t, 4> four;
      std::memcpy(four.data(), word + i, sizeof(four));
      for (size_t j = 0; j < 4; ++j) four[j] = (four[j] & keep[j]) | (kForbidden & ~keep[j]);
      std::memcpy(word + i, four.data(), sizeof(four));
    }
    for (; i < count; ++i) word[i] = (bits >> i & 1) != 0 ? word[i] : -FLT_MAX;
  }
}

/// The raw row itself, or its adjusted copy.
const float* adjusted_row(const SamplerState& state, const float* logits, size_t vocab, SamplerScratch& scratch,
                          TokenMask mask, uint32_t position) {
  if (!state.adjusts(position) && mask.empty()) return logits;
  scratch.adjusted.resize(vocab);
  std::memcpy(scratch.adjusted.data(), logits, vocab * sizeof(float));
  state.adjust(scratch.adjusted.data(), position);
  forbid(scratch.adjusted.data(), vocab, mask);
  return scratch.adjusted.data();
}

int32_t largest(const KernelTable& kernels, const float* x, size_t n) noexcept {
  const size_t index = find_equal(x, n, kernels.row_stats(x, n).max);
  return index < n ? static_cast<int32_t>(index) : 0;
}

}  // namespace

int32_t sample(const KernelTable& kernels, const SamplerState& state, const float* logits, size_t vocab,
               uint32_t position, SamplerScratch& scratch, TokenMask mask) {
  const SamplingParams& params = state.params();
  const float* x = adjusted_row(state, logits, vocab, scratch, mask, position);
  if (params.temperature == 0.0) return largest(kernels, x, vocab);
  TokenSelection selection(kernels, params, x, vocab, scratch);
  const unsigned __int128 product =
      static_cast<unsigned __int128>(draw_bits(params.seed, params.choice, position)) * selection.mass();
  return selection.at_mass(static_cast<uint64_t>(product >> 53) + 1);
}

std::vector<int32_t> sampling_candidates(const KernelTable& kernels, const SamplerState& state, const float* logits,
                                         size_t vocab, SamplerScratch& scratch, TokenMask mask) {
  const float* x = adjusted_row(state, logits, vocab, scratch, mask, UINT32_MAX);
  if (state.params().temperature == 0.0) return {largest(kernels, x, vocab)};
  return TokenSelection(kernels, state.params(), x, vocab, scratch).list();
}

void top_tokens(const float* logits, size_t vocab, size_t k, int32_t* ids, float* values) noexcept {
  if (k == 0) return;
  size_t count = 0;
  const auto insert = [&](float x, size_t id) {
    size_t at = count < k ? count++ : k - 1;
    for (; at > 0 && values[at - 1] < x; --at) {
      values[at] = values[at - 1];
      ids[at] = ids[at - 1];
    }
    values[at] = x;
    ids[at] = static_cast<int32_t>(id);
  };
  // The list fills up with the first k; after that only what is larger than its last enters: of equals the lower id.
  size_t i = 0;
  for (; i < k && i < vocab; ++i) insert(logits[i], i);
  for (constexpr size_t kBlock = 256; i < vocab; i += kBlock) {
    const size_t length = std::min(kBlock, vocab - i);
    scan_range(logits + i, length, values[k - 1], kInfinity, [&](size_t j) {
      if (logits[i + j] > values[k - 1]) insert(logits[i + j], i + j);
    });
  }
}

LogSoftmax log_softmax(const KernelTable& kernels, const float* logits, size_t vocab, float max) noexcept {
  return {max, log64(static_cast<double>(kernels.sum_exp(logits, vocab, max)))};
}

}  // namespace nibble
