#include "row_results.h"

#include <cstring>
#include <limits>
#include <thread>

namespace nibble {

namespace {

/// Between two looks at a mask that is late: the thread that writes it may need this core.
constexpr auto kMaskPause = std::chrono::microseconds(20);

}  // namespace

RowResults::RowResults(const Model& model, const StepBatch& batch, std::vector<Slot>& slots,
                       std::vector<SamplerScratch>& scratch, StepResult& result)
    : model_(model), batch_(batch), slots_(slots), scratch_(scratch), result_(result) {
  const size_t rows = batch.rows.size();
  result.tokens.assign(rows, 0);
  result.logprobs.assign(rows, std::numeric_limits<float>::quiet_NaN());
  result.top_ids.assign(rows * batch.top_count, 0);
  result.top_logprobs.assign(rows * batch.top_count, 0.0f);
  result.failed.assign(rows, 0);
  if (batch.want_logits) result.logits.resize(rows * model.spec.vocab);
  row_sequence_.resize(rows);
  rows_before_.assign(rows, 0);
  for (size_t r = 0, s = 0; r < rows; ++r) {
    while (batch.rows[r] >= batch.seq_start[s + 1]) ++s;
    row_sequence_[r] = static_cast<int32_t>(s);
    const bool follows = r > 0 && row_sequence_[r - 1] == row_sequence_[r] && batch.targets[r - 1] < 0;
    if (follows) rows_before_[r] = rows_before_[r - 1] + 1;
  }
  for (const int32_t slot : batch.slots) {
    if (slots[static_cast<size_t>(slot)].mask.empty()) wait_share_ = 16;
  }
}

RowResults::Clock::time_point RowResults::deadline() noexcept {
  const auto now = Clock::now();
  Clock::rep known = 0;
  const Clock::rep wanted = (now + (now - start_) / wait_share_).time_since_epoch().count();
  // One for all rows of the step: that of the first which had to wait.
  if (deadline_.compare_exchange_strong(known, wanted)) known = wanted;
  return Clock::time_point(Clock::duration(known));
}

bool RowResults::has_mask(const Slot& slot) noexcept {
  const auto wanted = static_cast<int32_t>(slot.generated);
  int32_t position = slot.mask.position();
  if (position == wanted) return true;
  const Clock::time_point end = deadline();
  while (position != wanted && position != SharedMask::kEnded && Clock::now() < end) {
    std::this_thread::sleep_for(kMaskPause);
    position = slot.mask.position();
  }
  return position == wanted;
}

int32_t RowResults::draw(size_t row, const float* logits, SamplerScratch& scratch) {
  const Slot& slot = slot_of(row);
  const uint32_t before = rows_before_[row];
  const SamplerState* sampler = &slot.sampler;
  if (before > 0 && sampler->penalizes()) {
    scratch.ahead = slot.sampler;
    const auto next = static_cast<size_t>(batch_.rows[row]) + 1;
    for (size_t t = next - before; t < next; ++t) scratch.ahead.count(batch_.tokens[t]);
    sampler = &scratch.ahead;
  }
  return sample(*model_.kernels, *sampler, logits, model_.spec.vocab, slot.generated + before, scratch,
                slot.mask.tokens());
}

void RowResults::advance_slots() {
  int32_t stopped = -1;  // the sequence that has sampled its last token of the step
  for (size_t r = 0; r < batch_.rows.size(); ++r) {
    const int32_t sequence = row_sequence_[r];
    if (batch_.targets[r] >= 0 || sequence == stopped || result_.failed[r] == kRowWithoutMask) continue;
    Slot& slot = slot_of(r);
    const int32_t input = batch_.tokens[static_cast<size_t>(batch_.rows[r])];
    if (rows_before_[r] > 0 && input != slot.sampled) {
      stopped = sequence;
      continue;
    }
    slot.sampled = result_.tokens[r];
    if (result_.failed[r] != 0) {
      stopped = sequence;
      continue;
    }
    slot.sampler.count(slot.sampled);
    ++slot.generated;
  }
}

void RowResults::row(size_t index, const float* logits, size_t thread) noexcept {
  const KernelTable& kernels = *model_.kernels;
  const size_t vocab = model_.spec.vocab;
  const int32_t target = batch_.targets[index];
  Slot& slot = slot_of(index);
  if (batch_.want_logits) std::memcpy(result_.logits.data() + index * vocab, logits, vocab * sizeof(float));

  if (target < 0 && slot.is_void) {
    result_.failed[index] = kRowWithoutMask;
    return;
  }
  const RowStats stats = kernels.row_stats(logits, vocab);
  if (!stats.finite) {
    result_.failed[index] = kRowNotFinite;
    return;
  }
  int32_t token = target;
  if (target < 0) {
    SamplerScratch& scratch = scratch_[thread];
    if (!slot.mask.empty() && !has_mask(slot)) {
      slot.left_out = true;
      result_.failed[index] = kRowWithoutMask;
      return;
    }
    token = draw(index, logits, scratch);
  }
  result_.tokens[index] = token;
  if (!batch_.want_logprobs && batch_.top_count == 0) return;

  const LogSoftmax log_probability = log_softmax(kernels, logits, vocab, stats.max);
  result_.logprobs[index] = log_probability(logits[token]);
  int32_t* ids = result_.top_ids.data() + index * batch_.top_count;
  float* values = result_.top_logprobs.data() + index * batch_.top_count;
  top_tokens(logits, vocab, batch_.top_count, ids, values);
  for (size_t i = 0; i < batch_.top_count; ++i) values[i] = log_probability(values[i]);
}

}  // namespace nibble
