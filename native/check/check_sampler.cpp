#include "check_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "../engine/philox.h"
#include "../engine/sampler.h"

namespace nibble {

namespace {

using Random = std::mt19937_64;
using Failures = std::vector<std::string>;
using Ids = std::vector<int32_t>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void expect(Failures& failures, bool ok, const std::string& what) {
  if (!ok) failures.push_back("sampler: " + what);
}

SamplerState state_of(Failures& failures, const SamplingParams& params, size_t vocab, const Ids& bias_ids = {},
                      const std::vector<float>& bias = {}) {
  SamplerState state;
  const Status status = state.reset(params, bias_ids, bias, {}, {}, vocab);
  expect(failures, status.ok(), "good settings refused: " + status.message);
  return state;
}

/// What sampling means, written for clarity: a full sort and doubles. `probability[i]` belongs to `ids[i]`.
struct Naive {
  Ids ids;
  std::vector<double> probability;
  bool close_call = false;  // a cut lies so near that rounding may decide it otherwise

  Naive(const std::vector<float>& logits, const SamplingParams& params) {
    Ids order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto logit = [&](int32_t id) { return static_cast<double>(logits[static_cast<size_t>(id)]); };
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
    if (params.top_k > 0 && params.top_k < order.size()) order.resize(params.top_k);
    double total = 0;
    for (const int32_t id : order) {
      const double weight = std::exp((logit(id) - logit(order[0])) / params.temperature);
      if (std::fabs(weight - params.min_p) < 1e-5 * params.min_p && weight != 1.0) close_call = true;
      if (weight < params.min_p) break;
      if (weight < 0x1p-38) break;  // the integers of the real sampler fade out here
      ids.push_back(id);
      probability.push_back(weight);
      total += weight;
    }
    double sum = 0;
    for (size_t i = 0; i < ids.size() && params.top_p < 1; ++i) {
      sum += probability[i];
      if (std::fabs(sum / total - params.top_p) < 1e-6) close_call = true;
      if (sum / total >= params.top_p) {
        ids.resize(i + 1);
        probability.resize(i + 1);
        total = sum;
      }
    }
    for (double& p : probability) p /= total;
  }

  /// Whether this token is where `share` of the mass is reached, give or take rounding.
  bool draws(int32_t token, double share) const {
    double before = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] == token) return share >= before - 1e-6 && share <= before + probability[i] + 1e-6;
      before += probability[i];
    }
    return false;
  }
};

std::vector<float> random_row(Random& random, size_t vocab, int kind) {
  std::normal_distribution<float> normal(0.0f, kind == 0 ? 1.0f : 3.0f);
  std::vector<float> row(vocab);
  for (float& x : row) {
    x = normal(random);
    if (kind == 2) x = std::floor(x * 2.0f) / 2.0f;  // many ties
    if (kind == 3) x = 1.25f;                        // nothing but ties
    if (kind == 4) x *= 20.0f;
  }
  if (kind == 5) row[random() % vocab] = 3e37f;
  return row;
}

SamplingParams random_params(Random& random, size_t vocab) {
  static constexpr double temperatures[] = {0.05, 0.7, 1.0, 1.5, 1e6};
  static constexpr double top_ps[] = {0.0, 1e-9, 0.1, 0.5, 0.9, 0.999, 1.0, 1.0};
  static constexpr double min_ps[] = {0.0, 0.0, 0.013, 0.11, 1.0};
  const uint32_t top_ks[] = {0, 0, 0, 1, 5, 40, static_cast<uint32_t>(vocab), static_cast<uint32_t>(vocab) + 1};
  return {.temperature = temperatures[random() % std::size(temperatures)],
          .top_k = top_ks[random() % std::size(top_ks)],
          .top_p = top_ps[random() % std::size(top_ps)],
          .min_p = min_ps[random() % std::size(min_ps)],
          .seed = random(),
          .choice = static_cast<uint32_t>(random())};
}

