#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "../status.h"
#include "../threads/team.h"

namespace nibble {

/// Packed weights on disk, so that the next start needn't pack. A file holds what they depend on (`identity`), a
/// checksum per piece and the bytes as they lie in memory:
///   magic [16] · identity bytes u64 · weight bytes u64 · identity · checksums u64[pieces] · zeros up to 4096 · weights
/// Its name is the identity's hash. Nothing in it is believed: every size follows from the model, the identity is
/// compared byte by byte, and weights of any value are safe to compute with. docs/decisions/0018-pack-cache.md.
class PackFile {
 public:
  PackFile() = default;
  /// @param folder empty: no cache. @param weight_bytes > 0
  PackFile(std::string folder, std::string identity, size_t weight_bytes);

  bool enabled() const noexcept { return !path_.empty(); }

  /// Reads the weights into `out` [weight_bytes] with the team and marks the file as used. False if there is none;
  /// one that is damaged or of somebody else's making is removed. `out` then holds anything.
  bool read(uint8_t* out, Team& team) const;

  /// Writes the file under another name, then renames it: readers see a whole one or none. Not synced: what a power
  /// failure leaves is found by the checksums. Fails with pack_not_stored (also when `stop` became true).
  Status write(const uint8_t* weights, const std::atomic<bool>& stop) const;

 private:
  std::string head(const uint64_t* checksums) const;
  size_t pieces() const noexcept;
  size_t head_bytes() const noexcept;

  std::string path_;
  std::string identity_;
  size_t weight_bytes_ = 0;
};

}  // namespace nibble
