// Where tokens are dropped on their way through the layers (Agile-Quant, arXiv 2312.05693): importance, and the rows of
// the residual stream that stay.
#include <cstring>

#include "graph.h"

namespace nibble {

/// One thread does it: a step drops some hundred rows, and rows move to places where others were.
void Graph::begin_stage(const Stage& stage, size_t thread) noexcept {
  if (thread == 0) drop_tokens(stage, (&stage - 1)->columns());
  mark(Operator::norm, thread);
  barrier(thread);
}

/// @param columns in the stage before
void Graph::drop_tokens(const Stage& stage, size_t columns) noexcept {
  const size_t hidden = model_.spec.hidden;
  int32_t kept[kPruningWindow];
  size_t from = 0;
  size_t to = 0;
  const auto move = [&](size_t first, size_t count) {
    if (to != first) std::memmove(x_ + to * hidden, x_ + first * hidden, count * hidden * sizeof(float));
    to += count;
  };
  for (const PrunedWindow& window : stage.windows) {
    const auto first = static_cast<size_t>(window.first_column);
    move(from, first - from);
    choose_kept(window, importance_ + first, kept);
    for (size_t i = 0; i < static_cast<size_t>(window.kept); ++i) move(first + static_cast<size_t>(kept[i]), 1);
    from = first + static_cast<size_t>(window.columns);
  }
  move(from, columns - from);
}

}  // namespace nibble