void check_candidates(Failures& failures, Random& random) {
  SamplerScratch scratch;
  size_t cases = 0;
  size_t close_calls = 0;
  for (const size_t vocab : {1, 2, 15, 16, 17, 49, 100, 1000, 5003, 49152}) {
    for (int repeat = 0; repeat < (vocab < 1000 ? 200 : vocab < 10000 ? 50 : 12); ++repeat, ++cases) {
      const int kind = static_cast<int>(random() % 6);
      const std::vector<float> row = random_row(random, vocab, kind);
      const SamplingParams params = random_params(random, vocab);
      const Naive naive(row, params);
      close_calls += naive.close_call ? 1 : 0;
      const std::string name = std::to_string(vocab) + " tokens, kind " + std::to_string(kind) + ", temperature " +
                               std::to_string(params.temperature) + ", top_k " + std::to_string(params.top_k) +
                               ", top_p " + std::to_string(params.top_p) + ", min_p " + std::to_string(params.min_p);
      Ids first;
      int32_t token = 0;
      for (const Isa isa : supported_isas()) {
        SamplerState state = state_of(failures, params, vocab);
        Ids ids = sampling_candidates(*kernel_table(isa), state, row.data(), vocab, scratch);
        const int32_t drawn = sample(*kernel_table(isa), state, row.data(), vocab, 7, scratch);
        expect(failures, std::find(ids.begin(), ids.end(), drawn) != ids.end(), name + ": drew what it may not");
        if (isa != Isa::scalar) {
          expect(failures, ids == first && drawn == token, name + ": " + std::string(isa_name(isa)) + " differs");
          continue;
        }
        first = ids;
        token = drawn;
        // Those lighter than 2^-38 of the best are left out on both sides.
        const auto light = [&](int32_t id) {
          const double below = static_cast<double>(row[static_cast<size_t>(id)]) - row[static_cast<size_t>(ids[0])];
          return std::exp(below / params.temperature) < 0x1p-38;
        };
        std::erase_if(first, light);
        expect(failures, first == naive.ids || naive.close_call, name + ": other candidates");
        first = ids;
        const double share = static_cast<double>(draw_bits(params.seed, params.choice, 7)) * 0x1p-53;
        expect(failures, naive.draws(token, share) || naive.close_call || light(token), name + ": drew another token");
      }
    }
  }
  expect(failures, close_calls * 20 < cases, "too many close calls to mean anything");
}

/// Every k and every share of a row without ties: the cut falls exactly where a full sort puts it.
void check_cuts(Failures& failures, Random& random) {
  constexpr size_t kVocab = 200;
  SamplerScratch scratch;
  std::vector<float> row(kVocab);
  for (size_t i = 0; i < kVocab; ++i) row[i] = static_cast<float>(i) / 1024.0f;
  std::shuffle(row.begin(), row.end(), random);
  const Naive all(row, {});
  for (uint32_t k = 1; k <= kVocab; ++k) {
    const SamplerState state = state_of(failures, {.top_k = k}, kVocab);
    const Ids ids = sampling_candidates(*kernel_table(Isa::scalar), state, row.data(), kVocab, scratch);
    expect(failures, ids == Ids(all.ids.begin(), all.ids.begin() + k), "top_k " + std::to_string(k));
  }
  // Equal weights: ⌈200 · share⌉ tokens, the lowest ids; shares of half a token can't be close calls.
  std::fill(row.begin(), row.end(), 0.5f);
  for (size_t count = 1; count <= kVocab; ++count) {
    const SamplingParams params{.top_p = (static_cast<double>(count) - 0.5) / kVocab};
    const SamplerState state = state_of(failures, params, kVocab);
    const Ids ids = sampling_candidates(*kernel_table(Isa::scalar), state, row.data(), kVocab, scratch);
    bool lowest = ids.size() == count;
    for (size_t i = 0; lowest && i < count; ++i) lowest = ids[i] == static_cast<int32_t>(i);
    expect(failures, lowest, "top_p of " + std::to_string(count) + " equal tokens");
  }
}

