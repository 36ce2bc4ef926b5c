#pragma once
#include <atomic>
#include <chrono>
#include <vector>

#include "graph.h"
#include "model.h"
#include "sampler.h"
#include "slots.h"
#include "step.h"

namespace nibble {

/// Values of StepResult::failed.
constexpr uint8_t kRowNotFinite = 1;
constexpr uint8_t kRowWithoutMask = 2;

/// Turns rows of logits into the step's results: log-probabilities and most likely tokens of the raw logits, then the
/// sampled token. A row with NaN or infinity is marked as failed and yields token 0.
///
/// Of a slot's rows that sample, one behind the other, each draws as if the input tokens up to it had been sampled.
/// Those that weren't are found when all rows are there: the slot goes on behind the first token that differs from the
/// input behind it. So rows don't wait for each other, and what is drawn behind a wrong input is dropped.
///
/// A row of a constrained slot whose mask isn't there yet is waited for, as nothing is sampled for it otherwise and its
/// step has to be repeated: as long as the step has taken where all sequences of the step are constrained, a sixteenth
/// of that among others, so that a slow grammar can't hold them up.
class RowResults final : public RowSink {
 public:
  /// Sizes `result`; everything must outlive this.
  /// @param scratch one per thread of the team
  RowResults(const Model& model, const StepBatch& batch, std::vector<Slot>& slots, std::vector<SamplerScratch>& scratch,
             StepResult& result);

  void row(size_t index, const float* logits, size_t thread) noexcept override;

  /// Moves the slots on by what was sampled for them; once, when all rows are there.
  void advance_slots();

 private:
  using Clock = std::chrono::steady_clock;
  Slot& slot_of(size_t row) const noexcept {
    return slots_[static_cast<size_t>(batch_.slots[static_cast<size_t>(row_sequence_[row])])];
  }
  int32_t draw(size_t row, const float* logits, SamplerScratch& scratch);
  /// Whether the slot's mask for its next token is there, waited for if need be.
  bool has_mask(const Slot& slot) noexcept;
  /// Until when the rows of the step wait for masks.
  Clock::time_point deadline() noexcept;

  const Model& model_;
  const StepBatch& batch_;
  std::vector<Slot>& slots_;
  std::vector<SamplerScratch>& scratch_;
  StepResult& result_;
  std::vector<int32_t> row_sequence_;  // [R]
  std::vector<uint32_t> rows_before_;  // [R] rows of the same slot that sample before this one
  const Clock::time_point start_ = Clock::now();
  int wait_share_ = 1;                   // of the step's time, as a divisor
  std::atomic<Clock::rep> deadline_{0};  // of waiting for masks, once a row had to
};

}  // namespace nibble
