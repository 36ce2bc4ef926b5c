// Linear layers of the forward pass: their inputs, and how matrices are shared out.
#include <algorithm>

#include "graph.h"

namespace nibble {
namespace {

/// Columns of one work item of a matrix product: their activations stay in the L2 cache while row tiles pass.
constexpr size_t kColumnBlock = 64;
/// With more columns a matrix is bound by arithmetic, not by memory.
constexpr size_t kPrefetchColumns = 16;
/// Per thread: what memory delivers while a barrier and the small work behind it take their time. To go on fetching as
/// long as a barrier lasts costs 7 %: the thread that is waited for gets less of the bandwidth.
constexpr size_t kPrefetchBytes = 128 << 10;

constexpr size_t divide_up(size_t a, size_t b) noexcept {
  return (a + b - 1) / b;
}

/// How the row tiles of a matrix are cut into chunks for threads to claim.
struct RowChunks {
  // Small enough that threads finish together, large enough that claims cost nothing.
  RowChunks(const Linear& linear, size_t columns, size_t threads)
      : linear_(linear), columns_(columns), threads_(threads) {
    for (const Linear::Segment& s : linear.segments) count += divide_up(tiles(s), size(s));
  }
  static size_t tiles(const Linear::Segment& s) noexcept { return row_tiles(s.weights.rows); }
  size_t size(const Linear::Segment& s) const noexcept {
    const size_t share = divide_up(tiles(s), 8 * threads_);
    return columns_ < 8 ? share : std::clamp<size_t>(share / 3 * 3, 3, 9);  // with many columns kernels take threes
  }

  struct Chunk {
    const Linear::Segment* segment;
    size_t first_tile;
    size_t tiles;
    const uint8_t* data() const noexcept {
      return segment->weights.tiles + first_tile * segment->weights.row_tile_bytes();
    }
    size_t bytes() const noexcept { return tiles * segment->weights.row_tile_bytes(); }
  };
  /// @param item < count
  Chunk at(size_t item) const noexcept {
    for (const Linear::Segment* s = linear_.segments.data();; ++s) {
      const size_t chunks = divide_up(tiles(*s), size(*s));
      if (item < chunks) return {s, item * size(*s), std::min(size(*s), tiles(*s) - item * size(*s))};
      item -= chunks;
    }
  }

  size_t count = 0;

