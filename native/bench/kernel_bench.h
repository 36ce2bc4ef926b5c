#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../kernels/isa.h"
#include "../status.h"

namespace nibble {

/// Names of the linear kernels, one per pair of weights and activations: `<weights>a<activations>[-<variant>]`, or the
/// float type alone. `w4a8-affine` is 4-bit weights with minima times int8 activations; `a16` means f32 activations
/// (docs/arithmetic.md). Every row of a kernel table has exactly one name.
std::vector<std::string> kernel_families();

struct KernelRequest {
  Isa isa = Isa::scalar;
  bool gemv = true;    // one token, weights from DRAM; otherwise a matrix product as it is, cached or not
  std::string family;  // one of kernel_families()
  size_t m = 1;        // tokens; 1 if gemv
  size_t n = 0;        // output features
  size_t k = 0;        // input features, a multiple of 32
  size_t threads = 1;
  uint64_t seed = 0;
  double milliseconds = 0;  // to measure for; 0 = check only
};

struct KernelResult {
  Isa isa = Isa::scalar;      // the level whose own counter moved
  bool equal = false;         // a random subset of the outputs equals the scalar twin's bit for bit
  double gmacs = 0;           // 10^9 multiply-accumulates/s, median of at least 5 repetitions; 0 if not measured
  double weight_gbs = 0;      // 10^9 bytes of packed weights/s, likewise
  uint64_t weight_bytes = 0;  // packed
  uint64_t macs = 0;          // m · n · k
};

/// Runs one kernel on random packed weights and activations: checks it, then measures it over a team of threads.
/// Fails with native_invalid_argument (unknown family, unsupported level, sizes) or native_out_of_memory.
Status run_kernel(const KernelRequest& request, KernelResult& result);

}  // namespace nibble
