#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "../status.h"

namespace nibble {

/// A file that is read in pieces. Not mapped: the process of a mapping dies by SIGBUS when the file is cut short
/// meanwhile (a model copied over itself) or its disk fails; a read reports it.
class InputFile {
 public:
  InputFile() = default;
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// Fails with model_file_unreadable.
  Status open(const std::string& path);

  /// Size when it was opened.
  size_t bytes() const noexcept { return bytes_; }

  /// Tells this content of the file from any other: size, inode, times of the last change (the one that can't be set
  /// among them), and hashes of parts of the content, for file systems whose times aren't to be relied on. Empty if the
  /// file was changed so recently that another change could bear the same time, or can't be read.
  std::string identity() const;

  /// Fills `out` with the bytes from `offset` on. Safe from several threads. Fails with model_file_unreadable.
  Status read(size_t offset, std::span<uint8_t> out) const;

 private:
  std::string path_;
  int file_ = -1;
  size_t bytes_ = 0;
};

}  // namespace nibble
