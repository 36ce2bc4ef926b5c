#include "sampler.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cstring>
#include <limits>

#include "math64.h"
#include "philox.h"
#include "row_scan.h"

namespace nibble {

namespace {

using Candidate = SamplerScratch::Candidate;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool precedes(const Candidate& a, const Candidate& b) noexcept {
  return a.x > b.x || (a.x == b.x && a.id < b.id);
}

/// RNE(w · 2^40) for 0 ≤ w ≤ 1: the lowest bit of a double in [4096, 8192) is 2^-40.
uint64_t units(float w) noexcept {
  return std::bit_cast<uint64_t>(static_cast<double>(w) + 4096.0) - std::bit_cast<uint64_t>(4096.0);
}

uint64_t sum_units(const float* w, size_t n) noexcept {
  uint64_t sum[4] = {};
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (size_t j = 0; j < 4; ++j) sum[j] += units(w[i + j]);
  }
  for (; i < n; ++i) sum[0] += units(w[i]);
  return sum[0] + sum[1] + sum[2] + sum[3];
}

/// The tokens of a row in order, found from the top in bands of logits as far as they are needed. Where the bands lie
/// is a matter of speed alone.
class Selection {
 public:
  Selection(const KernelTable& kernels, const SamplingParams& params, const float* x, size_t n, SamplerScratch& scratch)
      : x_(x), n_(n), candidates_(scratch.candidates), bands_(scratch.bands) {
    candidates_.clear();
    bands_.clear();
    max_ = kernels.row_stats(x, n).max;
    const float inverse = 1.0f / static_cast<float>(params.temperature);
    const float scale = inverse <= FLT_MAX ? inverse : FLT_MAX;
    temperature_ = 1.0f / scale;
    scratch.weights.resize(n);
    kernels.exp_row(x, n, max_, scale, scratch.weights.data());
    w_ = scratch.weights.data();
    restrict_to_kept(params);
  }

  uint64_t kept_units() const noexcept { return kept_units_; }

  /// The first token at which the running sum reaches `need` (1 … kept_units); `through` is that sum.
  int32_t find(uint64_t need, uint64_t& through) {
    uint64_t before = 0;
    size_t begin = 0;
    for (size_t b = 0; b < bands_.size() || add_band(); ++b) {
      if (need <= before + bands_[b].units) {
        const size_t index = find_within(begin, bands_[b].end, need - before, through);
        through += before;
        return candidates_[index].id;
      }
      before += bands_[b].units;
      begin = bands_[b].end;
    }
    through = before;
    return 0;  // not reached with a finite row
  }

  /// Every token up to kept_units, in order.
  std::vector<int32_t> list() {
    while (add_band()) {
    }
    std::sort(candidates_.begin(), candidates_.end(), precedes);
    std::vector<int32_t> ids;
    uint64_t sum = 0;
    for (const Candidate& candidate : candidates_) {
      if (sum >= kept_units_) break;
      const uint64_t u = units(w_[candidate.id]);
      if (u > 0) ids.push_back(candidate.id);
      sum += u;
    }
    return ids;
  }

 private:
  void restrict_to_kept(const SamplingParams& params) {
    if (params.top_k > 0 && params.top_k < n_) {
      keep_top_k(params.top_k, static_cast<float>(params.min_p));
    } else if (params.min_p > 0.0) {
      scan_range(w_, n_, static_cast<float>(params.min_p), kInfinity, [&](size_t i) {
        candidates_.push_back({x_[i], static_cast<int32_t>(i)});
      });
      close();
    }
    kept_units_ = closed_ ? bands_[0].units : sum_units(w_, n_);
    if (params.top_p < 1.0) {
      const uint64_t share = static_cast<uint64_t>(params.top_p * static_cast<double>(kept_units_));
      find(std::clamp<uint64_t>(share, 1, kept_units_), kept_units_);
    }
  }

  void keep_top_k(size_t k, float min_p) {
    while (candidates_.size() < k && add_band()) {
    }
    if (candidates_.size() > k) {
      std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(k), candidates_.end(),
                       precedes);
      candidates_.resize(k);
    }
    std::erase_if(candidates_, [&](const Candidate& candidate) { return w_[candidate.id] < min_p; });
    close();
  }

