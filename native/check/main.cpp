// nibble_check [level | part …]: compares levels with the scalar reference, and checks the parts that have none
// (below). Without arguments: every SIMD level that this host supports (scalar if it has none), and every part.
// NIBBLE_EXPECT_LEVELS=avx2,avx512 makes a level that did not run a failure; NIBBLE_SEED sets the seed.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "../kernels/isa.h"
#include "check.h"
#include "check_formats.h"
#include "check_isa.h"
#include "check_rope.h"
#include "check_sampler.h"
#include "check_sampler_mask.h"
#include "check_team.h"

namespace {

bool contains(const std::vector<nibble::Isa>& levels, nibble::Isa isa) {
  for (const nibble::Isa level : levels)
    if (level == isa) return true;
  return false;
}

bool check(nibble::Isa isa, uint64_t seed) {
  const nibble::CheckReport report = nibble::check_level(isa, seed);
  const std::string name(nibble::isa_name(isa));
  std::printf("%-8s %zu cases, %" PRIu64 " linear and attention calls counted by the level, %zu failures\n",
              name.c_str(), report.cases, report.calls, report.failures.size());
  for (const std::string& failure : report.failures) std::printf("  %s\n", failure.c_str());
  return report.failures.empty();
}

struct Part {
  std::string_view name;
  std::vector<std::string> (*failures)(uint64_t seed);
};
constexpr Part kParts[] = {
    {"formats", nibble::check_formats},
    {"rope", nibble::check_rope},
    {"sampler", nibble::check_sampler},
    {"mask", nibble::check_sampler_mask},
    {"team", nibble::check_team},
    {"topology", [](uint64_t) { return nibble::check_topology(); }},
    {"isa", [](uint64_t) { return nibble::check_isa(); }},
};

bool check(const Part& part, uint64_t seed) {
  const std::vector<std::string> failures = part.failures(seed);
  std::printf("%-8s %zu failures\n", part.name.data(), failures.size());
  for (const std::string& failure : failures) std::printf("  %s\n", failure.c_str());
  return failures.empty();
}

/// Splits at commas; empty parts are dropped.
std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  std::erase(parts, std::string());
  return parts;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<nibble::Isa> supported(nibble::supported_isas().begin(), nibble::supported_isas().end());
  std::vector<nibble::Isa> wanted;
  std::vector<Part> parts;
  bool ok = true;
  for (int i = 1; i < argc; ++i) {
    nibble::Isa isa = nibble::Isa::scalar;
    const auto part =
        std::find_if(std::begin(kParts), std::end(kParts), [&](const Part& p) { return p.name == argv[i]; });
    if (part != std::end(kParts)) {
      parts.push_back(*part);
    } else if (nibble::parse_isa(argv[i], isa) && contains(supported, isa)) {
      wanted.push_back(isa);
    } else {
      std::printf("%s: no such part, and no such level on this host\n", argv[i]);
      ok = false;
    }
  }
  if (argc == 1) {
    wanted = supported;
    if (wanted.size() > 1) std::erase(wanted, nibble::Isa::scalar);
    parts.assign(std::begin(kParts), std::end(kParts));
  }
  const char* seed_text = std::getenv("NIBBLE_SEED");
  const uint64_t seed = seed_text != nullptr ? std::strtoull(seed_text, nullptr, 10) : 1;
  std::printf("seed %" PRIu64 "\n", seed);
  for (const nibble::Isa isa : wanted) ok = check(isa, seed) && ok;
  for (const Part& part : parts) ok = check(part, seed) && ok;
  const char* expected = std::getenv("NIBBLE_EXPECT_LEVELS");
  for (const std::string& name : split(expected != nullptr ? expected : "")) {
    nibble::Isa isa = nibble::Isa::scalar;
    // The scalar level has run as the reference of each other one.
    if (nibble::parse_isa(name, isa) && (isa == nibble::Isa::scalar || contains(wanted, isa))) continue;
    std::printf("%s: expected by NIBBLE_EXPECT_LEVELS, but didn't run\n", name.c_str());
    ok = false;
  }
  return ok ? 0 : 1;
}
