#pragma once
// Sampling from one row of raw logits (docs/arithmetic.md, "Sampling"). Order: bias, penalties, grammar mask,
// temperature, top-k, min-p, top-p, draw. The order of tokens is everywhere: larger adjusted logit first, ties to the
// lower id.
//   weight  w = exp((x − max)·(1/T)) in f32 by the level's kernel; its mass is the integer RNE(w · 2^40). All sums are
//           sums of integers, hence exact in any order: none depends on how tokens were found.
//   top-k   the first k tokens.   min-p: of these, those with w ≥ min_p (the best token has w = 1).
//   top-p   of these, the shortest prefix whose mass reaches max(1, ⌊top_p · total⌋).
//   draw    r = ⌊Philox 53 bits · mass kept / 2^53⌋; the first token at which the running mass exceeds r.
// Tokens lighter than 2^-41 of the best have no mass and are never drawn.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../kernels/kernel_table.h"
#include "sampler_state.h"
#include "token_selection.h"

namespace nibble {

/// Which tokens a grammar allows: bit i % 32 of word i / 32 is token i. Empty: all of them. Otherwise ⌈vocab / 32⌉
/// words that allow one token at least; bits past the vocabulary mean nothing.
using TokenMask = std::span<const uint32_t>;

/// Chooses the next token of a slot; the caller counts it for the penalties. `position`: index among the generated
/// tokens. The row must be finite (RowStats), 1 ≤ vocab ≤ 2^22, the state reset for this vocabulary. A token that the
/// mask forbids is never chosen, unless a bias holds every allowed one at −FLT_MAX.
int32_t sample(const KernelTable& kernels, const SamplerState& state, const float* logits, size_t vocab,
               uint32_t position, SamplerScratch& scratch, TokenMask mask = {});

/// The tokens that `sample` draws from (those with mass), in order. For tests.
std::vector<int32_t> sampling_candidates(const KernelTable& kernels, const SamplerState& state, const float* logits,
                                         size_t vocab, SamplerScratch& scratch, TokenMask mask = {});

/// The `k` largest logits in order; ids[k], values[k]. 0 ≤ k ≤ vocab; about k comparisons per new candidate, so meant
/// for small k.
void top_tokens(const float* logits, size_t vocab, size_t k, int32_t* ids, float* values) noexcept;

/// Log-probabilities of a row: log p = f32((x − max) − log Σ exp(x − max)), the subtractions in double.
struct LogSoftmax {
  float max;
  double log_sum;

  float operator()(float x) const noexcept {
    return static_cast<float>((static_cast<double>(x) - static_cast<double>(max)) - log_sum);
  }
};
/// @param max of the row, from row_stats.
LogSoftmax log_softmax(const KernelTable& kernels, const float* logits, size_t vocab, float max) noexcept;

}  // namespace nibble
