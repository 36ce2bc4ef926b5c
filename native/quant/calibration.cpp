#include "calibration.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nibble {
namespace {

/// Channels that a thread looks at together: a cache line of each token's row, and a row tile of the products.
constexpr size_t kChannels = kTileRows;
/// Tokens whose products are summed before they are added to the Hessian: both operands of a work item stay in the L1
/// cache, and neighbouring channels don't compete for the same lines of it.
constexpr size_t kSliceTokens = 64;
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

/// n % 16 == 0.
float largest_magnitude(const float* x, size_t n) noexcept {
  float largest[16] = {};
  for (size_t i = 0; i < n; i += 16) {
    for (size_t lane = 0; lane < 16; ++lane) {
      const float magnitude = std::fabs(x[i + lane]);
      largest[lane] = magnitude > largest[lane] ? magnitude : largest[lane];
    }
  }
  return *std::max_element(largest, largest + 16);
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
    statistics.hessian.advise_huge();
    ok_ &= statistics.hessian.data() != nullptr;
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    for (const Linear* linear : {&layers[i].qkv, &layers[i].output, &layers[i].gate_up, &layers[i].down}) {
      add(*linear, i);
    }
  }
  add(model.weights.head, layers.size());
  if (widest == 0) return;
  const size_t bytes = widest * divide_up(columns_max, kSliceTokens) * kSliceTokens * sizeof(float);
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
  const bool is_first = statistics.tokens == 0;  // read before the barrier, behind which it is counted up
  const size_t channel_items = divide_up(inputs, kChannels);
  const size_t items = channel_items + divide_up(columns, kChannels);
  for (size_t i; (i = team.claim(thread, items, 1)) < items;) {
    if (i < channel_items) {
      collect_channels(statistics, rows, columns, positions, i * kChannels);
      continue;
    }
    const size_t first = (i - channel_items) * kChannels;
    for (size_t t = first; t < std::min(first + kChannels, columns); ++t) {
      magnitudes_[t] = largest_magnitude(rows + t * inputs, inputs);
    }
  }
  team.barrier(thread);
  if (thread == 0) {
    statistics.tokens += columns;
    for (size_t t = 0; t < columns; ++t) ++statistics.magnitudes[magnitude_bin(magnitudes_[t])];
  }
  if (statistics.hessian.data() != nullptr) add_products(statistics, columns, is_first, team, thread);
  team.barrier(thread);
}

/// Extremes and squares of sixteen channels over all tokens of the step, and both operands of their products.
void Calibration::collect_channels(InputStatistics& statistics, const float* rows, size_t columns,
                                   const int32_t* positions, size_t first) noexcept {
  const size_t inputs = statistics.inputs;
  double square[kChannels];
  std::copy_n(statistics.squares.data() + first, kChannels, square);
  for (size_t t = 0; t < columns;) {
    const size_t chunk = chunk_of(positions, t);
    float low[kChannels], high[kChannels];
    float* minima = statistics.minima.data() + chunk * inputs + first;
    float* maxima = statistics.maxima.data() + chunk * inputs + first;
    std::copy_n(minima, kChannels, low);
    std::copy_n(maxima, kChannels, high);
    for (; t < columns && chunk_of(positions, t) == chunk; ++t) {
      const float* x = rows + t * inputs + first;
      for (size_t c = 0; c < kChannels; ++c) low[c] = x[c] < low[c] ? x[c] : low[c];
      for (size_t c = 0; c < kChannels; ++c) high[c] = x[c] > high[c] ? x[c] : high[c];
      for (size_t c = 0; c < kChannels; ++c) square[c] += static_cast<double>(x[c]) * static_cast<double>(x[c]);
    }
    std::copy_n(low, kChannels, minima);
    std::copy_n(high, kChannels, maxima);
  }
  std::copy_n(square, kChannels, statistics.squares.data() + first);
  if (statistics.hessian.data() != nullptr) lay_out(rows, inputs, columns, first);
}

size_t Calibration::chunk_of(const int32_t* positions, size_t token) const noexcept {
  const size_t position = positions == nullptr ? 0 : static_cast<size_t>(positions[token]);
  return position == 0 ? 0 : std::min(1 + position / options_.chunk_tokens, options_.chunks - 1);
}

/// Sixteen channels as a tile of weights and as rows, for each slice of tokens; what is behind the last token is 0.
void Calibration::lay_out(const float* rows, size_t inputs, size_t columns, size_t first) noexcept {
  for (size_t slice = 0; slice < divide_up(columns, kSliceTokens); ++slice) {
    float* tile = reinterpret_cast<float*>(tiles_.data()) + (slice * inputs + first) * kSliceTokens;
    float* channels = reinterpret_cast<float*>(channels_.data()) + (slice * inputs + first) * kSliceTokens;
    const size_t count = std::min(kSliceTokens, columns - slice * kSliceTokens);
    for (size_t t = 0; t < kSliceTokens; ++t) {
      float x[kChannels] = {};
      if (t < count) std::copy_n(rows + (slice * kSliceTokens + t) * inputs + first, kChannels, x);
      std::copy_n(x, kChannels, tile + t * kChannels);
      for (size_t c = 0; c < kChannels; ++c) channels[c * kSliceTokens + t] = x[c];
    }
  }
}

/// Adds x·xᵀ of the step: a linear layer whose weights are the channels' tiles and whose tokens are the channels, a
/// slice of tokens after the other. Products above the diagonal are left out, block by block. The first step's begin
/// the sums: memory that is read before it is written costs a fault more for each page.
void Calibration::add_products(InputStatistics& statistics, size_t columns, bool is_first, Team& team,
                               size_t thread) noexcept {
  const size_t inputs = statistics.inputs;
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
    for (size_t slice = 0; slice < divide_up(columns, kSliceTokens); ++slice) {
      const size_t start = slice * inputs * kSliceTokens;
      kernels_.linear_f32[static_cast<size_t>(WeightFormat::f32)]({
          .tiles = tiles_.data() + (start + tile * kTileRows * kSliceTokens) * sizeof(float),
          .groups = kSliceTokens / kTileInputs,
          .row_tiles = std::min(kTileChunk, divide_up(column_end, kTileRows) - tile),
          .x = reinterpret_cast<const float*>(channels_.data()) + start + column * kSliceTokens,
          .x_stride = kSliceTokens,
          .columns = column_end - column,
          .y = reinterpret_cast<float*>(statistics.hessian.data()) + column * inputs + tile * kTileRows,
          .y_stride = inputs,
          .bias = nullptr,
          .accumulate = !is_first || slice > 0,
      });
    }
  }
}

}  // namespace nibble
