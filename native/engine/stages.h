#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "attention_plan.h"
#include "step.h"

namespace nibble {

/// A window of which some tokens are dropped where a stage begins.
struct PrunedWindow {
  int32_t first_column;  // in the stage before
  int32_t columns;
  int32_t kept;
  bool holds_start;  // position 0
  Pruning::Rank rank;
};

/// The layers of a step between two places where tokens are dropped.
struct Stage {
  size_t first_layer = 0;
  size_t end_layer = 0;
  StageTables tables;
  AttentionPlan plan;
  /// In order of columns: what is dropped before the first layer. Columns of no window stay.
  std::vector<PrunedWindow> windows;
  std::vector<int32_t> seq_start, positions, block_start, blocks;  // what `tables` shows, in stages behind the first

  size_t columns() const noexcept { return tables.positions.size(); }
};

/// The stages of a step: one unless it contains a sequence that is pruned. How many tokens each has is known before the
/// step runs; which ones stay isn't.
class Stages {
 public:
  void build(const StepBatch& batch, const ArchitectureSpec& spec, size_t threads);
  std::span<const Stage> all() const noexcept { return {stages_.data(), count_}; }
  std::span<Stage> all() noexcept { return {stages_.data(), count_}; }
  /// [R] the columns of the step's rows in the last stage.
  std::span<const int32_t> rows() const noexcept { return rows_; }

 private:
  void build_later(const StepBatch& batch, const Stage& before, Stage& stage) const;
  void find_rows(const StepBatch& batch);

  std::vector<Stage> stages_;  // of steps before, too: their memory is used again
  size_t count_ = 0;
  std::vector<int32_t> later_rows_;
  std::span<const int32_t> rows_;
};

/// Which of a window's columns stay, ascending: the first of the sequence; then runs of 64 adjacent columns, counted
/// from the window's end, by their sums of importances, of equal ones the later; of the run that doesn't fit as a whole
/// its end. Tokens torn out of their text one by one cost far more
/// (docs/methods/token-pruning.md).
/// @param importance [window.columns]  @param kept [window.kept]
void choose_kept(const PrunedWindow& window, const float* importance, int32_t* kept) noexcept;

}  // namespace nibble