 private:
  const Linear& linear_;
  size_t columns_;
  size_t threads_;
};

}  // namespace

bool Graph::is_short(const Linear& linear, size_t token, int32_t position) const noexcept {
  switch (linear.activations) {
    case ActivationKind::f32:
    case ActivationKind::a8:
    case ActivationKind::tender8:
      return false;
    case ActivationKind::a4:
    case ActivationKind::tender4:
      return true;
    case ActivationKind::agile:
      // Position 0 sees itself alone; what all others rest on keeps 8 bits.
      if (position == 0) return false;
      return model_.agile_choice == AgileChoice::least ? importance_[token] < linear.threshold
                                                       : importance_[token] > linear.threshold;
  }
  return false;
}

/// Of a layer, once the importance of its tokens is known. For one thread.
void Graph::count_short_rows(const LayerWeights& weights, std::span<const int32_t> positions) noexcept {
  for (const Linear* linear : {&weights.qkv, &weights.output, &weights.gate_up, &weights.down}) {
    if (linear->activations != ActivationKind::a4 && linear->activations != ActivationKind::agile) continue;
    for (size_t t = 0; t < positions.size(); ++t) counters_->short_rows += is_short(*linear, t, positions[t]) ? 1 : 0;
  }
}

bool Graph::looks_up(const Linear& linear, size_t columns) noexcept {
  return linear.reads_codes() && columns <= linear.lookup_columns;
}

void Graph::count_rows(const Linear& linear, size_t columns, StepCounters& counters) const noexcept {
  const bool codes = linear.reads_codes();
  const bool tables = looks_up(linear, columns);
  (codes ? counters.int8_macs : counters.fp32_macs) += linear.macs() * columns;
  size_t bytes = linear.outputs * sizeof(float);
  if (linear.reads_floats()) bytes += linear.inputs * sizeof(float);
  if (codes) bytes += linear.inputs / kTileInputs * (sizeof(A8Block) + (tables ? sizeof(A8Table) : 0));
  counters.activation_bytes += bytes * columns;
  if (!tables) return;
  for (const Linear::Segment& segment : linear.segments) {
    const WeightFormatInfo& format = info(segment.weights.format);
    if (format.planes) counters.table_lookups += segment.weights.rows * (linear.inputs / 4) * format.bits * columns;
  }
}

/// Computes the input rows by `produce(row, out)`, quantizes them if the weights want that, and makes tables of few
/// rows that bit planes read: once for all matrices that share the input. Few elements: every
/// thread for itself. Otherwise shared out, with a barrier at the end.
Graph::Input Graph::prepare(const Linear& linear, size_t columns, size_t thread, Operator operation,
                            RowProducer produce) noexcept {
  const size_t inputs = linear.inputs;
  const bool codes = linear.reads_codes();
  const bool keep_floats = linear.reads_floats();
  const bool looks_up = Graph::looks_up(linear, columns);
  const bool ordered = !linear.tender.empty();
  const bool studied = model_.study != nullptr && model_.study->wants(linear.id);
  const bool shared = observer_ != nullptr || studied;
  const bool own = !shared && (columns * inputs <= kOwnElementsMax || columns == 1);
  ThreadBuffers& buffers = threads_[thread];
  float* floats = own ? buffers.floats : floats_;
  A8Block* blocks = own ? buffers.blocks : blocks_;
  A8Table* tables = own ? buffers.tables : tables_;
  const std::span<const int32_t> positions = buffers.stage->tables.positions;
  const auto row = [&](size_t i) {
    float* out = keep_floats && !ordered ? floats + i * inputs : buffers.row;
    produce(i, out);
    if (keep_floats && ordered) order_tender(linear, out, floats + i * inputs);
    if (!codes) return;
    A8Block* coded = blocks + i * (inputs / 32);
    if (ordered) return quantize_tender(linear, positions[i], out, buffers.ordered, coded);
    const int32_t levels = is_short(linear, i, positions[i]) ? 7 : linear.levels;
    model_.kernels->quantize_a8(out, inputs, linear.activation_group, levels, coded);
    if (looks_up) model_.kernels->make_tables(coded, inputs, linear.activation_group, tables + i * (inputs / 32));
  };
  if (own) {
    for (size_t i = 0; i < columns; ++i) row(i);
    mark(operation, thread);
  } else if (reaches(buffers.here, thread)) {
    const size_t grain = std::clamp<size_t>(columns / (4 * team_.size()), 1, 16);
    for (size_t i; (i = team_.claim(thread, columns, grain)) < columns;) {
      for (size_t r = i; r < std::min(i + grain, columns); ++r) row(r);
    }
    mark(operation, thread);
    entry(buffers.here + 1, thread);
  }
  if (observer_ != nullptr) {
    const bool in_layer = &linear != &model_.weights.head;
    observer_->collect(linear, floats, columns, in_layer ? positions.data() : nullptr, team_, thread);
  }
  if (studied) {
    if (thread == 0) model_.study->apply(linear.id, floats_, positions);
    barrier(thread);
  }
  return {floats, inputs, blocks, inputs / 32, looks_up ? tables : nullptr};
}

/// y[c, n] (+)= W · input, shared out by row tiles and blocks of columns.
void Graph::linear(const Linear& linear, const Input& input, size_t columns, float* y, size_t y_stride, bool accumulate,
                   size_t thread) noexcept {
  const RowChunks chunks(linear, columns, team_.size());
  const size_t items = chunks.count * divide_up(columns, kColumnBlock);
  for (size_t i; (i = team_.claim(thread, items, 1)) < items;) {
    const size_t column = i / chunks.count * kColumnBlock;
    const RowChunks::Chunk chunk = chunks.at(i % chunks.count);
    const size_t output = chunk.segment->output + chunk.first_tile * kTileRows;
    const PackedView& weights = chunk.segment->weights;
    const auto format = static_cast<size_t>(weights.format);
    const bool a8 = linear.activations != ActivationKind::f32 && !info(weights.format).is_float();
    const bool looks_up = a8 && input.tables != nullptr && info(weights.format).planes;
    LinearTask task{
        .tiles = chunk.data(),
        .groups = weights.cols / kTileInputs,
        .row_tiles = chunk.tiles,
        .x = a8 ? static_cast<const void*>(input.blocks + column * input.block_stride)
                : static_cast<const void*>(input.floats + column * input.float_stride),
        .x_stride = a8 ? input.block_stride : input.float_stride,
        .columns = std::min(kColumnBlock, columns - column),
        .y = y + column * y_stride + output,
        .y_stride = y_stride,
        .bias = linear.bias.empty() ? nullptr : linear.bias.data() + output,
        .accumulate = accumulate,
        .scratch = threads_[thread].expanded,
    };
    if (looks_up) {
      task.x = input.tables + column * input.block_stride;
      model_.kernels->linear_table[format](task);
      continue;
    }
    if (!linear.tender.empty()) {
      linear_tender(linear, weights, task);
      continue;
    }
    (a8 ? model_.kernels->linear_a8 : model_.kernels->linear_f32)[format](task);
  }
}

/// Starts to fetch what this thread will multiply first in the next matrix, so that memory doesn't rest at the barrier
/// and the small work behind it.
void Graph::prefetch(const Linear& linear, size_t columns, size_t thread) const noexcept {
  if (columns > kPrefetchColumns) return;
  const RowChunks chunks(linear, columns, team_.size());
  const size_t first = team_.first_of(thread, chunks.count, 1);
  size_t left = kPrefetchBytes;
  for (size_t i = first; i < chunks.count && left > 0; ++i) {
    const RowChunks::Chunk chunk = chunks.at(i);
    const size_t bytes = std::min(left, chunk.bytes());
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(chunk.data() + at, 0, 2);
    left -= bytes;
  }
}

}  // namespace nibble