/// Draws over positions, choices and seeds follow the distribution: Pearson's statistic, 5 sigma.
void check_draws(Failures& failures, Random& random) {
  constexpr size_t kVocab = 60;
  constexpr size_t kDraws = 100000;
  const std::vector<float> row = random_row(random, kVocab, 0);
  const SamplingParams settings[] = {
      {.temperature = 0.8}, {.temperature = 1.3, .top_p = 0.95}, {.temperature = 1, .top_k = 12, .min_p = 0.05}};
  SamplerScratch scratch;
  for (const SamplingParams& base : settings) {
    const Naive naive(row, base);
    for (const char* varied : {"position", "choice", "seed"}) {
      SamplingParams params = base;
      params.seed = 0x123456789abcdef0u;
      std::map<int32_t, double> seen;
      SamplerState state = state_of(failures, params, kVocab);
      for (uint32_t i = 0; i < kDraws; ++i) {
        if (*varied == 'c') params.choice = i;
        if (*varied == 's') params.seed = uint64_t{i} << 20;
        if (*varied != 'p') state = state_of(failures, params, kVocab);
        ++seen[sample(*kernel_table(Isa::scalar), state, row.data(), kVocab, *varied == 'p' ? i : 3, scratch)];
      }
      double statistic = 0;
      for (size_t i = 0; i < naive.ids.size(); ++i) {
        const double expected = naive.probability[i] * kDraws;
        statistic += (seen[naive.ids[i]] - expected) * (seen[naive.ids[i]] - expected) / expected;
      }
      const double freedom = static_cast<double>(naive.ids.size()) - 1;
      expect(failures, seen.size() == naive.ids.size(), std::string("draws over ") + varied + " reach other tokens");
      expect(failures, std::fabs(statistic - freedom) < 5 * std::sqrt(2 * freedom),
             std::string("draws over ") + varied + ": chi-square " + std::to_string(statistic) + " with " +
                 std::to_string(freedom) + " degrees of freedom");
    }
  }
}

void check_penalties(Failures& failures, Random& random) {
  constexpr size_t kVocab = 300;
  for (int repeat = 0; repeat < 24; ++repeat) {
    const SamplingParams params{.temperature = 0,
                                .presence_penalty = repeat & 1 ? 0.7 : 0.0,
                                .frequency_penalty = repeat & 2 ? -0.3 : 0.0,
                                .repetition_penalty = repeat & 4 ? 1.25 : 1.0};
    const std::vector<float> row = random_row(random, kVocab, 1);
    Ids prompt(random() % 200), generated(random() % 200);
    for (int32_t& id : prompt) id = static_cast<int32_t>(random() % kVocab);
    for (int32_t& id : generated) id = static_cast<int32_t>(random() % kVocab);
    const Ids bias_ids = {5, 17, 5};
    const std::vector<float> bias = {2.0f, -100.0f, 0.5f};

    std::vector<double> expected(row.begin(), row.end());
    expected[5] += 2.5;
    expected[17] -= 100;
    for (int32_t id = 0; id < static_cast<int32_t>(kVocab); ++id) {
      const auto count = std::count(generated.begin(), generated.end(), id);
      double& x = expected[static_cast<size_t>(id)];
      const double factor = x > 0 ? 1 / params.repetition_penalty : params.repetition_penalty;
      if (count > 0 || std::count(prompt.begin(), prompt.end(), id) > 0) x *= factor;
      if (count > 0) x -= params.frequency_penalty * static_cast<double>(count) + params.presence_penalty;
    }

    SamplerState whole, grown;
    expect(failures, whole.reset(params, bias_ids, bias, prompt, generated, kVocab).ok(), "penalties refused");
    expect(failures, grown.reset(params, bias_ids, bias, prompt, {}, kVocab).ok(), "penalties refused");
    for (const int32_t id : generated) grown.count(id);
    std::vector<float> a = row, b = row;
    whole.adjust(a.data(), 0);
    grown.adjust(b.data(), 0);
    expect(failures, a == b, "rebuilt penalties differ from those that grew");
    bool close = true;
    for (size_t i = 0; i < kVocab; ++i) close = close && std::fabs(a[i] - expected[i]) < 1e-5 * (1 + std::fabs(a[i]));
    expect(failures, close, "penalties differ from their definition");
  }
  // Greedy with a heavy penalty never repeats until every token has had its turn.
  SamplerState state = state_of(failures, {.temperature = 0, .presence_penalty = 1000}, 50);
  const std::vector<float> row = random_row(random, 50, 1);
  SamplerScratch scratch;
  std::set<int32_t> seen;
  for (uint32_t i = 0; i < 50; ++i)
    state.count(*seen.insert(sample(*kernel_table(Isa::scalar), state, row.data(), 50, i, scratch)).first);
  expect(failures, seen.size() == 50, "a penalized token was drawn again");
}

