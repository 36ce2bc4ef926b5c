#include "input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <vector>

#include "xxh64.h"

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

std::string InputFile::identity() const {
  // Times of files have the granularity of a timer tick, on some file systems of two seconds.
  constexpr time_t kSettledSeconds = 2;
  constexpr size_t kSamples = 16;
  constexpr size_t kSampleBytes = 4096;
  struct stat info;
  if (fstat(file_, &info) != 0 || static_cast<uint64_t>(info.st_size) != bytes_) return {};
#if defined(__APPLE__)
  const timespec modified = info.st_mtimespec, changed = info.st_ctimespec;
#else
  const timespec modified = info.st_mtim, changed = info.st_ctim;
#endif
  const time_t now = time(nullptr);
  if (std::max(modified.tv_sec, changed.tv_sec) > now - kSettledSeconds) return {};
  std::string text = "file " + std::to_string(bytes_) + " " + std::to_string(info.st_ino);
  for (const timespec& when : {modified, changed}) {
    text += " " + std::to_string(when.tv_sec) + "." + std::to_string(when.tv_nsec);
  }
  std::vector<uint8_t> sample(std::min(kSampleBytes, bytes_));
  for (size_t i = 0; i < kSamples; ++i) {
    if (!read((bytes_ - sample.size()) / (kSamples - 1) * i, sample).ok()) return {};
    text += " " + std::to_string(xxh64(sample.data(), sample.size()));
  }
  return text + "\n";
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
