#pragma once
// Quantizes a matrix to a file format: round to nearest, or rounding that looks at the inputs.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../status.h"
#include "code_format.h"

namespace nibble {

struct QuantizeRequest {
  std::vector<float> weights;  // [rows][cols]
  size_t rows = 0;
  size_t cols = 0;  // a multiple of 32 and of the format's group
  const CodeFormat* format = nullptr;
  /// Scales that lose least (`fit_least_squares`), else those of `round_to_nearest`.
  bool fits_scales = false;
  /// Codebook formats: free levels, else evenly spaced ones.
  bool learns_levels = false;
  /// Rounds with feedback (GPTQ); needs the Hessian.
  bool feeds_back = false;
  /// With feedback: inputs in the order of falling diagonal. Groups stay those of the file, so their scales are chosen
  /// from the weights as they are, beforehand.
  bool by_size = false;
  /// Share of the Hessian's mean diagonal that is added to its diagonal.
  double damping = 0.01;
  /// Passes of descent afterwards: group by group, codes and scales are changed while that lowers the error.
  size_t sweeps = 0;
  std::vector<float> hessian;     // [cols][cols] Σ x·xᵀ, or empty
  std::vector<float> importance;  // [cols] weights of the fit's squares; empty: the Hessian's diagonal, or all 1
  size_t threads = 1;
};

struct QuantizeResult {
  std::vector<uint8_t> bytes;  // the rows' file blocks
  /// Squared error of the outputs over the outputs' squares: by the (damped) Hessian, else by the importance.
  double error = 0;
};

/// Rows are independent of each other, and results of threads and instruction set. Fails with
/// native_invalid_argument, model_tensor_not_finite or native_out_of_memory.
Status quantize_matrix(const QuantizeRequest& request, QuantizeResult& result);

}  // namespace nibble
