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
  for (size_t r = 0, s = 0; r < rows; ++r) {
    while (batch.rows[r] >= batch.seq_start[s + 1]) ++s;
    row_sequence_[r] = static_cast<int32_t>(s);
  }
}

bool RowResults::take_mask(Slot& slot, SamplerScratch& scratch) {
  constexpr int kWaitShare = 16;
  std::unique_lock lock(gate_.mutex);
  const auto is_there = [&] { return slot.mask_position == slot.generated; };
  if (!is_there()) {
    // One deadline for all rows of the step.
    const auto now = Clock::now();
    if (deadline_ == Clock::time_point()) deadline_ = now + (now - start_) / kWaitShare;
    if (!gate_.arrived.wait_until(lock, deadline_, is_there)) return false;
  }
  std::swap(slot.mask, scratch.mask);
  slot.mask_position = UINT32_MAX;
  return true;
}

void RowResults::row(size_t index, const float* logits, size_t thread) noexcept {
  const KernelTable& kernels = *model_.kernels;
  const size_t vocab = model_.spec.vocab;
  const int32_t target = batch_.targets[index];
  Slot& slot = slots_[static_cast<size_t>(batch_.slots[static_cast<size_t>(row_sequence_[index])])];
  if (batch_.want_logits) std::memcpy(result_.logits.data() + index * vocab, logits, vocab * sizeof(float));

  if (target < 0 && slot.is_void) {
    result_.failed[index] = kRowWithoutMask;
    return;
  }
  const RowStats stats = kernels.row_stats(logits, vocab);
  if (!stats.finite) {
    result_.failed[index] = kRowNotFinite;
    if (target < 0) slot.sampled = 0;
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
    const TokenMask mask = slot.constrained ? TokenMask(scratch.mask) : TokenMask();
    token = sample(kernels, slot.sampler, logits, vocab, slot.generated, scratch, mask);
    ++slot.generated;
    slot.sampled = token;
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
