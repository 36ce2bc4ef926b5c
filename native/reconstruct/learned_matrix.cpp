#include "learned_matrix.h"

#include <cmath>
#include <cstring>

#include "../formats/f16.h"
#include "../formats/pack.h"
#include "../quant/group_fit.h"

namespace nibble {
namespace {

/// The value of the level nearest to w.
inline float nearest_value(const Levels& v, float w) noexcept {
  const float twice = 2 * w;
  float value = twice > v[0] + v[1] ? v[1] : v[0];
  value = twice > v[1] + v[2] ? v[2] : value;
  return twice > v[2] + v[3] ? v[3] : value;
}

/// Where the float of a code begins: a quarter of the way from the middle between two levels to the next, so that no
/// code changes because of the first gradients' noise alone.
void cell(const Levels& v, int code, float& low, float& high) noexcept {
  constexpr float kWithin = 0.25f;
  const auto i = static_cast<size_t>(code);
  low = code == 0 ? -INFINITY : (v[i - 1] + v[i]) / 2 + kWithin * (v[i] - v[i - 1]);
  high = code == 3 ? INFINITY : (v[i] + v[i + 1]) / 2 - kWithin * (v[i + 1] - v[i]);
}

}  // namespace

Status LearnedMatrix::open(const MatrixSource& source, bool with_transpose) {
  rows_ = source.rows;
  inputs_ = source.inputs;
  const size_t count = rows_ * inputs_;
  values_ = Floats(count);
  tiles_ = Floats(count);
  if (with_transpose) transposed_ = Floats(count);
  const auto type = static_cast<GgmlType>(source.type);
  if (Status status = dequantize_rows(type, source.blocks, rows_, inputs_, values_.data()); !status.ok()) return status;
  if (type != GgmlType::nb_w2g64c && type != GgmlType::nb_w2g128c) return Status::success();
  format_ = find_code_format(type == GgmlType::nb_w2g64c ? "w2g64c" : "w2g128c");
  groups_ = inputs_ / format_->group;
  gradient_ = Floats(count);
  means_ = Floats(count);
  squares_ = Floats(count);
  levels_.resize(rows_ * groups_);
  level_means_.resize(levels_.size());
  level_squares_.resize(levels_.size());
  steps_.resize(levels_.size());
  read_levels(source.blocks);
  // What was rounded begins as it was, as far as that keeps the code that rounding with feedback chose.
  for (size_t i = 0; i < count; ++i) {
    const GroupScale scale{0, 0, levels_[i / format_->group], true};
    float low, high;
    cell(scale.values, nearest_code(*format_, scale, values_[i]), low, high);
    const float weight = source.weights[i];
    if (low < high) values_[i] = weight < low ? low : weight > high ? high : weight;
  }
  return Status::success();
}

void LearnedMatrix::read_levels(const uint8_t* blocks) noexcept {
  const size_t bytes = format_->header_bytes + format_->group / 4;
  for (size_t g = 0; g < levels_.size(); ++g, blocks += bytes) {
    uint16_t d;
    std::memcpy(&d, blocks, sizeof d);
    for (size_t i = 0; i < kCodebookLevels; ++i) {
      levels_[g][i] = f16_to_f32(d) * static_cast<float>(static_cast<int8_t>(blocks[2 + i]));
    }
    steps_[g] = (levels_[g][3] - levels_[g][0]) / 3;
  }
}

void LearnedMatrix::value_group(size_t row, size_t group, float* out) const noexcept {
  const Levels levels = stored_levels(levels_[row * groups_ + group]).values;
  const float* w = &values_[row * inputs_ + group * format_->group];
  for (size_t i = 0; i < format_->group; ++i) out[i] = nearest_value(levels, w[i]);
}

void LearnedMatrix::refresh(const Crew& crew) noexcept {
  crew.each(rows_ / kTileRows, 1, [&](size_t tile) {
    for (size_t r = 0; r < kTileRows; ++r) {
      const size_t row = tile * kTileRows + r;
      float group[128];
      const size_t width = learns() ? format_->group : 32;
      for (size_t first = 0; first < inputs_; first += width) {
        if (learns()) {
          value_group(row, first / width, group);
        } else {
          std::copy_n(&values_[row * inputs_ + first], width, group);
        }
        float* out = &tiles_[(tile * inputs_ + first) * kTileRows + r];
        for (size_t i = 0; i < width; ++i) out[i * kTileRows] = group[i];
        for (size_t i = 0; transposed_.data() != nullptr && i < width; i += kTileRows) {
          std::copy_n(group + i, kTileRows, &transposed_[((first + i) / kTileRows * rows_ + row) * kTileRows]);
        }
      }
    }
  });
}

void LearnedMatrix::update_group(size_t row, size_t group, const Adam& weights, const Adam& adam) noexcept {
  const size_t index = row * groups_ + group;
  const size_t first = row * inputs_ + group * format_->group;
  const float step = steps_[index];
  Levels& levels = levels_[index];
  const GroupScale stored = stored_levels(levels);
  float sums[kCodebookLevels] = {};
  for (size_t i = first; i < first + format_->group; ++i) {
    sums[static_cast<size_t>(nearest_code(*format_, stored, values_[i]))] += gradient_[i];
  }
  for (size_t k = 0; k < kCodebookLevels; ++k) {
    levels[k] += step * adam.change(sums[k], level_means_[index][k], level_squares_[index][k]);
  }
  std::sort(levels.begin(), levels.end());
  // No further out than half a step, so that the way back stays short.
  const float low = levels[0] - step / 2;
  const float high = levels[3] + step / 2;
  for (size_t i = first; i < first + format_->group; ++i) {
    const float moved = values_[i] + step * weights.change(gradient_[i], means_[i], squares_[i]);
    values_[i] = moved < low ? low : moved > high ? high : moved;
    gradient_[i] = 0;
  }
}

void LearnedMatrix::update(const Crew& crew, const Adam& weights, const Adam& levels) noexcept {
  if (!learns()) return;
  crew.each(rows_, 4, [&](size_t row) {
    for (size_t group = 0; group < groups_; ++group) update_group(row, group, weights, levels);
  });
}

std::vector<uint8_t> LearnedMatrix::encode() const {
  const size_t row_bytes = format_->row_bytes(inputs_);
  std::vector<uint8_t> out(rows_ * row_bytes);
  std::vector<int8_t> codes(inputs_);
  std::vector<GroupScale> scales(groups_);
  for (size_t row = 0; row < rows_; ++row) {
    for (size_t g = 0; g < groups_; ++g) scales[g] = stored_levels(levels_[row * groups_ + g]);
    for (size_t i = 0; i < inputs_; ++i) {
      codes[i] = static_cast<int8_t>(nearest_code(*format_, scales[i / format_->group], values_[row * inputs_ + i]));
    }
    encode_row(*format_, codes.data(), scales.data(), inputs_, out.data() + row * row_bytes);
  }
  return out;
}

}  // namespace nibble