/// Tokens that the first few generated ones can't be.
void check_forbidden(Failures& failures, Random& random) {
  const std::vector<float> row = random_row(random, 1000, 1);
  const auto best = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  SamplerScratch scratch;
  SamplerState patient = state_of(failures, {.temperature = 0}, 1000);
  expect(failures, patient.forbid(3, Ids{best, 5}, 1000).ok(), "forbidding refused");
  for (const uint32_t position : {0u, 2u, 3u}) {
    const bool drawn = sample(*kernel_table(Isa::scalar), patient, row.data(), 1000, position, scratch) == best;
    expect(failures, drawn == (position >= 3), "forbidden at a wrong position");
  }
  expect(failures, !patient.forbid(1, Ids{1000}, 1000).ok(), "forbidding outside accepted");
}

void check_extremes(Failures& failures, Random& random) {
  constexpr size_t kVocab = 1000;
  const KernelTable& kernels = *kernel_table(Isa::scalar);
  const std::vector<float> row = random_row(random, kVocab, 1);
  const auto best = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  SamplerScratch scratch;
  Ids all(kVocab);
  std::iota(all.begin(), all.end(), 0);
  std::vector<float> ban(kVocab, -kInfinity);
  ban[321] = 0.0f;
  for (const double temperature : {0.0, 1e-6, 1.0, 1e6, 1e30}) {
    SamplerState state = state_of(failures, {.temperature = temperature}, kVocab, all, ban);
    expect(failures, sample(kernels, state, row.data(), kVocab, 0, scratch) == 321, "a banned token was drawn");
  }
  for (const SamplingParams& params :
       {SamplingParams{.temperature = 0}, SamplingParams{.temperature = 1e-6}, SamplingParams{.temperature = 1e-300},
        SamplingParams{.temperature = 2, .top_p = 0}, SamplingParams{.temperature = 1, .top_k = 1},
        SamplingParams{.temperature = 1, .min_p = 1}}) {
    SamplerState state = state_of(failures, params, kVocab);
    expect(failures, sample(kernels, state, row.data(), kVocab, 9, scratch) == best,
           "an extreme setting lost the best token");
  }
  SamplerState flat = state_of(failures, {.temperature = 1e30}, kVocab);
  expect(failures, sampling_candidates(kernels, flat, row.data(), kVocab, scratch).size() == kVocab,
         "1e30 is not flat");
  SamplerState lifted = state_of(failures, {.temperature = 1}, kVocab, {77}, {kInfinity});
  expect(failures, sample(kernels, lifted, row.data(), kVocab, 0, scratch) == 77, "an infinite bias was ignored");
  const float ties[] = {-0.0f, 1.0f, 1.0f, 0.0f};
  SamplerState greedy = state_of(failures, {.temperature = 0}, 4);
  expect(failures, sample(kernels, greedy, ties, 4, 0, scratch) == 1, "greedy: a tie went to the higher id");
  const float zeros[] = {-0.0f, 0.0f};
  expect(failures, sample(kernels, greedy, zeros, 2, 0, scratch) == 0, "greedy: -0 and 0 are not a tie");
  // The caller fails sequences whose rows aren't finite; sampling from one still ends, with a token of the vocabulary.
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    for (const SamplingParams& params : {SamplingParams{.temperature = 0}, SamplingParams{.top_p = 0.9},
                                         SamplingParams{.top_k = 5, .min_p = 0.1}, SamplingParams{}}) {
      SamplerState broken = state_of(failures, params, kVocab);
      for (const size_t count : {size_t{1}, kVocab}) {
        std::vector<float> bad = row;
        std::fill_n(bad.begin(), count, value);
        const int32_t token = sample(kernels, broken, bad.data(), kVocab, 0, scratch);
        expect(failures, token >= 0 && static_cast<size_t>(token) < kVocab, "a token outside the vocabulary");
      }
    }
  }

  SamplerState state;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const SamplingParams& bad : {SamplingParams{.temperature = -1}, SamplingParams{.temperature = nan},
                                    SamplingParams{.top_p = 1.5}, SamplingParams{.min_p = -0.1},
                                    SamplingParams{.repetition_penalty = 0}, SamplingParams{.presence_penalty = nan}}) {
    expect(failures, !state.reset(bad, {}, {}, {}, {}, kVocab).ok(), "bad settings accepted");
  }
  const Ids outside = {1000};
  const Ids negative = {-1};
  const std::vector<float> one = {1.0f};
  const std::vector<float> not_a_number = {std::numeric_limits<float>::quiet_NaN()};
  const Ids zero = {0};
  expect(failures, !state.reset({}, outside, one, {}, {}, kVocab).ok(), "a bias outside the vocabulary accepted");
  expect(failures, !state.reset({}, {}, {}, negative, {}, kVocab).ok(), "a negative prompt id accepted");
  expect(failures, !state.reset({}, {}, {}, {}, outside, kVocab).ok(), "a generated id outside accepted");
  expect(failures, !state.reset({}, zero, not_a_number, {}, {}, kVocab).ok(), "a bias of NaN accepted");
  expect(failures, !state.reset({}, zero, {}, {}, {}, kVocab).ok(), "a bias without value accepted");
}

