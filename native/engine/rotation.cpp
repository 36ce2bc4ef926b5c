#include "rotation.h"

namespace nibble {
namespace {

constexpr size_t kOrderMax = 256;
constexpr size_t kWidthMin = 16;

bool is_prime(size_t q) noexcept {
  for (size_t d = 2; d * d <= q; ++d) {
    if (q % d == 0) return false;
  }
  return q >= 2;
}

/// Jacobsthal's matrix of a prime q: Q_ij = χ(i − j), χ the quadratic character.
std::vector<int> jacobsthal(size_t q) {
  std::vector<int> character(q, -1);
  character[0] = 0;
  for (size_t i = 1; i < q; ++i) character[i * i % q] = 1;
  std::vector<int> matrix(q * q);
  for (size_t i = 0; i < q; ++i) {
    for (size_t j = 0; j < q; ++j) matrix[i * q + j] = character[(i + q - j) % q];
  }
  return matrix;
}

/// Paley 1933, lemmas 2 and 3. Construction I: q = order − 1 ≡ 3 (mod 4), I + [0 1; −1 Q]. Construction II: q =
/// order/2 − 1 ≡ 1 (mod 4), entries of the symmetric [0 1; 1 Q] become 2 × 2: 0 → [1 −1; −1 −1], ±1 → ±[1 1; 1 −1].
std::vector<float> paley(size_t order) {
  std::vector<float> signs(order * order, 1.0f);
  const auto set = [&](size_t i, size_t j, int sign) { signs[i * order + j] = static_cast<float>(sign); };
  const bool first = is_prime(order - 1) && (order - 1) % 4 == 3;
  const size_t q = first ? order - 1 : order / 2 - 1;
  if (!first && !(is_prime(q) && q % 4 == 1 && order % 4 == 0)) return {};
  const std::vector<int> character = jacobsthal(q);
  const auto core = [&](size_t i, size_t j) {  // of the conference matrix
    if (i == 0 || j == 0) return i == j ? 0 : (first && j == 0 ? -1 : 1);
    return character[(i - 1) * q + j - 1];
  };
  for (size_t i = 0; i <= q; ++i) {
    for (size_t j = 0; j <= q; ++j) {
      const int c = core(i, j);
      if (first) {
        set(i, j, i == j ? 1 : c);
        continue;
      }
      set(2 * i, 2 * j, c == 0 ? 1 : c);
      set(2 * i, 2 * j + 1, c == 0 ? -1 : c);
      set(2 * i + 1, 2 * j, c == 0 ? -1 : c);
      set(2 * i + 1, 2 * j + 1, c == 0 ? -1 : -c);
    }
  }
  return signs;
}

}  // namespace

Rotation Rotation::of(size_t n) {
  Rotation rotation;
  const size_t power = n & (~n + 1);
  if (n < kWidthMin) return rotation;
  size_t order = n / power;
  if (order == 1) {
    rotation.n_ = n;
    return rotation;
  }
  for (; order <= kOrderMax && n % order == 0 && n / order >= kWidthMin; order *= 2) {
    if (order % 4 != 0) continue;
    rotation.signs_ = paley(order);
    if (rotation.signs_.empty()) continue;
    rotation.n_ = n;
    rotation.order_ = order;
    rotation.transposed_.resize(order * order);
    for (size_t i = 0; i < order; ++i) {
      for (size_t j = 0; j < order; ++j) rotation.transposed_[j * order + i] = rotation.signs_[i * order + j];
    }
    break;
  }
  return rotation;
}

}  // namespace nibble
