#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../kernels/kernel_table.h"
#include "architecture.h"
#include "pages.h"

namespace nibble {

/// The KV cache of one model: blocks of 16 tokens, in groups of 16 blocks. A group holds [layer][KV head]: the keys of
/// its blocks, then their values; each block's part is 64-byte aligned. Memory is reserved at once and touched when
/// first used.
class KvPool {
 public:
  KvPool() = default;
  /// @param rotates false: what 4 bits want rotated isn't, to show what that gives
  /// @param values_are_rotated by the weights that make them
  KvPool(const ArchitectureSpec& a, KvFormats formats, bool rotates, bool values_are_rotated, size_t blocks)
      : formats_(formats),
        rotates_(rotates),
        values_are_rotated_(values_are_rotated),
        key_bytes_(aligned(kv_key_bytes(formats.keys, a.head_dim))),
        value_bytes_(aligned(kv_value_bytes(formats.values, a.head_dim))),
        kv_heads_(a.kv_heads),
        parts_(a.layers * a.kv_heads),
        blocks_(blocks),
        pages_((blocks + kKvGroupBlocks - 1) / kKvGroupBlocks * group_bytes()) {
    pages_.advise_huge();  // a head's part of a group is only some kB: with small pages each one is a TLB miss
  }

  KvFormats formats() const noexcept { return formats_; }
  bool rotates_keys() const noexcept { return rotates_ && kv_rotates(formats_.keys); }
  bool rotates_values() const noexcept { return rotates_ && !values_are_rotated_ && kv_rotates(formats_.values); }
  const uint8_t* data() const noexcept { return pages_.data(); }
  size_t blocks() const noexcept { return blocks_; }
  /// Of the blocks; memory is reserved for whole groups.
  size_t bytes() const noexcept { return blocks_ * block_bytes(); }
  size_t block_bytes() const noexcept { return parts_ * (key_bytes_ + value_bytes_); }
  /// K and V of one token in all layers.
  size_t bytes_per_token() const noexcept { return block_bytes() / kKvBlockTokens; }

  KvView view(size_t layer, size_t head) const noexcept {
    const uint8_t* keys = pages_.data() + part_at(layer, head);
    return {keys, keys + kKvGroupBlocks * key_bytes_, key_bytes_, value_bytes_, group_bytes()};
  }
  uint8_t* keys(size_t layer, size_t head, int32_t block) const noexcept {
    return pages_.data() + part_at(layer, head) + kv_offset(key_bytes_, group_bytes(), block);
  }
  uint8_t* values(size_t layer, size_t head, int32_t block) const noexcept {
    return pages_.data() + part_at(layer, head) + kKvGroupBlocks * key_bytes_ +
           kv_offset(value_bytes_, group_bytes(), block);
  }

  /// A block's content, [layer][KV head]: its keys, then its values. `bytes` [block_bytes()].
  void read_block(int32_t block, uint8_t* bytes) const noexcept {
    each_part(block, [&](uint8_t* part, size_t count) {
      std::memcpy(bytes, part, count);
      bytes += count;
    });
  }
  /// Any content is safe to compute with; what isn't finite fails the sequences that read it.
  void write_block(int32_t block, const uint8_t* bytes) noexcept {
    each_part(block, [&](uint8_t* part, size_t count) {
      std::memcpy(part, bytes, count);
      bytes += count;
    });
  }

 private:
  template <class Visit>
  void each_part(int32_t block, const Visit& visit) const noexcept {
    for (size_t part = 0; part < parts_; ++part) {
      visit(keys(part / kv_heads_, part % kv_heads_, block), key_bytes_);
      visit(values(part / kv_heads_, part % kv_heads_, block), value_bytes_);
    }
  }
  static constexpr size_t aligned(size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }
  size_t group_bytes() const noexcept { return kKvGroupBlocks * block_bytes(); }
  size_t part_at(size_t layer, size_t head) const noexcept {
    return (layer * kv_heads_ + head) * kKvGroupBlocks * (key_bytes_ + value_bytes_);
  }

  KvFormats formats_;
  bool rotates_ = true;
  bool values_are_rotated_ = false;
  size_t key_bytes_ = 0;
  size_t value_bytes_ = 0;
  size_t kv_heads_ = 0;
  size_t parts_ = 0;
  size_t blocks_ = 0;
  Pages pages_;
};

}  // namespace nibble
