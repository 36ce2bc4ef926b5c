#include "quantize_matrix.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "../threads/team.h"
#include "curvature.h"
#include "descent.h"
#include "group_fit.h"

namespace nibble {
namespace {

/// Rows that a thread quantizes together: as many columns as the f32 kernel keeps in the cache.
constexpr size_t kRows = 48;

struct Sums {
  double error = 0, energy = 0;
};

/// Some rows of the matrix, with everything that changes while they are quantized.
class RowBlock {
 public:
  RowBlock(const QuantizeRequest& request, const Curvature* curvature)
      : request_(request),
        format_(*request.format),
        curvature_(curvature),
        cols_(request.cols),
        group_(format_.group_inputs(cols_)),
        groups_(cols_ / group_),
        codes_(kRows * cols_),
        scales_(kRows * groups_),
        errors_(kRows * cols_) {
    if (curvature_ == nullptr) return;
    products_.resize(kRows * cols_);
    if (request.feeds_back) feedback_.resize(kRows * block());
    if (request.sweeps == 0) return;
    // A whole row's scale stays: only its codes move, a strip at a time.
    descent_.emplace(format_, *curvature_, format_.group == 0 ? kTileInputs : group_, request.learns_levels);
    changes_.resize(kRows * descent_->group());
  }

  /// Inputs between two products with the factor.
  size_t block() const noexcept { return chooses_on_the_way() ? group_ : kTileInputs; }

  /// Quantizes rows [first, first + rows), writes their file blocks and returns their sums.
  Sums run(size_t first, size_t rows, uint8_t* out) {
    weights_ = request_.weights.data() + first * cols_;
    rows_ = rows;
    if (request_.feeds_back) {
      round_with_feedback();
    } else {
      for (size_t row = 0; row < rows; ++row) {
        for (size_t g = 0; g < groups_; ++g) fit(weights(row) + g * group_, row, g, codes(row) + g * group_);
      }
    }
    const Sums sums = curvature_ == nullptr ? plain_sums() : descend();
    const size_t row_bytes = format_.row_bytes(cols_);
    for (size_t row = 0; row < rows; ++row) {
      encode_row(format_, codes(row), scales(row), cols_, out + row * row_bytes);
    }
    return sums;
  }

 private:
  /// Scales from weights that feedback has already changed; by size, or over a whole row, that can't be.
  bool chooses_on_the_way() const noexcept { return request_.feeds_back && !request_.by_size && format_.group != 0; }
  const float* weights(size_t row) const noexcept { return weights_ + row * cols_; }
  int8_t* codes(size_t row) noexcept { return codes_.data() + row * cols_; }
  GroupScale* scales(size_t row) noexcept { return scales_.data() + row * groups_; }
  float* errors(size_t row) noexcept { return errors_.data() + row * cols_; }
  float* products(size_t row) noexcept { return products_.data() + row * cols_; }
  float importance(size_t input) const noexcept {
    if (!request_.importance.empty()) return request_.importance[input];
    return curvature_ == nullptr ? 1.0f : curvature_->diagonal()[input];
  }
  const float* importances(size_t input) const noexcept {
    if (!request_.importance.empty()) return request_.importance.data() + input;
    return curvature_ == nullptr ? nullptr : curvature_->diagonal().data() + input;
  }

  void fit(const float* w, size_t row, size_t g, int8_t* codes) noexcept {
    if (format_.codebook) {
      GroupScale& scale = scales(row)[g];
      scale = fit_levels(w, importances(g * group_), group_, request_.fits_scales, request_.learns_levels);
      for (size_t i = 0; codes != nullptr && i < group_; ++i) {
        codes[i] = static_cast<int8_t>(nearest_code(format_, scale, w[i]));
      }
      return;
    }
    scales(row)[g] = request_.fits_scales ? fit_least_squares(format_, w, importances(g * group_), group_, codes)
                                          : round_to_nearest(format_, w, group_, codes);
  }

  void round_with_feedback() noexcept {
    const size_t width = block();
    if (!chooses_on_the_way()) {
      for (size_t row = 0; row < rows_; ++row) {
        for (size_t g = 0; g < groups_; ++g) fit(weights(row) + g * group_, row, g, nullptr);
      }
    }
    for (size_t first = 0; first < cols_; first += width) {
      curvature_->feedback(first, errors_.data(), rows_, feedback_.data());
      for (size_t row = 0; row < rows_; ++row) round_block(first, width, row);
    }
  }

  /// Places [first, first + width) of one row, whose feedback from the places before them is known. Errors are kept by
  /// place, codes by input.
  void round_block(size_t first, size_t width, size_t row) noexcept {
    const uint32_t* order = curvature_->order().data() + first;
    const float* within = curvature_->within(first);
    float* wanted = feedback_.data() + row * width;
    for (size_t j = 0; j < width; ++j) wanted[j] += weights(row)[order[j]];
    if (chooses_on_the_way()) fit(wanted, row, first / group_, nullptr);
    for (size_t j = 0; j < width; ++j) {
      const size_t input = order[j];
      const GroupScale& scale = scales(row)[input / group_];
      const int code = nearest_code(format_, scale, wanted[j]);
      codes(row)[input] = static_cast<int8_t>(code);
      const float error = weights(row)[input] - scale.value(code);
      errors(row)[first + j] = error;
      for (size_t k = j + 1; k < width; ++k) wanted[k] += error * within[j * width + k];
    }
  }

  Sums plain_sums() noexcept {
    Sums sums;
    for (size_t row = 0; row < rows_; ++row) {
      for (size_t i = 0; i < cols_; ++i) {
        const double w = weights(row)[i];
        const double e = w - static_cast<double>(scales(row)[i / group_].value(codes(row)[i]));
        sums.error += importance(i) * e * e;
        sums.energy += importance(i) * w * w;
      }
    }
    return sums;
  }

