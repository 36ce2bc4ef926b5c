#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace nibble {

/// A fixed team of threads that run one body together (single program, multiple data): phases of the body are
/// separated by `barrier()`, and within a phase work is claimed in chunks, so that a thread that the operating system
/// takes away delays the others by one chunk only. Waiting spins for a bounded time, then sleeps on a futex.
/// Thread 0 is the caller of `run`; the others are the team's own. Floating-point state (round to nearest, no
/// flush-to-zero) is set on every thread.
class Team {
 public:
  /// @param threads ≥ 1, the caller included. @param spin whether waiting may spin at all (false inside a tight quota).
  Team(size_t threads, bool spin);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  size_t size() const noexcept;

  /// Runs body(context, thread) on every thread; returns when all have finished. Not reentrant.
  void run(void (*body)(void* context, size_t thread), void* context) noexcept;
  template <class Body>
  void run(Body&& body) noexcept {
    using Called = std::remove_reference_t<Body>;  // const or not, as the caller's
    run([](void* context, size_t thread) { (*static_cast<Called*>(context))(thread); },
        const_cast<void*>(static_cast<const void*>(std::addressof(body))));
  }

  /// Inside a body: waits until every thread has arrived; everything written before is then visible to all, and
  /// `claim` starts at 0 again.
  void barrier() noexcept;

  /// Inside a body, between two barriers (or a barrier and an end): the next `grain` of the phase's items; returns
  /// the first index, which may be ≥ the number of items: then the phase is done for this thread. At most one phase of
  /// claims between two barriers.
  size_t claim(size_t grain) noexcept { return next_.fetch_add(grain, std::memory_order_relaxed); }

 private:
  struct State;
  std::unique_ptr<State> state_;
  alignas(64) std::atomic<size_t> next_{0};
};

/// Sets round-to-nearest-even without flush-to-zero or denormals-are-zero on the calling thread.
void set_float_environment() noexcept;

}  // namespace nibble
