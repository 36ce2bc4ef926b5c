#include "calibration.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace nibble {
namespace {

/// Channels that a thread looks at together: a cache line of each token's row, and a row tile of the products.
constexpr size_t kChannels = kTileRows;
/// Columns and row tiles of one work item of the products.
constexpr size_t kColumnBlock = 64;
constexpr size_t kTileChunk = 8;

constexpr size_t divide_up(size_t a, size_t b) noexcept {
  return (a + b - 1) / b;
}

size_t magnitude_bin(float magnitude) noexcept {
  if (!(magnitude > 0)) return 0;
  const int exponent = std::isfinite(magnitude) ? std::ilogb(magnitude) : 64;
  return static_cast<size_t>(std::clamp(exponent + 32, 0, static_cast<int>(InputStatistics::kMagnitudeBins) - 1));
}

}  // namespace

Calibration::Calibration(const Model& model, const CalibrationOptions& options, size_t columns_max)
    : kernels_(*model.kernels), options_(options), magnitudes_(columns_max) {
  const std::vector<LayerWeights>& layers = model.weights.layers;
  size_t widest = 0;
  const auto add = [&](const Linear& linear, size_t layer) {
    index_.emplace(&linear, inputs_.size());
    InputStatistics& statistics = inputs_.emplace_back();
    const size_t inputs = linear.inputs;
    statistics.inputs = inputs;
    statistics.minima.assign(options.chunks * inputs, std::numeric_limits<float>::infinity());
    statistics.maxima.assign(options.chunks * inputs, -std::numeric_limits<float>::infinity());
    statistics.squares.assign(inputs, 0);
    if (!options.hessians[layer]) return;
    widest = std::max(widest, inputs);
    statistics.hessian = Pages(inputs * inputs * sizeof(float));
    ok_ &= statistics.hessian.data() != nullptr;
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    for (const Linear* linear : {&layers[i].qkv, &layers[i].output, &layers[i].gate_up, &layers[i].down}) {
      add(*linear, i);
    }
  }
  add(model.weights.head, layers.size());
  if (widest == 0) return;
  const size_t bytes = widest * divide_up(columns_max, kTileInputs) * kTileInputs * sizeof(float);
  tiles_ = Pages(bytes);
  channels_ = Pages(bytes);
  ok_ &= tiles_.data() != nullptr && channels_.data() != nullptr;
}

const InputStatistics& Calibration::complete(size_t layer, size_t input) noexcept {
  InputStatistics& statistics = inputs_[layer * kInputsPerLayer + input];
  auto* h = reinterpret_cast<float*>(statistics.hessian.data());
  for (size_t i = 0; h != nullptr && i < statistics.inputs; ++i) {
    for (size_t j = i + 1; j < statistics.inputs; ++j) h[i * statistics.inputs + j] = h[j * statistics.inputs + i];
  }
  return statistics;
}

void Calibration::drop_hessian(size_t layer, size_t input) noexcept {
  inputs_[layer * kInputsPerLayer + input].hessian = Pages();
}

void Calibration::collect(const Linear& linear, const float* rows, size_t columns, const int32_t* positions, Team& team,
                          size_t thread) noexcept {
  InputStatistics& statistics = inputs_[index_.find(&linear)->second];
  const size_t inputs = statistics.inputs;
  const size_t channel_items = divide_up(inputs, kChannels);
  const size_t items = channel_items + divide_up(columns, kChannels);
  for (size_t i; (i = team.claim(thread, items, 1)) < items;) {
    if (i < channel_items) {
      collect_channels(statistics, rows, columns, positions, i * kChannels);
      continue;
    }
    const size_t first = (i - channel_items) * kChannels;
    for (size_t t = first; t < std::min(first + kChannels, columns); ++t) {
      float largest = 0;
      for (size_t c = 0; c < inputs; ++c) largest = std::max(largest, std::fabs(rows[t * inputs + c]));
      magnitudes_[t] = largest;
    }
  }
  team.barrier(thread);
  if (thread == 0) {
    statistics.tokens += columns;
    for (size_t t = 0; t < columns; ++t) ++statistics.magnitudes[magnitude_bin(magnitudes_[t])];
  }
  if (statistics.hessian.data() != nullptr) add_products(statistics, columns, team, thread);
  team.barrier(thread);
}

