#include "input_study.h"

#include <algorithm>
#include <cmath>

namespace nibble {
namespace {

/// The value nearest to x on the grid of `step` around `bias`, at most `limit` steps away.
float on_grid(float x, float step, float bias, float limit) noexcept {
  if (!(step > 0)) return bias;
  // Clamped first, a whole number plus 1.5 · 2²³ is rounded to the nearest even one.
  constexpr float kRound = 12582912.0f;
  const float code = (std::clamp((x - bias) / step, -limit, limit) + kRound) - kRound;
  return code * step + bias;
}

float largest(const float* row, size_t count) noexcept {
  float most = 0;
  for (size_t k = 0; k < count; ++k) most = std::max(most, std::fabs(row[k]));
  return most;
}

}  // namespace

InputStudy::InputStudy(std::vector<size_t> inputs, size_t positions_max)
    : inputs_(std::move(inputs)),
      chunks_(activation_chunk(static_cast<int32_t>(positions_max)) + 1),
      rules_(inputs_.size()),
      ranges_(inputs_.size()) {
  const size_t widest = inputs_.empty() ? 0 : *std::max_element(inputs_.begin(), inputs_.end());
  steps_.resize(widest);
  bias_.resize(widest);
}

Status InputStudy::set(size_t id, InputRule&& rule) {
  const size_t inputs = inputs_[id];
  const bool ratios = rule.kind == InputRule::Kind::ratios;
  const bool known = ratios || rule.kind == InputRule::Kind::fixed;
  const bool some = ratios ? rule.steps.size() == inputs : !rule.steps.empty() && rule.steps.size() % inputs == 0;
  if (known && (!some || rule.bias.size() != inputs)) {
    return Status::failure(ErrorCode::native_invalid_argument, "Steps and bias don't match the width of the input.");
  }
  ranges_[id].clear();
  if (rule.kind == InputRule::Kind::record) {
    ranges_[id].resize(chunks_ * 2 * inputs);
    for (size_t i = 0; i < ranges_[id].size(); ++i) ranges_[id][i] = i / inputs % 2 == 0 ? INFINITY : -INFINITY;
  }
  rules_[id] = std::move(rule);
  return Status::success();
}

void InputStudy::record(size_t id, const float* row, size_t chunk) noexcept {
  const size_t inputs = inputs_[id];
  float* low = ranges_[id].data() + std::min(chunk, chunks_ - 1) * 2 * inputs;
  float* high = low + inputs;
  for (size_t k = 0; k < inputs; ++k) {
    low[k] = std::min(low[k], row[k]);
    high[k] = std::max(high[k], row[k]);
  }
}

void InputStudy::ratios(const InputRule& rule, float* row, size_t inputs) noexcept {
  float factor = 0;
  for (size_t k = 0; k < inputs; ++k) factor = std::max(factor, std::fabs(row[k] - rule.bias[k]) / rule.steps[k]);
  factor /= rule.limit;
  for (size_t k = 0; k < inputs; ++k) row[k] = on_grid(row[k], rule.steps[k] * factor, rule.bias[k], rule.limit);
}

/// Tender's grouping (section 4, figure 5) of rows that share a chunk, from these rows: group g takes channels whose
/// largest value is in (max/2^g, max/2^(g−1)], the last one everything smaller; its step is max/2^(g−1) / limit.
void InputStudy::window(const InputRule& rule, float* rows, size_t count, size_t inputs) noexcept {
  float most = 0;
  for (size_t k = 0; k < inputs; ++k) {
    float low = INFINITY;
    float high = -INFINITY;
    for (size_t r = 0; r < count; ++r) {
      low = std::min(low, rows[r * inputs + k]);
      high = std::max(high, rows[r * inputs + k]);
    }
    bias_[k] = rule.centred ? (low + high) / 2 : 0;
    steps_[k] = std::max(std::fabs(high - bias_[k]), std::fabs(low - bias_[k]));
    most = std::max(most, steps_[k]);
  }
  for (size_t k = 0; k < inputs; ++k) {
    float top = most;
    for (size_t g = 1; g < rule.groups && steps_[k] <= top / 2; ++g) top /= 2;
    steps_[k] = top / rule.limit;
  }
  for (size_t r = 0; r < count; ++r) {
    float* row = rows + r * inputs;
    for (size_t k = 0; k < inputs; ++k) row[k] = on_grid(row[k], steps_[k], bias_[k], rule.limit);
  }
}

void InputStudy::apply(size_t id, float* rows, std::span<const int32_t> positions) noexcept {
  const size_t inputs = inputs_[id];
  const InputRule& rule = rules_[id];
  for (size_t r = 0; r < positions.size(); ++r) {
    float* row = rows + r * inputs;
    const size_t chunk = activation_chunk(positions[r]);
    switch (rule.kind) {
      case InputRule::Kind::none:
        return;
      case InputRule::Kind::record:
        record(id, row, chunk);
        break;
      case InputRule::Kind::fixed: {
        const size_t chunks = rule.steps.size() / inputs;
        const float* steps = rule.steps.data() + std::min(chunk, chunks - 1) * inputs;
        for (size_t k = 0; k < inputs; ++k) row[k] = on_grid(row[k], steps[k], rule.bias[k], rule.limit);
        break;
      }
      case InputRule::Kind::token: {
        const float step = largest(row, inputs) / rule.limit;
        for (size_t k = 0; k < inputs; ++k) row[k] = on_grid(row[k], step, 0, rule.limit);
        break;
      }
      case InputRule::Kind::ratios:
        ratios(rule, row, inputs);
        break;
      case InputRule::Kind::window: {
        size_t end = r + 1;
        while (end < positions.size() && activation_chunk(positions[end]) == chunk) ++end;
        window(rule, row, end - r, inputs);
        r = end - 1;
        break;
      }
    }
  }
}

}  // namespace nibble
