#include "check_team.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "../threads/team.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace nibble {
namespace {

struct Random {
  uint64_t state;
  uint32_t operator()(uint32_t bound) noexcept {  // splitmix64
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return static_cast<uint32_t>((z ^ (z >> 31)) % bound);
  }
};

using Failures = std::vector<std::string>;

/// Each phase: claim items of an array that the previous phase wrote (all of it, by whatever thread) and rewrite them.
/// Any lost, doubled or stale item changes the sums, which are known in closed form.
void check_claims(Team& team, Random& random, Failures& failures) {
  const size_t items = 1 + random(200);
  const size_t grain = 1 + random(7);
  const size_t phases = 1 + random(20);
  const bool sleepy = random(8) == 0;
  std::vector<uint64_t> values(items, 0);  // plain data on purpose: only the barrier orders it
  std::vector<uint64_t> sums(team.size(), 0);
  auto body = [&](size_t thread) {
    for (size_t phase = 0; phase < phases; ++phase) {
      if (sleepy && thread == phase % team.size()) std::this_thread::sleep_for(std::chrono::microseconds(150));
      for (size_t first; (first = team.claim(thread, items, grain)) < items;) {
        const size_t last = first + grain < items ? first + grain : items;
        for (size_t item = first; item < last; ++item) values[item] += phase + 1;
      }
      team.barrier(thread);
      uint64_t sum = 0;
      for (const uint64_t value : values) sum += value;
      sums[thread] = sum;
      const uint64_t expected = items * (phase + 1) * (phase + 2) / 2;
      if (sum != expected) sums[thread] = ~uint64_t{0};
      team.barrier(thread);
    }
  };
  team.run(body);
  const uint64_t total = items * phases * (phases + 1) / 2;
  for (size_t thread = 0; thread < team.size(); ++thread) {
    if (sums[thread] == total) continue;
    failures.push_back("team of " + std::to_string(team.size()) + ": thread " + std::to_string(thread) + " saw " +
                       std::to_string(sums[thread]) + " after the last barrier, expected " + std::to_string(total));
  }
}

/// The same, but only thread 0 is there from the beginning. A thread that comes in claims what is left of the phase
/// that runs, and skips those before.
void check_entries(Team& team, Random& random, Failures& failures) {
  const size_t items = 1 + random(200);
  const size_t grain = 1 + random(7);
  const size_t phases = 1 + random(20);
  const size_t shut = random(4);  // every phase with this remainder is one in which nobody may come in
  const size_t lazy = random(team.size() + 1);
  std::vector<uint64_t> values(items, 0);
  std::vector<size_t> calls(team.size(), 0);
  std::atomic<size_t> wrong{0};
  auto body = [&](size_t thread, size_t position) {
    ++calls[thread];
    if (position > phases || (position > 0 && position % 4 == shut)) ++wrong;
    for (size_t phase = position; phase < phases; ++phase) {
      if (thread == lazy) std::this_thread::sleep_for(std::chrono::microseconds(150));
      for (size_t first; (first = team.claim(thread, items, grain)) < items;) {
        const size_t last = first + grain < items ? first + grain : items;
        for (size_t item = first; item < last; ++item) values[item] = values[item] * 3 + phase;
      }
      if ((phase + 1) % 4 == shut) {
        team.barrier(thread);
      } else {
        team.entry(thread, phase + 1);
      }
    }
  };
  team.run_with_entries(body);
  uint64_t expected = 0;
  for (size_t phase = 0; phase < phases; ++phase) expected = expected * 3 + phase;
  for (const uint64_t value : values) wrong += value == expected ? 0 : 1;
  for (const size_t count : calls) wrong += count > 1 ? 1 : 0;
  if (calls[0] != 1 || wrong > 0) {
    failures.push_back("team of " + std::to_string(team.size()) + ": a run with entries went wrong");
  }
}

/// Threads that are awake do come in: a run that waits for them ends.
void check_coming(Team& team, Failures& failures) {
  constexpr size_t kPhasesMax = 200'000;  // 10 s
  std::atomic<size_t> there{0};
  auto body = [&](size_t thread, size_t position) {
    ++there;
    for (size_t phase = position; phase < kPhasesMax; ++phase) {
      // Decided by one item of the phase, as everybody has to see the same.
      static std::atomic<bool> enough;
      for (size_t item; (item = team.claim(thread, 1, 1)) < 1;) {
        enough = there == team.size();
        if (!enough) std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
      team.barrier(thread);
      if (enough) return;
      team.entry(thread, phase + 1);
    }
  };
  team.run_with_entries(body);
  if (there != team.size()) failures.push_back("a team of " + std::to_string(team.size()) + " doesn't come together");
}

void check_runs(Team& team, Random& random, Failures& failures) {
  const size_t runs = 1 + random(50);
  std::vector<size_t> calls(team.size(), 0);
  for (size_t i = 0; i < runs; ++i) {
    auto body = [&](size_t thread) { ++calls[thread]; };
    team.run(body);
    if (random(40) == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));  // workers fall asleep
  }
  for (size_t thread = 0; thread < team.size(); ++thread) {
    if (calls[thread] != runs)
      failures.push_back("a body ran " + std::to_string(calls[thread]) + " times of " + std::to_string(runs));
  }
}

/// Subnormals must survive on every thread, whatever the caller's own floating-point state was.
void check_float_environment(Team& team, Failures& failures) {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);  // flush-to-zero, denormals-are-zero
#endif
  std::vector<float> halves(team.size(), 0.0f);
  auto body = [&](size_t thread) {
    volatile float smallest = 0x1p-126f;
    halves[thread] = smallest * 0.5f;
  };
  team.run(body);
  for (const float half : halves) {
    if (half == 0.0f) failures.push_back("a thread of the team flushes subnormals to zero");
  }
}

}  // namespace

std::vector<std::string> check_team(uint64_t seed) {
  Failures failures;
  Random random{seed};
  for (size_t size = 1; size <= 8; ++size) {
    for (const bool spin : {true, false}) {
      Team team(size, spin);
      if (team.size() != size) failures.push_back("a team of " + std::to_string(size) + " has another size");
      for (int round = 0; round < 12; ++round) {
        check_claims(team, random, failures);
        check_entries(team, random, failures);
        check_runs(team, random, failures);
        check_entries(team, random, failures);
      }
      check_coming(team, failures);
      check_float_environment(team, failures);
    }
    Team unused(size, true);  // must end without ever having run
  }
  return failures;
}

}  // namespace nibble
