#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../status.h"

namespace nibble {

/// SamplingSpec of src/native/contract.ts without its lists of ids.
struct SamplingParams {
  double temperature = 1;  // 0 = greedy
  uint32_t top_k = 0;      // 0 = off
  double top_p = 1;
  double min_p = 0;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  double repetition_penalty = 1;
  uint64_t seed = 0;
  uint32_t choice = 0;
};

/// How often tokens occurred: a small hash table, since a sequence holds far fewer distinct tokens than the vocabulary.
class TokenCounts {
 public:
  struct Entry {
    int32_t id;
    uint32_t generated;  // 0: in the prompt only
  };
  void clear() noexcept;
  void add(int32_t id, bool generated);
  std::span<const Entry> entries() const noexcept { return entries_; }

 private:
  Entry& find(int32_t id);
  void grow();
  std::vector<Entry> entries_;
  std::vector<int32_t> table_;  // indices into entries_, −1 = empty; a power of two, at most half full
};

/// Sampling of one slot: its settings, and the counts that penalties need. Memory is kept between sequences.
class SamplerState {
 public:
  /// Starts a sequence, or continues one after a preemption (then with its generated ids).
  /// Fails with native_invalid_argument if a setting or an id is out of range; the state is unusable then.
  /// A bias may be infinite but not NaN; biases of one id add up.
  Status reset(const SamplingParams& params, std::span<const int32_t> bias_ids, std::span<const float> bias_values,
               std::span<const int32_t> prompt_ids, std::span<const int32_t> generated_ids, size_t vocab);

  /// Forbids these tokens among the first `count` generated ones. Fails as `reset`, which takes it back.
  Status forbid(uint32_t count, std::span<const int32_t> ids, size_t vocab);

  /// Counts a generated token.
  void count(int32_t id);
  /// Whether counts matter.
  bool penalizes() const noexcept { return penalizes_; }

  const SamplingParams& params() const noexcept { return params_; }
  /// Whether logits have to be adjusted before sampling the generated token at `position`.
  bool adjusts(uint32_t position) const noexcept {
    return !bias_.empty() || !counts_.entries().empty() || forbids(position);
  }
  /// Adds biases, applies penalties and forbids in place, on a copy of the raw logits; results are finite:
  ///   x += bias;  repetition: x = x > 0 ? x / r : x · r for ids of prompt or output;
  ///   x −= frequency · count;  x −= presence, for ids of the output (OpenAI's definition);
  ///   x = −FLT_MAX for ids that `forbid` named, while position < count.
  void adjust(float* logits, uint32_t position) const noexcept;

 private:
  struct Bias {
    int32_t id;
    float value;
  };
  bool forbids(uint32_t position) const noexcept { return position < forbidden_count_ && !forbidden_.empty(); }
  SamplingParams params_;
  bool repeats_ = false;    // a repetition penalty is set
  bool penalizes_ = false;  // any penalty is set
  std::vector<Bias> bias_;
  std::vector<int32_t> forbidden_;
  uint32_t forbidden_count_ = 0;
  TokenCounts counts_;
};

}  // namespace nibble
