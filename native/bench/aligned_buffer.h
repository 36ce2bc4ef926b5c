#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nibble {

/// Uninitialized memory on a 2 MB boundary, on huge pages if the system gives them; empty when there is none.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t bytes) {
    constexpr size_t kHuge = size_t{2} << 20;
    const size_t rounded = (bytes + kHuge - 1) / kHuge * kHuge;
    if (bytes == 0 || rounded < bytes) return;
    data_.reset(static_cast<uint8_t*>(std::aligned_alloc(kHuge, rounded)));
    if (!data_) return;
    bytes_ = bytes;
#if defined(__linux__)
    madvise(data_.get(), rounded, MADV_HUGEPAGE);
#endif
  }

  uint8_t* data() const noexcept {
    return data_.get();
  }
  size_t bytes() const noexcept {
    return bytes_;
  }

 private:
  struct Free {
    void operator()(uint8_t* data) const noexcept { std::free(data); }
  };
  std::unique_ptr<uint8_t, Free> data_;
  size_t bytes_ = 0;
};

}  // namespace nibble
