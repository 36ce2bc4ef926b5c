#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace nibble {

/// Anonymous zeroed memory straight from the system, resident only once touched. Empty if there is none.
class Pages {
 public:
  Pages() = default;
  explicit Pages(size_t bytes) {
    if (bytes == 0) return;
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return;
    data_ = static_cast<uint8_t*>(data);
    bytes_ = bytes;
  }
  ~Pages() {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
  Pages(Pages&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  /// Asks for huge pages: fewer TLB misses where weights are swept once a token.
  void advise_huge() const noexcept {
#if defined(MADV_HUGEPAGE)
    if (data_ != nullptr) madvise(data_, bytes_, MADV_HUGEPAGE);
#endif
  }

  uint8_t* data() const noexcept {
    return data_;
  }
  size_t bytes() const noexcept {
    return bytes_;
  }

 private:
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace nibble