void check_tops(Failures& failures, Random& random) {
  for (const size_t vocab : {1, 5, 16, 257, 5003}) {
    for (int kind = 0; kind < 5; ++kind) {
      const std::vector<float> row = random_row(random, vocab, kind);
      Ids order(vocab);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](int32_t a, int32_t b) { return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)]; });
      for (const size_t k : {size_t{0}, size_t{1}, size_t{5}, size_t{20}}) {
        const size_t wanted = std::min(k, vocab);
        Ids ids(wanted);
        std::vector<float> values(wanted);
        top_tokens(row.data(), vocab, wanted, ids.data(), values.data());
        expect(failures, std::equal(ids.begin(), ids.end(), order.begin()), "other most likely tokens");
        for (size_t i = 0; i < wanted; ++i) {
          expect(failures, values[i] == row[static_cast<size_t>(ids[i])], "logits of the most likely tokens");
        }
      }
      const float max = row[static_cast<size_t>(order[0])];
      long double sum = 0;
      for (const float x : row) sum += std::exp(static_cast<long double>(x) - max);
      const LogSoftmax log_p = log_softmax(*kernel_table(Isa::scalar), row.data(), vocab, max);
      for (const float x : row) {
        const long double exact = static_cast<long double>(x) - max - std::log(sum);
        // f32 sums in sixteen lanes, and exp to 2 ulp; then the result's own rounding.
        const long double bound = (static_cast<long double>(vocab) / 16 + 8 + std::fabs(exact)) * 0x1p-24L;
        expect(failures, std::fabs(log_p(x) - exact) <= bound, "a log-probability");
      }
    }
  }
}

/// The vectors published with Random123 (kat_vectors, philox4x32 with 10 rounds).
void check_philox(Failures& failures) {
  using Words = std::array<uint32_t, 4>;
  constexpr uint32_t all = 0xffffffffu;
  expect(failures, philox4x32_10({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
         "philox of zeros");
  expect(failures,
         philox4x32_10({all, all, all, all}, {all, all}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
         "philox of ones");
  expect(failures,
         philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
             Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
         "philox of pi");
}

}  // namespace

std::vector<std::string> check_sampler(uint64_t seed) {
  Failures failures;
  Random random(seed);
  check_philox(failures);
  check_candidates(failures, random);
  check_cuts(failures, random);
  check_draws(failures, random);
  check_penalties(failures, random);
  check_extremes(failures, random);
  check_forbidden(failures, random);
  check_tops(failures, random);
  return failures;
}

}  // namespace nibble
