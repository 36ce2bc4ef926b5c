#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace nibble {

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), bytes_);
}

Status MappedFile::open(const std::string& path) {
  const auto unreadable = [&] {
    return Status::failure(ErrorCode::model_file_unreadable, path + ": " + std::strerror(errno));
  };
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return unreadable();
  struct stat info;
  if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= 0) {
    close(file);
    return Status::failure(ErrorCode::model_file_unreadable, path + ": not a regular file with content");
  }
  void* data = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (data == MAP_FAILED) return unreadable();
  data_ = static_cast<const uint8_t*>(data);
  bytes_ = static_cast<size_t>(info.st_size);
  madvise(data, bytes_, MADV_SEQUENTIAL);
  return Status::success();
}

}  // namespace nibble
