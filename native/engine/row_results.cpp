#include "row_results.h"

#include <cstring>
#include <limits>

namespace nibble {

RowResults::RowResults(const Model& model, const StepBatch& batch, std::vector<Slot>& slots, MaskGate& gate,
                       std::vector<SamplerScratch>& scratch, StepResult& result)
    : model_(model), batch_(batch), slots_(slots), gate_(gate), scratch_(scratch), result_(result) {
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
    if (!slots[static_cast<size_t>(slot)].constrained) wait_share_ = 16;
  }
}

bool RowResults::take_mask(Slot& slot, SamplerScratch& scratch) {
  std::unique_lock lock(gate_.mutex);
  const auto is_there = [&] { return slot.mask_position == slot.generated; };
  if (!is_there()) {
    // One deadline for all rows of the step.
    const auto now = Clock::now();
    if (deadline_ == Clock::time_point()) deadline_ = now + (now - start_) / wait_share_;
    if (!gate_.arrived.wait_until(lock, deadline_, is_there)) return false;
  }
  std::swap(slot.mask, scratch.mask);
  slot.mask_position = UINT32_MAX;
  return true;
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
  const TokenMask mask = slot.constrained ? TokenMask(scratch.mask) : TokenMask();
  return sample(*model_.kernels, *sampler, logits, model_.spec.vocab, slot.generated + before, scratch, mask);
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
    if (slot.constrained && !take_mask(slot, scratch)) {
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