  /// products = H · x for every row.
  void multiply(const float* x) noexcept {
    std::fill_n(products_.begin(), rows_ * cols_, 0.0f);
    for (size_t strip = 0; strip < cols_ / kTileInputs; ++strip) {
      curvature_->multiply(strip, x + strip * kTileInputs, cols_, rows_, products_.data(), cols_);
    }
  }
  double dot_products(const float* x) noexcept {
    double sum = 0;
    for (size_t i = 0; i < rows_ * cols_; ++i) sum += static_cast<double>(x[i]) * products_[i];
    return sum;
  }

  Sums descend() noexcept {
    Sums sums;
    multiply(weights_);
    sums.energy = dot_products(weights_);
    for (size_t row = 0; row < rows_; ++row) {
      for (size_t i = 0; i < cols_; ++i) {
        errors(row)[i] = weights(row)[i] - scales(row)[i / group_].value(codes(row)[i]);
      }
    }
    multiply(errors_.data());
    for (size_t sweep = 0; sweep < request_.sweeps; ++sweep) {
      for (size_t first = 0; first < cols_; first += descent_->group()) sweep_group(first);
    }
    sums.error = dot_products(errors_.data());
    return sums;
  }

  void sweep_group(size_t first) noexcept {
    const size_t step = descent_->group();
    descent_->select(first);
    bool any = false;
    for (size_t row = 0; row < rows_; ++row) {
      float* change = changes_.data() + row * step;
      GroupScale& scale = scales(row)[first / group_];
      any |= descent_->run(products(row) + first, codes(row) + first, scale, change);
      for (size_t i = 0; i < step; ++i) {
        change[i] = -change[i];  // what the error grows by
        errors(row)[first + i] += change[i];
      }
    }
    if (!any) return;
    for (size_t strip = 0; strip < step / kTileInputs; ++strip) {
      curvature_->multiply(first / kTileInputs + strip, changes_.data() + strip * kTileInputs, step, rows_,
                           products_.data(), cols_);
    }
  }

  const QuantizeRequest& request_;
  const CodeFormat& format_;
  const Curvature* curvature_;
  size_t cols_, group_, groups_;
  std::vector<int8_t> codes_;       // [rows][cols]
  std::vector<GroupScale> scales_;  // [rows][groups]
  std::vector<float> errors_;       // [rows][cols]
  std::vector<float> products_;     // [rows][cols] H · e
  std::vector<float> feedback_;     // [rows][block]
  std::optional<GroupDescent> descent_;
  std::vector<float> changes_;      // [rows][group]
  const float* weights_ = nullptr;  // of the first row
  size_t rows_ = 0;
};

Status check(const QuantizeRequest& request) {
  const auto refuse = [](const char* what) { return Status::failure(ErrorCode::native_invalid_argument, what); };
  const size_t cols = request.cols;
  if (request.rows == 0 || cols == 0) return refuse("The matrix is empty.");
  if (request.weights.size() / cols != request.rows || request.weights.size() % cols != 0) {
    return refuse("weights must hold rows times cols values.");
  }
  if (cols % kTileInputs != 0 || cols % request.format->group_inputs(cols) != 0) {
    return refuse("cols must be a multiple of 32 and of the format's group.");
  }
  if (request.feeds_back && request.hessian.empty()) return refuse("Rounding with feedback needs the Hessian.");
  if (!request.hessian.empty() && request.hessian.size() != cols * cols) return refuse("hessian must be cols × cols.");
  if (!request.importance.empty() && request.importance.size() != cols)
    return refuse("importance must have cols values.");
  for (const float value : request.importance) {
    if (!(value >= 0 && std::isfinite(value))) return refuse("importance must be finite and not negative.");
  }
  for (const float value : request.weights) {
    // The largest scale that f16 holds times the largest code; beyond it nothing could be stored.
    if (!(std::fabs(value) <= 65504.0f)) {
      return Status::failure(ErrorCode::model_tensor_not_finite, "A weight is not finite, or beyond 16-bit floats.");
    }
  }
  return Status::success();
}

}  // namespace

Status quantize_matrix(const QuantizeRequest& request, QuantizeResult& result) {
  if (Status status = check(request); !status.ok()) return status;
  Team team(request.threads, false);
  Curvature curvature;
  const bool has_curvature = !request.hessian.empty();
  if (has_curvature) {
    if (Status status = curvature.build(request.hessian.data(), request.cols, request.damping, team); !status.ok()) {
      return status;
    }
  }
  const Curvature* used = has_curvature ? &curvature : nullptr;
  if (request.feeds_back) {
    const size_t block = RowBlock(request, used).block();
    if (Status status = curvature.factorize(request.by_size, block, team); !status.ok()) return status;
  }
  const size_t row_bytes = request.format->row_bytes(request.cols);
  result.bytes.resize(request.rows * row_bytes);
  const size_t blocks = (request.rows + kRows - 1) / kRows;
  std::vector<Sums> sums(blocks);
  std::vector<RowBlock> workers(request.threads, RowBlock(request, used));
  team.run([&](size_t thread) noexcept {
    for (size_t i; (i = team.claim(thread, blocks, 1)) < blocks;) {
      const size_t first = i * kRows;
      const size_t rows = std::min(kRows, request.rows - first);
      sums[i] = workers[thread].run(first, rows, result.bytes.data() + first * row_bytes);
    }
  });
  Sums all;
  for (const Sums& part : sums) {
    all.error += part.error;
    all.energy += part.energy;
  }
  result.error = all.energy > 0 ? all.error / all.energy : 0;
  return Status::success();
}

}  // namespace nibble
