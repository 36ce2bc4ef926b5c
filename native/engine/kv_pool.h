#pragma once
#include <cstddef>
#include <cstdint>

#include "../kernels/kernel_table.h"
#include "architecture.h"
#include "pages.h"

namespace nibble {

/// The KV cache of one model: blocks of 16 tokens. In a block each (layer, KV head) is contiguous, K then V, in the
/// order of their formats, 64-byte aligned. Memory is reserved at once and touched when first used.
class KvPool {
 public:
  KvPool() = default;
  KvPool(const ArchitectureSpec& a, KvFormats formats, size_t blocks)
      : formats_(formats),
        key_bytes_(aligned(kv_key_bytes(formats.keys, a.head_dim))),
        head_bytes_(key_bytes_ + aligned(kv_value_bytes(formats.values, a.head_dim))),
        layer_bytes_(a.kv_heads * head_bytes_),
        block_bytes_(a.layers * layer_bytes_),
        blocks_(blocks),
        pages_(blocks * block_bytes_) {
    pages_.advise_huge();  // a head's part of a block is only a few kB: with small pages each one is a TLB miss
  }

  KvFormats formats() const noexcept { return formats_; }
  uint8_t* data() const noexcept { return pages_.data(); }
  size_t blocks() const noexcept { return blocks_; }
  size_t bytes() const noexcept { return blocks_ * block_bytes_; }
  size_t block_bytes() const noexcept { return block_bytes_; }
  size_t k_offset(size_t layer, size_t head) const noexcept { return layer * layer_bytes_ + head * head_bytes_; }
  size_t v_offset(size_t layer, size_t head) const noexcept { return k_offset(layer, head) + key_bytes_; }
  /// K and V of one token in all layers.
  size_t bytes_per_token() const noexcept { return block_bytes_ / kKvBlockTokens; }

 private:
  static constexpr size_t aligned(size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

  KvFormats formats_;
  size_t key_bytes_ = 0;
  size_t head_bytes_ = 0;
  size_t layer_bytes_ = 0;
  size_t block_bytes_ = 0;
  size_t blocks_ = 0;
  Pages pages_;
};

}  // namespace nibble
