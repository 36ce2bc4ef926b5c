#pragma once
// Finding tokens by their rank or by the mass before them, in the order of sampling (sampler.h), without sorting the
// row. Peaked rows: the few tokens within 6 nats of the best are listed, and nearly always hold the answer. Flat rows:
// one histogram of 1024 buckets of logits, then only the bucket that holds the answer is listed. Both only decide where
// to look: masses are integers, so the result does not depend on them.
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels/kernel_table.h"
#include "sampler_state.h"

namespace nibble {

/// Working memory of one thread; grows to the vocabulary and is reused.
struct SamplerScratch {
  struct Candidate {
    float x;
    int32_t id;
  };
  struct Bucket {
    uint64_t mass;
    uint64_t count;
  };
  SamplerState ahead;  // a slot's state as it would be behind tokens that may yet turn out differently
  std::vector<float> adjusted;
  std::vector<float> weights;
  std::vector<Candidate> head;
  std::vector<Candidate> members;  // of one bucket
  std::array<Bucket, 1024> buckets;

  /// Takes all memory that sampling needs at once, so that it allocates nothing but for its counts.
  void reserve(size_t vocab);
};

/// The tokens of a row that temperature, top-k, min-p and top-p leave over.
class TokenSelection {
 public:
  /// The (adjusted) row must be finite; temperature > 0.
  TokenSelection(const KernelTable& kernels, const SamplingParams& params, const float* x, size_t n,
                 SamplerScratch& scratch);

  /// Total mass of the tokens kept, ≥ 1.
  uint64_t mass() const noexcept { return mass_; }
  /// The first token at which the running mass reaches `need`, 1 … mass().
  int32_t at_mass(uint64_t need) { return find(need, Measure::mass).token.id; }
  /// Those kept that have any mass, in order.
  std::vector<int32_t> list() const;

 private:
  using Candidate = SamplerScratch::Candidate;
  enum class Measure : uint8_t { mass, count };
  struct Found {
    Candidate token;
    uint64_t through;  // running sum, the token included
  };

  bool kept(const Candidate& token) const noexcept;
  uint64_t measure(const Candidate& token, Measure by) const noexcept;
  uint64_t measure(const std::vector<Candidate>& tokens, size_t begin, size_t end, Measure by) const noexcept;
  size_t bucket_of(float x) const noexcept;
  void list_head(float nats);
  void keep_top(size_t k);
  void fill_buckets() noexcept;
  uint64_t total_mass() noexcept;
  Found find(uint64_t need, Measure by);
  Found find_in_buckets(uint64_t need, Measure by);
  Found find_within(std::vector<Candidate>& tokens, uint64_t need, Measure by) const;

  const float* x_;
  const float* w_ = nullptr;
  size_t n_;
  SamplerScratch& scratch_;
  float max_ = 0;
  float temperature_ = 1;
  float w_min_ = 0;              // min-p
  Candidate last_;               // top-k: the last token that is kept
  bool head_is_listed_ = false;  // the head was short enough
  bool head_is_all_ = false;     // and nothing else is kept
  bool buckets_are_filled_ = false;
  float bucket_width_ = 0;
  float bucket_scale_ = 0;
  uint64_t mass_ = 0;
};

}  // namespace nibble
