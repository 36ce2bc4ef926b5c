#include "pack_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "xxh64.h"

namespace nibble {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr size_t kDataAlignment = 4096;
constexpr char kMagic[17] = "nibble packed 1\n";

std::string hex(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

uint64_t hash(const std::string& text) {
  return xxh64(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

void append(std::string& text, uint64_t value) {
  text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

bool read_all(int file, uint8_t* out, size_t bytes, size_t offset) noexcept {
  while (bytes > 0) {
    const ssize_t count = pread(file, out, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    out += count;
    offset += static_cast<size_t>(count);
    bytes -= static_cast<size_t>(count);
  }
  return true;
}

bool write_all(int file, const void* data, size_t bytes) noexcept {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t count = ::write(file, from, bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    from += count;
    bytes -= static_cast<size_t>(count);
  }
  return true;
}

struct Descriptor {
  int file;
  ~Descriptor() {
    if (file >= 0) close(file);
  }
};

}  // namespace

PackFile::PackFile(std::string folder, std::string identity, size_t weight_bytes)
    : identity_(std::move(identity)), weight_bytes_(weight_bytes) {
  if (!folder.empty()) path_ = std::move(folder) + "/" + hex(hash(identity_)) + ".pack";
}

size_t PackFile::pieces() const noexcept {
  return (weight_bytes_ + kPieceBytes - 1) / kPieceBytes;
}

size_t PackFile::head_bytes() const noexcept {
  const size_t bytes = sizeof kMagic - 1 + 2 * sizeof(uint64_t) + identity_.size() + pieces() * sizeof(uint64_t);
  return (bytes + kDataAlignment - 1) / kDataAlignment * kDataAlignment;
}

std::string PackFile::head(const uint64_t* checksums) const {
  std::string head(kMagic, sizeof kMagic - 1);
  append(head, identity_.size());
  append(head, weight_bytes_);
  head += identity_;
  for (size_t i = 0; i < pieces(); ++i) append(head, checksums[i]);
  head.resize(head_bytes());
  return head;
}

namespace {

/** Whether nobody else could have written the file: checksums keep accidents out, not people. */
bool trusted(const struct stat& info) {
  return (info.st_uid == geteuid() || info.st_uid == 0) && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

}  // namespace

bool PackFile::read(uint8_t* out, Team& team) const {
  if (!enabled()) return false;
  const Descriptor opened{open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  if (opened.file < 0) return false;
  struct stat info;
  std::string found(head_bytes(), '\0');
  std::vector<uint64_t> checksums(pieces());
  std::atomic<bool> whole{fstat(opened.file, &info) == 0 && S_ISREG(info.st_mode) && trusted(info) &&
                          static_cast<uint64_t>(info.st_size) == head_bytes() + weight_bytes_ &&
                          read_all(opened.file, reinterpret_cast<uint8_t*>(found.data()), found.size(), 0)};
  if (whole) {
    const size_t start = sizeof kMagic - 1 + 2 * sizeof(uint64_t) + identity_.size();
    std::memcpy(checksums.data(), found.data() + start, checksums.size() * sizeof(uint64_t));
    whole = head(checksums.data()) == found;
  }
  const auto body = [&](size_t thread) noexcept {
    size_t i;
    while (whole.load(std::memory_order_relaxed) && (i = team.claim(thread, checksums.size(), 1)) < checksums.size()) {
      const size_t offset = i * kPieceBytes;
      const size_t bytes = std::min(kPieceBytes, weight_bytes_ - offset);
      if (!read_all(opened.file, out + offset, bytes, head_bytes() + offset) ||
          xxh64(out + offset, bytes) != checksums[i]) {
        whole.store(false, std::memory_order_relaxed);
      }
    }
  };
  if (whole) team.run(body);
  if (whole) {
    futimens(opened.file, nullptr);  // the least recently used go first; a read-only folder keeps its order
  } else {
    unlink(path_.c_str());
  }
  return whole;
}

Status PackFile::write(const uint8_t* weights, const std::atomic<bool>& stop) const {
  std::random_device random;
  const std::string temporary = path_ + "." + hex(uint64_t{random()} << 32 | random()) + ".tmp";
  const auto failure = [&](const std::string& why) {
    unlink(temporary.c_str());
    return Status::failure(ErrorCode::pack_not_stored, path_ + ": " + why);
  };
  std::vector<uint64_t> checksums(pieces());
  const Descriptor opened{
      open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR)};
  if (opened.file < 0) return failure(std::strerror(errno));
  const auto bytes_of = [&](size_t i) { return std::min(kPieceBytes, weight_bytes_ - i * kPieceBytes); };
  for (size_t i = 0; i < checksums.size() && !stop; ++i) checksums[i] = xxh64(weights + i * kPieceBytes, bytes_of(i));
  const std::string front = head(checksums.data());
  if (!write_all(opened.file, front.data(), front.size())) return failure(std::strerror(errno));
  for (size_t i = 0; i < checksums.size(); ++i) {
    if (stop) return failure("stopped");
    if (!write_all(opened.file, weights + i * kPieceBytes, bytes_of(i))) return failure(std::strerror(errno));
  }
  if (rename(temporary.c_str(), path_.c_str()) != 0) return failure(std::strerror(errno));
  return Status::success();
}

}  // namespace nibble
