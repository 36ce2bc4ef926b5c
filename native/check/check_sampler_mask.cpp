#include "check_sampler_mask.h"

#include <algorithm>
#include <random>

#include "../engine/sampler.h"

namespace nibble {

namespace {

using Random = std::mt19937_64;
using Failures = std::vector<std::string>;
using Ids = std::vector<int32_t>;

SamplingParams random_params(Random& random) {
  static constexpr double temperatures[] = {0, 0.05, 1, 1, 1.5, 1e6, 1e30};
  static constexpr double top_ps[] = {0, 0.3, 0.9, 1, 1};
  static constexpr double min_ps[] = {0, 0, 0.05, 1};
  static constexpr uint32_t top_ks[] = {0, 0, 1, 7, 40};
  static constexpr double repetitions[] = {1, 1, 1.3};
  return {.temperature = temperatures[random() % std::size(temperatures)],
          .top_k = top_ks[random() % std::size(top_ks)],
          .top_p = top_ps[random() % std::size(top_ps)],
          .min_p = min_ps[random() % std::size(min_ps)],
          .presence_penalty = random() % 3 == 0 ? 0.4 : 0.0,
          .repetition_penalty = repetitions[random() % std::size(repetitions)],
          .seed = random(),
          .choice = static_cast<uint32_t>(random())};
}

/// Allowed tokens, ascending: a few, every other one, nearly all, or one only.
Ids random_allowed(Random& random, size_t vocab) {
  static constexpr double shares[] = {0.0, 0.01, 0.5, 0.99, 1.0};
  const double share = shares[random() % std::size(shares)];
  Ids allowed;
  for (size_t i = 0; i < vocab; ++i) {
    if (static_cast<double>(random() >> 11) * 0x1p-53 < share) allowed.push_back(static_cast<int32_t>(i));
  }
  if (allowed.empty()) allowed.push_back(static_cast<int32_t>(random() % vocab));
  return allowed;
}

std::vector<uint32_t> mask_of(const Ids& allowed, size_t vocab, Random& random) {
  std::vector<uint32_t> mask((vocab + 31) / 32);
  for (const int32_t id : allowed) mask[static_cast<size_t>(id) / 32] |= 1u << (id % 32);
  if (vocab % 32 != 0) mask.back() |= static_cast<uint32_t>(random()) << (vocab % 32);  // these mean nothing
  return mask;
}

/// One request: its tokens so far are all allowed ones, so that they exist in the small vocabulary too.
struct Case {
  size_t vocab;
  std::vector<float> row;
  Ids allowed;
  SamplingParams params;
  Ids generated;  // indices into `allowed`
  int32_t biased;
  float bias;
};

Case random_case(Random& random, size_t vocab) {
  std::normal_distribution<float> normal(0.0f, 3.0f);
  Case c{vocab, std::vector<float>(vocab), random_allowed(random, vocab), random_params(random), {}, 0, 0.0f};
  const bool ties = random() % 3 == 0;
  for (float& x : c.row) x = ties ? static_cast<float>(static_cast<int>(normal(random))) : normal(random);
  c.generated.resize(random() % 20);
  for (int32_t& id : c.generated) id = static_cast<int32_t>(random() % c.allowed.size());
  c.biased = static_cast<int32_t>(random() % c.allowed.size());
  c.bias = random() % 2 == 0 ? 0.0f : normal(random);
  return c;
}

struct Drawn {
  Ids candidates;
  int32_t token = -1;
};

Drawn draw(Failures& failures, const KernelTable& kernels, const Case& c, bool small, TokenMask mask) {
  const auto id_of = [&](int32_t index) { return small ? index : c.allowed[static_cast<size_t>(index)]; };
  std::vector<float> row = c.row;
  if (small) {
    row.clear();
    for (const int32_t id : c.allowed) row.push_back(c.row[static_cast<size_t>(id)]);
  }
  Ids generated;
  for (const int32_t index : c.generated) generated.push_back(id_of(index));
  const Ids bias_ids = {id_of(c.biased)};
  const std::vector<float> bias = {c.bias};
  SamplerState state;
  SamplerScratch scratch;
  if (!state.reset(c.params, bias_ids, bias, {}, generated, row.size()).ok()) {
    failures.push_back("sampler mask: good settings refused");
  }
  Drawn drawn;
  drawn.candidates = sampling_candidates(kernels, state, row.data(), row.size(), scratch, mask);
  drawn.token = sample(kernels, state, row.data(), row.size(), 5, scratch, mask);
  if (!small) return drawn;
  for (int32_t& id : drawn.candidates) id = c.allowed[static_cast<size_t>(id)];
  drawn.token = c.allowed[static_cast<size_t>(drawn.token)];
  return drawn;
}

void check_cases(Failures& failures, Random& random) {
  for (const size_t vocab : {1, 2, 31, 32, 33, 64, 257, 1000, 49152}) {
    for (int repeat = 0; repeat < (vocab < 10000 ? 60 : 8); ++repeat) {
      const Case c = random_case(random, vocab);
      const std::vector<uint32_t> mask = mask_of(c.allowed, vocab, random);
      const std::string name = "sampler mask: " + std::to_string(vocab) + " tokens, " +
                               std::to_string(c.allowed.size()) + " allowed, temperature " +
                               std::to_string(c.params.temperature) + ", ";
      const Drawn expected = draw(failures, *kernel_table(Isa::scalar), c, true, {});
      for (const Isa isa : supported_isas()) {
        const Drawn actual = draw(failures, *kernel_table(isa), c, false, mask);
        if (actual.candidates != expected.candidates) failures.push_back(name + "other candidates");
        if (actual.token != expected.token) failures.push_back(name + "drew another token");
      }
    }
  }
}

}  // namespace

std::vector<std::string> check_sampler_mask(uint64_t seed) {
  Failures failures;
  Random random(seed);
  check_cases(failures, random);
  return failures;
}

}  // namespace nibble
