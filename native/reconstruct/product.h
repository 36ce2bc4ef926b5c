#pragma once
// Products of f32 matrices for gradients: y[c][n] (+)= Σ_k w[n][k] · x[c][k], by the kernels of the engine's float path
// (their order of additions is fixed, so neither threads nor instruction sets change a bit). w is packed into tiles
// [rows/16][inputs][16] first; rows are a multiple of 16, inputs of 32.
#include <algorithm>
#include <cstddef>

#include "../engine/pages.h"
#include "../kernels/kernel_table.h"
#include "../threads/team.h"

namespace nibble {

/// One thread of a team inside a body that all of them run: what it calls, every thread calls in the same order.
struct Crew {
  Team& team;
  size_t thread;

  /// body(i) for every i < items, by whichever thread is free; all have returned when this does.
  template <class Body>
  void each(size_t items, size_t grain, Body&& body) const noexcept {
    for (size_t first; (first = team.claim(thread, items, grain)) < items;) {
      for (size_t i = first; i < std::min(first + grain, items); ++i) body(i);
    }
    team.barrier(thread);
  }
};

/// Floats of zero, aligned for every kernel. Throws std::bad_alloc.
class Floats {
 public:
  Floats() = default;
  explicit Floats(size_t count);
  float* data() const noexcept { return reinterpret_cast<float*>(pages_.data()); }
  float& operator[](size_t i) const noexcept { return data()[i]; }

 private:
  Pages pages_;
};

/// Row tile `tile` of w [rows][stride], `inputs` of each row.
void pack_rows(const float* w, size_t stride, size_t inputs, size_t tile, float* tiles) noexcept;
/// Row tile `tile` of the transpose of x [inputs][stride].
void pack_columns(const float* x, size_t stride, size_t inputs, size_t tile, float* tiles) noexcept;
/// out [columns][rows] = x [rows][stride] transposed, columns [first, first + count).
void transpose(const float* x, size_t stride, size_t rows, size_t first, size_t count, float* out) noexcept;

struct Product {
  const float* x;
  size_t x_stride;
  size_t columns;
  const float* tiles;
  size_t rows, inputs;
  float* y;
  size_t y_stride;
  bool accumulate = false;
  const float* bias = nullptr;
};
/// By the calling thread alone.
void multiply(const KernelTable& kernels, const Product& product) noexcept;
/// Shared out; with a barrier at the end.
void multiply(const KernelTable& kernels, const Crew& crew, const Product& product) noexcept;

}  // namespace nibble
