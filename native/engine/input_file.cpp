#include "input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace nibble {
namespace {

Status unreadable(const std::string& path, const std::string& why) {
  return Status::failure(ErrorCode::model_file_unreadable, path + ": " + why);
}

}  // namespace

InputFile::~InputFile() {
  if (file_ >= 0) close(file_);
}

Status InputFile::open(const std::string& path) {
  path_ = path;
  file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must not wait for its writer
  if (file_ < 0) return unreadable(path, std::strerror(errno));
  struct stat info;
  if (fstat(file_, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= 0) {
    return unreadable(path, "not a regular file with content");
  }
  bytes_ = static_cast<size_t>(info.st_size);
#if defined(POSIX_FADV_SEQUENTIAL)
  posix_fadvise(file_, 0, 0, POSIX_FADV_SEQUENTIAL);
#endif
  return Status::success();
}

Status InputFile::read(size_t offset, std::span<uint8_t> out) const {
  while (!out.empty()) {
    const ssize_t count = pread(file_, out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return unreadable(path_, std::strerror(errno));
    if (count == 0) return unreadable(path_, "it became shorter while being read");
    offset += static_cast<size_t>(count);
    out = out.subspan(static_cast<size_t>(count));
  }
  return Status::success();
}

}  // namespace nibble
