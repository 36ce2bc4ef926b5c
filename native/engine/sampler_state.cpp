#include "sampler_state.h"

#include <cfloat>
#include <string>

namespace nibble {

namespace {

size_t slot_of(int32_t id, size_t size) noexcept {
  return (static_cast<uint32_t>(id) * 2654435761u) & (size - 1);
}

/// A banned token has −FLT_MAX, not −infinity: differences of two of them stay numbers.
float finite(float x) noexcept {
  if (x > FLT_MAX) return FLT_MAX;
  return x < -FLT_MAX ? -FLT_MAX : x;
}

bool within(double value, double low, double high) noexcept {
  return value >= low && value <= high;
}  // false for NaN

const char* fault(const SamplingParams& params) noexcept {
  constexpr double kLarge = 1e30;
  if (!within(params.temperature, 0, kLarge)) return "temperature";
  if (!within(params.top_p, 0, 1)) return "top_p";
  if (!within(params.min_p, 0, 1)) return "min_p";
  if (!within(params.presence_penalty, -kLarge, kLarge)) return "presence_penalty";
  if (!within(params.frequency_penalty, -kLarge, kLarge)) return "frequency_penalty";
  if (!within(params.repetition_penalty, 1e-6, 1e6)) return "repetition_penalty";
  return nullptr;
}

bool in_vocabulary(std::span<const int32_t> ids, size_t vocab) noexcept {
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= vocab) return false;
  }
  return true;
}

Status invalid(const std::string& what) {
  return Status::failure(ErrorCode::native_invalid_argument, "sampling: " + what + " is out of range");
}

}  // namespace

void TokenCounts::clear() noexcept {
  entries_.clear();
  for (int32_t& index : table_) index = -1;
}

void TokenCounts::grow() {
  table_.assign(table_.empty() ? 64 : table_.size() * 2, -1);
  for (size_t i = 0; i < entries_.size(); ++i) {
    size_t slot = slot_of(entries_[i].id, table_.size());
    while (table_[slot] >= 0) slot = (slot + 1) & (table_.size() - 1);
    table_[slot] = static_cast<int32_t>(i);
  }
}

TokenCounts::Entry& TokenCounts::find(int32_t id) {
  if (2 * (entries_.size() + 1) > table_.size()) grow();
  size_t slot = slot_of(id, table_.size());
  for (; table_[slot] >= 0; slot = (slot + 1) & (table_.size() - 1)) {
    Entry& entry = entries_[static_cast<size_t>(table_[slot])];
    if (entry.id == id) return entry;
  }
  table_[slot] = static_cast<int32_t>(entries_.size());
  return entries_.emplace_back(Entry{id, 0});
}

void TokenCounts::add(int32_t id, bool generated) {
  find(id).generated += generated ? 1 : 0;
}

Status SamplerState::reset(const SamplingParams& params, std::span<const int32_t> bias_ids,
                           std::span<const float> bias_values, std::span<const int32_t> prompt_ids,
                           std::span<const int32_t> generated_ids, size_t vocab) {
  if (const char* name = fault(params)) return invalid(name);
  if (bias_ids.size() != bias_values.size()) return invalid("the number of biases");
  if (!in_vocabulary(bias_ids, vocab)) return invalid("a biased token id");
  if (!in_vocabulary(prompt_ids, vocab) || !in_vocabulary(generated_ids, vocab)) return invalid("a token id");
  bias_.clear();
  forbidden_.clear();
  forbidden_count_ = 0;
  for (size_t i = 0; i < bias_ids.size(); ++i) {
    if (bias_values[i] != bias_values[i]) return invalid("a bias");
    if (bias_values[i] != 0.0f) bias_.push_back({bias_ids[i], bias_values[i]});
  }
  params_ = params;
  repeats_ = params.repetition_penalty != 1.0;
  penalizes_ = repeats_ || params.presence_penalty != 0.0 || params.frequency_penalty != 0.0;
  counts_.clear();
  if (repeats_) {
    for (const int32_t id : prompt_ids) counts_.add(id, false);
  }
  for (const int32_t id : generated_ids) count(id);
  return Status::success();
}

Status SamplerState::forbid(uint32_t count, std::span<const int32_t> ids, size_t vocab) {
  if (!in_vocabulary(ids, vocab)) return invalid("a forbidden token id");
  forbidden_.assign(ids.begin(), ids.end());
  forbidden_count_ = count;
  return Status::success();
}

void SamplerState::count(int32_t id) {
  if (penalizes_) counts_.add(id, true);
}

void SamplerState::adjust(float* logits, uint32_t position) const noexcept {
  for (const Bias& bias : bias_) logits[bias.id] = finite(logits[bias.id] + bias.value);
  const float repetition = static_cast<float>(params_.repetition_penalty);
  const float frequency = static_cast<float>(params_.frequency_penalty);
  const float presence = static_cast<float>(params_.presence_penalty);
  for (const TokenCounts::Entry& entry : counts_.entries()) {
    float x = logits[entry.id];
    if (repeats_) x = finite(x > 0.0f ? x / repetition : x * repetition);
    if (entry.generated > 0) {
      x = finite(x - frequency * static_cast<float>(entry.generated));
      x = finite(x - presence);
    }
    logits[entry.id] = x;
  }
  if (!forbids(position)) return;
  for (const int32_t id : forbidden_) logits[id] = -FLT_MAX;
}

}  // namespace nibble