/// Extremes and squares of sixteen channels over all tokens of the step, and both operands of their products.
void Calibration::collect_channels(InputStatistics& statistics, const float* rows, size_t columns,
                                   const int32_t* positions, size_t first) noexcept {
  const size_t inputs = statistics.inputs;
  const bool products = statistics.hessian.data() != nullptr;
  const size_t padded = divide_up(columns, kTileInputs) * kTileInputs;
  float* tile = reinterpret_cast<float*>(tiles_.data()) + first * padded;
  float* channels = reinterpret_cast<float*>(channels_.data()) + first * padded;
  for (size_t t = 0; t < columns; ++t) {
    const float* x = rows + t * inputs + first;
    const size_t position = positions == nullptr ? 0 : static_cast<size_t>(positions[t]);
    const size_t chunk = position == 0 ? 0 : std::min(1 + position / options_.chunk_tokens, options_.chunks - 1);
    float* low = statistics.minima.data() + chunk * inputs + first;
    float* high = statistics.maxima.data() + chunk * inputs + first;
    double* square = statistics.squares.data() + first;
    for (size_t c = 0; c < kChannels; ++c) low[c] = x[c] < low[c] ? x[c] : low[c];
    for (size_t c = 0; c < kChannels; ++c) high[c] = x[c] > high[c] ? x[c] : high[c];
    for (size_t c = 0; c < kChannels; ++c) square[c] += static_cast<double>(x[c]) * static_cast<double>(x[c]);
    if (!products) continue;
    std::memcpy(tile + t * kChannels, x, kChannels * sizeof(float));
    for (size_t c = 0; c < kChannels; ++c) channels[c * padded + t] = x[c];
  }
  if (!products) return;
  std::memset(tile + columns * kChannels, 0, (padded - columns) * kChannels * sizeof(float));
  for (size_t c = 0; c < kChannels; ++c) {
    std::memset(channels + c * padded + columns, 0, (padded - columns) * sizeof(float));
  }
}

/// Adds x·xᵀ of the step: a linear layer whose weights are the channels' tiles and whose tokens are the channels.
/// Products above the diagonal are left out, block by block.
void Calibration::add_products(InputStatistics& statistics, size_t columns, Team& team, size_t thread) noexcept {
  const size_t inputs = statistics.inputs;
  const size_t padded = divide_up(columns, kTileInputs) * kTileInputs;
  const auto chunks_of = [&](size_t block) {  // row tiles up to the block's last column
    return divide_up(std::min((block + 1) * kColumnBlock, inputs), kTileChunk * kTileRows);
  };
  const size_t blocks = divide_up(inputs, kColumnBlock);
  size_t items = 0;
  for (size_t block = 0; block < blocks; ++block) items += chunks_of(block);
  for (size_t i; (i = team.claim(thread, items, 1)) < items;) {
    size_t block = 0;
    size_t chunk = i;
    while (chunk >= chunks_of(block)) chunk -= chunks_of(block++);
    const size_t column = block * kColumnBlock;
    const size_t column_end = std::min(column + kColumnBlock, inputs);
    const size_t tile = chunk * kTileChunk;
    kernels_.linear_f32[static_cast<size_t>(WeightFormat::f32)]({
        .tiles = tiles_.data() + tile * kTileRows * padded * sizeof(float),
        .groups = padded / kTileInputs,
        .row_tiles = std::min(kTileChunk, divide_up(column_end, kTileRows) - tile),
        .x = reinterpret_cast<const float*>(channels_.data()) + column * padded,
        .x_stride = padded,
        .columns = column_end - column,
        .y = reinterpret_cast<float*>(statistics.hessian.data()) + column * inputs + tile * kTileRows,
        .y_stride = inputs,
        .bias = nullptr,
        .accumulate = true,
    });
  }
}

}  // namespace nibble
