#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "../status.h"

namespace nibble {

/// A file mapped read-only. The file must not shrink while it is mapped.
class MappedFile {
 public:
  MappedFile() = default;
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Fails with model_file_unreadable.
  Status open(const std::string& path);

  const uint8_t* data() const noexcept { return data_; }
  size_t bytes() const noexcept { return bytes_; }

 private:
  const uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace nibble
