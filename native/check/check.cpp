#include "check.h"

#include "checker.h"

namespace nibble {
namespace {

void check_table(check::Checker& checker, Isa isa) {
  const KernelTable& t = checker.level;
  checker.expect(t.isa == isa, "table: it says level %d", static_cast<int>(t.isa));
  for (size_t f = 0; f < kWeightFormatCount; ++f) {
    const char* name = kWeightFormats[f].name.data();
    checker.expect((t.linear_f32[f] == nullptr) == kWeightFormats[f].is_row_scaled(), "table: linear_f32 of %s", name);
    const bool has_none = kWeightFormats[f].is_float() || kWeightFormats[f].is_row_scaled();
    checker.expect((t.linear_a8[f] == nullptr) == has_none, "table: linear_a8 of %s", name);
    checker.expect((t.linear_table[f] != nullptr) == kWeightFormats[f].planes, "table: linear_table of %s", name);
  }
  const bool complete = t.rmsnorm && t.quantize_a8 && t.make_tables && t.silu_mul && t.rope && t.hadamard && t.rotate &&
                        t.store_key && t.store_value && t.attention && t.attention_merge && t.attention_finish &&
                        t.row_stats && t.sum_exp && t.exp_row && t.calls;
  checker.expect(complete, "table: an entry is missing");
}

}  // namespace

CheckReport check_level(Isa isa, uint64_t seed) {
  const KernelTable* level = kernel_table(isa);
  const KernelTable* twin = kernel_table(Isa::scalar);
  if (level == nullptr || twin == nullptr) {
    CheckReport report;
    report.failures.push_back("level " + std::string(isa_name(isa)) + " isn't in this build");
    return report;
  }
  check::Checker checker{*level, *twin, check::Random(seed), {}};
  check_table(checker, isa);
  if (!checker.report.failures.empty()) return checker.report;
  const uint64_t calls = level->calls->load();
  check::check_exp(checker);
  check::check_elementwise(checker);
  check::check_linear(checker);
  check::check_attention(checker);
  check::check_tender(checker);
  checker.report.calls = level->calls->load() - calls;
  checker.expect(checker.report.calls > 0, "table: the level counted no calls");
  return checker.report;
}

}  // namespace nibble
