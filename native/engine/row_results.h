#pragma once
#include <vector>

#include "graph.h"
#include "model.h"
#include "sampler.h"
#include "slots.h"
#include "step.h"

namespace nibble {

/// Turns rows of logits into the step's results: log-probabilities and most likely tokens of the raw logits, then the
/// sampled token. A row with NaN or infinity is marked as failed and yields token 0.
class RowResults final : public RowSink {
 public:
  /// Sizes `result`; everything must outlive this.
  /// @param scratch one per thread of the team
  RowResults(const Model& model, const StepBatch& batch, std::vector<Slot>& slots, std::vector<SamplerScratch>& scratch,
             StepResult& result);

  void row(size_t index, const float* logits, size_t thread) noexcept override;

 private:
  const Model& model_;
  const StepBatch& batch_;
  std::vector<Slot>& slots_;
  std::vector<SamplerScratch>& scratch_;
  StepResult& result_;
  std::vector<int32_t> row_sequence_;  // [R]
};

}  // namespace nibble
