#include "stages.h"

#include <algorithm>
#include <utility>

#include "../kernels/kernel_table.h"

namespace nibble {
namespace {

/// Adjacent columns that stay or go together.
constexpr int32_t kRun = 64;

/// A well mixed number of each column (the finalizer of splitmix64).
float random_rank(int32_t column) noexcept {
  uint64_t x = static_cast<uint64_t>(column) * 0x9e3779b97f4a7c15u + 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return static_cast<float>((x ^ (x >> 31)) >> 40);
}

}  // namespace

void Stages::build(const StepBatch& batch, const ArchitectureSpec& spec, size_t threads) {
  std::vector<size_t> starts{0};
  for (const Pruning& p : batch.pruning) {
    for (size_t i = 0; p.windows > 0 && i < p.cut_count; ++i) starts.push_back(p.cuts[i].layers);
  }
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
  count_ = starts.size();
  if (stages_.size() < count_) stages_.resize(count_);
  for (size_t i = 0; i < count_; ++i) {
    Stage& stage = stages_[i];
    stage.first_layer = starts[i];
    stage.end_layer = i + 1 < count_ ? starts[i + 1] : spec.layers;
    stage.windows.clear();
    if (i == 0) {
      stage.tables = {batch.seq_start, batch.positions, batch.block_start, batch.blocks};
    } else {
      build_later(batch, stages_[i - 1], stage);
    }
    stage.plan.build(stage.tables, spec, threads);
  }
  rows_ = batch.rows;
  if (count_ > 1) find_rows(batch);
}

void Stages::build_later(const StepBatch& batch, const Stage& before, Stage& stage) const {
  stage.seq_start.assign(1, 0);
  stage.block_start.assign(1, 0);
  stage.positions.clear();
  stage.blocks.clear();
  for (size_t s = 0; s < batch.slots.size(); ++s) {
    const Pruning& p = batch.pruning[s];
    const auto cached = static_cast<size_t>(batch.cached_tokens[s]);
    const size_t tokens = cached + static_cast<size_t>(batch.seq_start[s + 1] - batch.seq_start[s]);
    const size_t at = p.stage_of(stage.first_layer);
    const size_t was = p.stage_of(before.first_layer);
    const size_t first = p.length(at, cached);
    const size_t end = p.length(at, tokens);
    for (size_t position = first; position < end; ++position) stage.positions.push_back(static_cast<int32_t>(position));
    stage.seq_start.push_back(static_cast<int32_t>(stage.positions.size()));

    const auto* blocks = batch.blocks.data() + batch.block_start[s];
    const size_t whole = p.windows_in(tokens);
    constexpr size_t kWindowBlocks = kPruningWindow / kKvBlockTokens;
    const size_t kept_blocks = p.window_tokens(at) / kKvBlockTokens;
    for (size_t w = 0; w < whole; ++w) {
      const auto* window = blocks + w * kWindowBlocks;
      stage.blocks.insert(stage.blocks.end(), window, window + kept_blocks);
    }
    const auto* rest = blocks + whole * kWindowBlocks;
    stage.blocks.insert(stage.blocks.end(), rest, batch.blocks.data() + batch.block_start[s + 1]);
    stage.block_start.push_back(static_cast<int32_t>(stage.blocks.size()));

    if (at == was) continue;
    int32_t column = before.tables.seq_start[s];
    const auto columns = static_cast<int32_t>(p.window_tokens(was));
    for (size_t w = p.windows_in(cached); w < whole; ++w, column += columns) {
      stage.windows.push_back({column, columns, static_cast<int32_t>(p.window_tokens(at)), w == 0, p.rank});
    }
  }
  stage.tables = {stage.seq_start, stage.positions, stage.block_start, stage.blocks};
}

/// Rows are of tokens that always stay, so their places are known.
void Stages::find_rows(const StepBatch& batch) {
  const Stage& last = stages_[count_ - 1];
  later_rows_.clear();
  for (size_t r = 0, s = 0; r < batch.rows.size(); ++r) {
    while (batch.rows[r] >= batch.seq_start[s + 1]) ++s;
    const Pruning& p = batch.pruning[s];
    const size_t stage = p.stage_of(last.first_layer);
    const auto cached = static_cast<size_t>(batch.cached_tokens[s]);
    const size_t end = cached + static_cast<size_t>(batch.rows[r] - batch.seq_start[s]) + 1;  // behind the row's token
    const size_t offset = p.length(stage, end) - 1 - p.length(stage, cached);
    later_rows_.push_back(last.seq_start[s] + static_cast<int32_t>(offset));
  }
  rows_ = later_rows_;
}

void choose_kept(const PrunedWindow& window, const float* importance, int32_t* kept) noexcept {
  const int32_t first = window.holds_start ? 1 : 0;
  const int32_t runs = (window.columns - first + kRun - 1) / kRun;
  const auto end_of = [&](int32_t run) { return window.columns - kRun * run; };
  const auto begin_of = [&](int32_t run) { return std::max(first, end_of(run) - kRun); };
  float weights[kPruningWindow / kRun + 1];
  int32_t order[kPruningWindow / kRun + 1];
  for (int32_t run = 0; run < runs; ++run) {
    order[run] = run;
    weights[run] = 0.0f;
    for (int32_t i = begin_of(run); i < end_of(run); ++i) {
      weights[run] +=
          importance[i] >= 0.0f ? importance[i] : 0.0f;  // NaN fails the sequence, but must not upset the order
    }
    if (window.rank == Pruning::Rank::random) weights[run] = random_rank(window.first_column + end_of(run));
  }
  // The heaviest first, of equals the latest in the window; there are so few that nothing faster is needed.
  for (int32_t run = 1; run < runs; ++run) {
    for (int32_t i = run; i > 0 && weights[order[i]] > weights[order[i - 1]]; --i) std::swap(order[i], order[i - 1]);
  }
  std::fill(kept, kept + first, 0);
  int32_t count = first;
  for (int32_t i = 0; count < window.kept; ++i) {
    for (int32_t column = end_of(order[i]); column > begin_of(order[i]) && count < window.kept;)
      kept[count++] = --column;
  }
  std::sort(kept, kept + count);
}

}  // namespace nibble
