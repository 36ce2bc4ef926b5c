#pragma once
#include <bit>
#include <cstdio>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "../kernels/kernel_table.h"
#include "check.h"
#include "random.h"

namespace nibble::check {

inline constexpr size_t kFailuresMax = 50;

/// Memory that begins `offset` bytes after a 64-byte boundary. Compared as a whole, so that a write outside the shape
/// shows as well.
template <class T>
class Buffer {
 public:
  explicit Buffer(size_t count, size_t offset = 0)
      : bytes_(static_cast<uint8_t*>(::operator new (count * sizeof(T) + offset + 64, std::align_val_t{64}))),
        data_(reinterpret_cast<T*>(bytes_.get() + offset)),
        count_(count) {
    for (size_t i = 0; i < count; ++i) new (data_ + i) T{};
  }
  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  size_t size() const noexcept { return count_; }
  T& operator[](size_t i) noexcept { return data_[i]; }
  std::span<T> span() noexcept { return {data_, count_}; }
  void copy_from(const Buffer& other) noexcept {
    for (size_t i = 0; i < count_; ++i) data_[i] = other.data_[i];
  }

 private:
  struct Free {
    void operator()(uint8_t* p) const noexcept { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<uint8_t, Free> bytes_;
  T* data_;
  size_t count_;
};

inline bool same(float a, float b) noexcept {
  return (a != a && b != b) || std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}
inline bool same_f16(uint16_t a, uint16_t b) noexcept {
  return a == b || ((a & 0x7fffu) > 0x7c00u && (b & 0x7fffu) > 0x7c00u);
}

/// One run of the checks on one level.
struct Checker {
  const KernelTable& level;
  const KernelTable& twin;
  Random random;
  CheckReport report;

  void fail(std::string text) {
    if (report.failures.size() < kFailuresMax) report.failures.push_back(std::move(text));
  }
  /// `name` describes the kernel and the shape, from printf arguments; it is made only when needed.
  template <class... Args>
  void expect_same(std::span<const float> got, std::span<const float> want, const char* format, Args... args) {
    ++report.cases;
    for (size_t i = 0; i < want.size(); ++i) {
      if (same(got[i], want[i])) continue;
      char name[256];
      char text[400];
      std::snprintf(name, sizeof(name), format, args...);
      std::snprintf(text, sizeof(text), "%s: element %zu is %a, the reference has %a", name, i,
                    static_cast<double>(got[i]), static_cast<double>(want[i]));
      return fail(text);
    }
  }
  template <class... Args>
  void expect(bool condition, const char* format, Args... args) {
    ++report.cases;
    if (condition) return;
    char text[400];
    std::snprintf(text, sizeof(text), format, args...);
    fail(text);
  }
};

void check_elementwise(Checker& checker);
void check_exp(Checker& checker);
void check_linear(Checker& checker);
void check_attention(Checker& checker);
void check_tender(Checker& checker);

}  // namespace nibble::check
