#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace nibble {

/// Steps of all models of the process take turns, in the order in which they ask: two teams on the same cores would
/// wait for each other's threads at every barrier, which takes far longer than one after the other.
class Turn {
 public:
  /// Waits for those who asked before.
  Turn();
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  struct Line {
    std::mutex mutex;
    std::condition_variable moved;
    uint64_t next = 0;     // number that the next one to ask gets
    uint64_t serving = 0;  // whose turn it is
  };
  static Line& line() noexcept;
};

inline Turn::Line& Turn::line() noexcept {
  static Line only;
  return only;
}

inline Turn::Turn() {
  Line& all = line();
  std::unique_lock lock(all.mutex);
  const uint64_t mine = all.next++;
  all.moved.wait(lock, [&] { return all.serving == mine; });
}

inline Turn::~Turn() {
  Line& all = line();
  bool others = false;
  {
    const std::lock_guard lock(all.mutex);
    ++all.serving;
    others = all.serving != all.next;
  }
  if (others) all.moved.notify_all();
}

}  // namespace nibble
