#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

namespace nibble {

/// A fixed team of threads that run one body together (single program, multiple data): phases of the body are
/// separated by `barrier()`, and within a phase work is claimed in chunks: each thread has a range of its own, which it
/// knows beforehand, and helps the others when that is done, so that a thread that the operating system takes away
/// delays the others by one chunk only. Waiting spins for a bounded time, then sleeps on a futex.
/// Thread 0 is the caller of `run`; the others are the team's own. Floating-point state (round to nearest, no
/// flush-to-zero) is set on every thread. A run either waits for all threads (`run`), or begins with those that are
/// there (`run_with_entries`): where the team has every core, something else may have a thread's core just then.
class Team {
 public:
  /// @param threads ≥ 1, the caller included. @param spin whether waiting may spin at all (false inside a tight quota).
  /// @param cpus [threads] where each thread shall stay, or empty. The caller sees to itself: `pin_to_cpu`. Threads
  /// with places of their own leave these at once when a run ends: nothing else on the machine has a core for the time
  /// between runs.
  Team(size_t threads, bool spin, const std::vector<size_t>& cpus = {});
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  size_t size() const noexcept { return size_; }

  /// Keeps one of the team's own threads (≥ 1) on another logical CPU from now on.
  void pin(size_t thread, size_t cpu) noexcept;

  /// Runs body(thread) on every thread; returns when all have finished. Not reentrant.
  template <class Body>
  void run(Body&& body) noexcept {
    using Called = std::remove_reference_t<Body>;  // const or not, as the caller's
    start([](void* context, size_t thread, size_t) { (*static_cast<Called*>(context))(thread); },
          const_cast<void*>(static_cast<const void*>(std::addressof(body))), true);
  }

  /// Runs body(thread, position): on thread 0 from position 0 on, at once; on each other thread as soon as it is awake
  /// and at an entry, from there on, or not at all. The body must do the same whichever threads take part. Returns when
  /// those that do have finished. Not reentrant.
  template <class Body>
  void run_with_entries(Body&& body) noexcept {
    using Called = std::remove_reference_t<Body>;
    start([](void* context, size_t thread, size_t position) { (*static_cast<Called*>(context))(thread, position); },
          const_cast<void*>(static_cast<const void*>(std::addressof(body))), false);
  }

  /// Inside a body: waits until every thread that takes part has arrived; everything written before is then visible to
  /// all, and a new phase of claims begins.
  void barrier(size_t thread) noexcept;

  /// A barrier that begins a phase in which other threads may come in: they call the body with this position, and find
  /// claims that are left. Position 0 is such an entry, too.
  void entry(size_t thread, size_t position) noexcept;

  /// The first item of this thread's own range of a phase of `items`, as `claim` with this grain gives it out; may be
  /// ≥ `items`: the range is empty.
  size_t first_of(size_t thread, size_t items, size_t grain) const noexcept {
    return (items + grain - 1) / grain * thread / size_ * grain;
  }

  /// Inside a body, between two barriers (or a barrier and an end): up to `grain` items that nobody else got, the
  /// thread's own first, from front to back. Returns the first of them, or `items` when all are given out. At most one
  /// phase of claims between two barriers; every thread names the same `items` and `grain` ≥ 1.
  size_t claim(size_t thread, size_t items, size_t grain) noexcept {
    const size_t parity = phase_parity();
    for (size_t k = 0; k < size_; ++k) {
      const size_t owner = thread + k < size_ ? thread + k : thread + k - size_;
      std::atomic<size_t>& taken = counters_[owner].taken[parity];
      const size_t first = first_of(owner, items, grain);
      const size_t last = owner + 1 == size_ ? items : first_of(owner + 1, items, grain);
      // Looked at before it is counted up, so that a finished range costs others' caches nothing.
      if (k > 0 && first + taken.load(std::memory_order_relaxed) >= last) continue;
      const size_t item = first + taken.fetch_add(grain, std::memory_order_relaxed);
      if (item < last) return item;
    }
    return items;
  }

 private:
  struct State;
  /// Items given out of a thread's range. Two sets take turns: while one phase counts in one, each thread clears its
  /// own of the other, which nobody reads any more.
  struct alignas(64) Counter {
    std::atomic<size_t> taken[2]{};
  };
  size_t phase_parity() const noexcept;
  void start(void (*body)(void* context, size_t thread, size_t position), void* context, bool all) noexcept;
  void work(size_t thread) noexcept;
  bool take_part(size_t thread) noexcept;
  void arrive(size_t thread, uint64_t next_kind, size_t position) noexcept;

  std::unique_ptr<State> state_;
  std::unique_ptr<Counter[]> counters_;
  size_t size_ = 1;
};

/// Sets round-to-nearest-even without flush-to-zero or denormals-are-zero on the calling thread.
void set_float_environment() noexcept;

/// Lets threads that wake up interrupt the calling one at once, where the scheduler knows of slices (Linux 6.12): those
/// of other threads are shorter. Without that the event loop may wait some milliseconds for a core of a busy team.
void yield_to_wakers() noexcept;

/// The logical CPU that the calling thread runs on, SIZE_MAX where the system doesn't tell.
size_t current_cpu() noexcept;

/// Keeps the calling thread on one logical CPU; without effect where the system doesn't allow it.
void pin_to_cpu(size_t cpu) noexcept;

}  // namespace nibble