  /// The candidates are all there will be: one band.
  void close() {
    bands_.assign(1, {candidates_.size(), sum_candidates(0, candidates_.size())});
    closed_ = true;
  }

  /// Adds the tokens of the next band, in nats below the best one; the last takes all that have a unit.
  bool add_band() {
    constexpr float kNats[] = {2, 4, 6, 9, 13, 20};
    if (closed_) return false;
    const size_t begin = candidates_.size();
    const size_t level = bands_.size();
    const bool last = level == std::size(kNats);
    const float low = last ? -kInfinity : max_ - kNats[level] * temperature_;
    scan_range(x_, n_, low, high_, [&](size_t i) {
      if (!last || units(w_[i]) > 0) candidates_.push_back({x_[i], static_cast<int32_t>(i)});
    });
    high_ = low;
    closed_ = last;
    bands_.push_back({candidates_.size(), sum_candidates(begin, candidates_.size())});
    return true;
  }

  uint64_t sum_candidates(size_t begin, size_t end) const noexcept {
    uint64_t sum = 0;
    for (size_t i = begin; i < end; ++i) sum += units(w_[candidates_[i].id]);
    return sum;
  }

  /// Halves [begin, end) around its median until few are left: linear time, no full sort.
  size_t find_within(size_t begin, size_t end, uint64_t need, uint64_t& through) {
    constexpr size_t kSortedMax = 48;
    through = 0;
    const auto at = [&](size_t i) { return candidates_.begin() + static_cast<ptrdiff_t>(i); };
    while (end - begin > kSortedMax) {
      const size_t middle = begin + (end - begin) / 2;
      std::nth_element(at(begin), at(middle), at(end), precedes);
      const uint64_t sum = sum_candidates(begin, middle);
      if (through + sum >= need) {
        end = middle;
      } else {
        through += sum;
        begin = middle;
      }
    }
    std::sort(at(begin), at(end), precedes);
    for (;; ++begin) {
      through += units(w_[candidates_[begin].id]);
      if (through >= need || begin + 1 == end) return begin;
    }
  }

  const float* x_;
  const float* w_ = nullptr;
  size_t n_;
  float max_ = 0;
  float temperature_ = 1;
  float high_ = kInfinity;  // logits from here on are in a band already
  bool closed_ = false;     // no more bands
  uint64_t kept_units_ = 0;
  std::vector<Candidate>& candidates_;
  std::vector<SamplerScratch::Band>& bands_;
};

/// The raw row itself, or its adjusted copy.
const float* adjusted_row(const SamplerState& state, const float* logits, size_t vocab, SamplerScratch& scratch) {
  if (!state.adjusts()) return logits;
  scratch.adjusted.resize(vocab);
  std::memcpy(scratch.adjusted.data(), logits, vocab * sizeof(float));
  state.adjust(scratch.adjusted.data());
  return scratch.adjusted.data();
}

int32_t largest(const KernelTable& kernels, const float* x, size_t n) noexcept {
  const size_t index = find_equal(x, n, kernels.row_stats(x, n).max);
  return index < n ? static_cast<int32_t>(index) : 0;
}

}  // namespace

int32_t sample(const KernelTable& kernels, SamplerState& state, const float* logits, size_t vocab, uint32_t position,
               SamplerScratch& scratch) {
  const SamplingParams& params = state.params();
  const float* x = adjusted_row(state, logits, vocab, scratch);
  int32_t token = 0;
  if (params.temperature == 0.0) {
    token = largest(kernels, x, vocab);
  } else {
    Selection selection(kernels, params, x, vocab, scratch);
    const unsigned __int128 product =
        static_cast<unsigned __int128>(draw_bits(params.seed, params.choice, position)) * selection.kept_units();
    uint64_t through = 0;
    token = selection.find(static_cast<uint64_t>(product >> 53) + 1, through);
  }
  state.count(token);
  return token;
}

std::vector<int32_t> sampling_candidates(const KernelTable& kernels, const SamplerState& state, const float* logits,
                                         size_t vocab, SamplerScratch& scratch) {
  const float* x = adjusted_row(state, logits, vocab, scratch);
  if (state.params().temperature == 0.0) return {largest(kernels, x, vocab)};
  return Selection(kernels, state.params(), x, vocab, scratch).list();
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
