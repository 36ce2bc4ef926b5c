#include "token_selection.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "row_scan.h"

namespace nibble {

namespace {

using Candidate = SamplerScratch::Candidate;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kScaleMax = 1e30f;  // colder than this is greedy but for ties
constexpr float kHeadNats = 6.0f;
constexpr float kTopKNats[] = {1.5f, 3, 6, 10, 16, 28};  // widened until top-k is within
constexpr size_t kHeadMax = 1024;
constexpr float kBucketNats = 28.0f;  // beyond it no mass: e^-28 < 2^-40
constexpr float kLightest = 0x1p-41f;
constexpr size_t kLastBucket = std::tuple_size_v<decltype(SamplerScratch::buckets)> - 1;

bool precedes(const Candidate& a, const Candidate& b) noexcept {
  return a.x > b.x || (a.x == b.x && a.id < b.id);
}

/// RNE(w · 2^40) for 0 ≤ w ≤ 1: the lowest bit of a double in [4096, 8192) is 2^-40.
uint64_t mass_of(float w) noexcept {
  return std::bit_cast<uint64_t>(static_cast<double>(w) + 4096.0) - std::bit_cast<uint64_t>(4096.0);
}

uint64_t row_mass(const float* w, size_t n, float w_min) noexcept {
  const auto mass = [&](size_t i) { return w[i] >= w_min ? mass_of(w[i]) : 0; };
  uint64_t a = 0, b = 0, c = 0, d = 0;  // independent additions
  size_t i = 0;
  for (; i + 4 <= n; i += 4) a += mass(i), b += mass(i + 1), c += mass(i + 2), d += mass(i + 3);
  for (; i < n; ++i) a += mass(i);
  return a + b + c + d;
}

}  // namespace

void SamplerScratch::reserve(size_t vocab) {
  adjusted.reserve(vocab);
  weights.reserve(vocab);
  head.reserve(kHeadMax + 1);
  members.reserve(vocab);
}

TokenSelection::TokenSelection(const KernelTable& kernels, const SamplingParams& params, const float* x, size_t n,
                               SamplerScratch& scratch)
    : x_(x), n_(n), scratch_(scratch), last_{-kInfinity, std::numeric_limits<int32_t>::max()} {
  max_ = kernels.row_stats(x, n).max;
  const float inverse = 1.0f / static_cast<float>(params.temperature);
  const float scale = inverse <= kScaleMax ? inverse : kScaleMax;
  temperature_ = 1.0f / scale;
  scratch.weights.resize(n);
  kernels.exp_row(x, n, max_, scale, scratch.weights.data());
  w_ = scratch.weights.data();
  if (params.top_k > 0 && params.top_k < n) {
    keep_top(params.top_k);
  } else {
    list_head(kHeadNats);
  }
  w_min_ = static_cast<float>(params.min_p);
  mass_ = total_mass();
  if (params.top_p < 1.0) {
    const uint64_t share = static_cast<uint64_t>(params.top_p * static_cast<double>(mass_));
    mass_ = find(std::max<uint64_t>(1, std::min(share, mass_)), Measure::mass).through;
  }
}

bool TokenSelection::kept(const Candidate& token) const noexcept {
  return w_[token.id] >= w_min_ && !precedes(last_, token);
}

uint64_t TokenSelection::measure(const Candidate& token, Measure by) const noexcept {
  if (!kept(token)) return 0;
  return by == Measure::count ? 1 : mass_of(w_[token.id]);
}

uint64_t TokenSelection::measure(const std::vector<Candidate>& tokens, size_t begin, size_t end,
                                 Measure by) const noexcept {
  uint64_t sum = 0;
  for (size_t i = begin; i < end; ++i) sum += measure(tokens[i], by);
  return sum;
}

void TokenSelection::list_head(float nats) {
  std::vector<Candidate>& head = scratch_.head;
  head.clear();
  scan_range(x_, n_, max_ - nats * temperature_, kInfinity, [&](size_t i) {
    if (head.size() <= kHeadMax) head.push_back({x_[i], static_cast<int32_t>(i)});
  });
  head_is_listed_ = head.size() <= kHeadMax;
}

void TokenSelection::keep_top(size_t k) {
  for (const float nats : kTopKNats) {
    list_head(nats);
    if (scratch_.head.size() >= k || !head_is_listed_) break;
  }
  head_is_all_ = head_is_listed_ && scratch_.head.size() >= k;
  last_ = find(k, Measure::count).token;
  buckets_are_filled_ = false;
}

/// Monotone in x, so that buckets follow the order. The last one takes everything without mass.
size_t TokenSelection::bucket_of(float x) const noexcept {
  const float distance = (max_ - x) * bucket_scale_;
  return distance < static_cast<float>(kLastBucket) ? static_cast<size_t>(distance) : kLastBucket;
}

void TokenSelection::fill_buckets() noexcept {
  if (buckets_are_filled_) return;
  float least = max_;  // of the tokens with mass
  for (size_t i = 0; i < n_; ++i) least = x_[i] < least && w_[i] >= kLightest ? x_[i] : least;
  const float range = std::min(max_ - least, kBucketNats * temperature_);
  bucket_width_ = std::max(range / static_cast<float>(kLastBucket), 1e-30f);
  bucket_scale_ = 1.0f / bucket_width_;
  scratch_.buckets.fill({0, 0});
  for (size_t i = 0; i < n_; ++i) {
    const Candidate token{x_[i], static_cast<int32_t>(i)};
    if (!kept(token)) continue;
    SamplerScratch::Bucket& bucket = scratch_.buckets[bucket_of(token.x)];
    bucket.mass += mass_of(w_[i]);
    bucket.count += 1;
  }
  buckets_are_filled_ = true;
}

uint64_t TokenSelection::total_mass() noexcept {
  if (head_is_all_) return measure(scratch_.head, 0, scratch_.head.size(), Measure::mass);
  if (head_is_listed_ && last_.x == -kInfinity) {
    return row_mass(w_, n_, w_min_);
  }
  fill_buckets();
  uint64_t sum = 0;
  for (const SamplerScratch::Bucket& bucket : scratch_.buckets) sum += bucket.mass;
  return sum;
}

TokenSelection::Found TokenSelection::find(uint64_t need, Measure by) {
  if (head_is_listed_ && measure(scratch_.head, 0, scratch_.head.size(), by) >= need) {
    return find_within(scratch_.head, need, by);
  }
  return find_in_buckets(need, by);
}

TokenSelection::Found TokenSelection::find_in_buckets(uint64_t need, Measure by) {
  fill_buckets();
  uint64_t before = 0;
  for (size_t b = 0; b < scratch_.buckets.size(); ++b) {
    const SamplerScratch::Bucket& bucket = scratch_.buckets[b];
    const uint64_t sum = by == Measure::count ? bucket.count : bucket.mass;
    if (before + sum < need) {
      before += sum;
      continue;
    }
    // A range a little wider than the bucket, and than the rounding of its ends, skips most of the row quickly.
    const float slack = (max_ < 0.0f ? -max_ : max_) * 0x1p-22f;
    const float low = b == kLastBucket ? -kInfinity : max_ - (static_cast<float>(b) + 1.5f) * bucket_width_ - slack;
    const float high = b < 2 ? kInfinity : max_ - (static_cast<float>(b) - 0.5f) * bucket_width_ + slack;
    scratch_.members.clear();
    scan_range(x_, n_, low, high, [&](size_t i) {
      const Candidate token{x_[i], static_cast<int32_t>(i)};
      if (bucket_of(token.x) == b && kept(token)) scratch_.members.push_back(token);
    });
    Found found = find_within(scratch_.members, need - before, by);
    found.through += before;
    return found;
  }
  return {{max_, 0}, before};  // only in a row with NaN
}

/// Halves the range around its median until few are left: linear time, no full sort.
TokenSelection::Found TokenSelection::find_within(std::vector<Candidate>& tokens, uint64_t need, Measure by) const {
  constexpr size_t kSortedMax = 48;
  const auto at = [&](size_t i) { return tokens.begin() + static_cast<ptrdiff_t>(i); };
  uint64_t through = 0;
  size_t begin = 0;
  size_t end = tokens.size();
  if (end == 0) return {{max_, 0}, 0};  // only in a row with NaN
  while (end - begin > kSortedMax) {
    const size_t middle = begin + (end - begin) / 2;
    std::nth_element(at(begin), at(middle), at(end), precedes);
    const uint64_t sum = measure(tokens, begin, middle, by);
    if (through + sum >= need) {
      end = middle;
    } else {
      through += sum;
      begin = middle;
    }
  }
  std::sort(at(begin), at(end), precedes);
  for (;; ++begin) {
    through += measure(tokens[begin], by);
    if (through >= need || begin + 1 == end) return {tokens[begin], through};
  }
}

std::vector<int32_t> TokenSelection::list() const {
  std::vector<Candidate> tokens;
  for (size_t i = 0; i < n_; ++i) {
    const Candidate token{x_[i], static_cast<int32_t>(i)};
    if (measure(token, Measure::mass) > 0) tokens.push_back(token);
  }
  std::sort(tokens.begin(), tokens.end(), precedes);
  std::vector<int32_t> ids;
  uint64_t sum = 0;
  for (size_t i = 0; i < tokens.size() && sum < mass_; ++i) {
    ids.push_back(tokens[i].id);
    sum += measure(tokens[i], Measure::mass);
  }
  return ids;
}

}  // namespace nibble
