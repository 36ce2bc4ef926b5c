// The team of threads behind every step of the engine.
//
// A step of a small model has a few hundred barriers, each a few microseconds apart, so waiting has to be cheap: a
// thread spins on one cache line that only the last arrival writes. But an edge box often has two cores for the team,
// the event loop and the clients together: a spinning thread then takes the very core that the thread it waits for
// needs, and inside a CPU quota it burns the quota. So spinning is bounded in time and ends in a futex sleep. The same
// wait serves workers between runs, which is why an idle team costs nothing.
#include "team.h"

#include <chrono>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <condition_variable>
#include <mutex>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace nibble {
namespace {

using Clock = std::chrono::steady_clock;

// Longest spin. At a barrier the others are usually a chunk of work away (microseconds); between runs the engine needs
// some tens of microseconds to prepare the next step. Longer waits mean that somebody lost the core: then sleep.
constexpr auto kSpin = std::chrono::microseconds(60);
// Inside a quota, or with more threads than CPUs: a few times a cache line's way between cores, no more.
constexpr auto kShortSpin = std::chrono::microseconds(2);
// The clock is read once per this many polls, so that a short wait never pays for it.
constexpr int kPollsPerClock = 32;

inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // `yield` does nothing on most cores; isb waits about as long as x86's pause
#endif
}

/// A 32-bit generation number that threads wait on.
class Gate {
 public:
  uint32_t value() const noexcept { return value_.load(std::memory_order_acquire); }

  /// Lets everyone pass who waits for the present value to change.
  void advance() noexcept {
    // Sequentially consistent with `sleepers_` below: either this thread sees the sleeper, or the sleeper (in the
    // futex call's own comparison) sees the new value.
#if defined(__linux__)
    value_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) != 0) {
      syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
    }
#else
    {
      std::lock_guard lock(mutex_);
      value_.fetch_add(1, std::memory_order_seq_cst);
    }
    condition_.notify_all();
#endif
  }

  /// Returns when the value is no longer `seen`; what was written before `advance` is then visible.
  void wait(uint32_t seen, Clock::duration spin) noexcept {
    if (spin_while(seen, spin)) return;
#if defined(__linux__)
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    while (value_.load(std::memory_order_acquire) == seen) {
      syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    }
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
#else
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [&] { return value() != seen; });
#endif
  }

 private:
  bool spin_while(uint32_t seen, Clock::duration spin) const noexcept {
    Clock::time_point end{};
    for (;;) {
      for (int poll = 0; poll < kPollsPerClock; ++poll) {
        if (value() != seen) return true;
        cpu_relax();
      }
      const Clock::time_point now = Clock::now();
      if (end == Clock::time_point{}) {
        end = now + spin;
      } else if (now >= end) {
        return false;
      }
    }
  }

  alignas(64) std::atomic<uint32_t> value_{0};
  static_assert(sizeof(std::atomic<uint32_t>) == 4 && std::atomic<uint32_t>::is_always_lock_free);
  // Not on the spinners' cache line: a thread that falls asleep must not disturb those that still spin.
  alignas(64) std::atomic<uint32_t> sleepers_{0};
#if !defined(__linux__)
  std::mutex mutex_;
  std::condition_variable condition_;
#endif
};

size_t usable_cpus() noexcept {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return static_cast<size_t>(CPU_COUNT(&set));
#endif
  return std::thread::hardware_concurrency();
}

/// Signals are the process's business: workers take none, so that handlers run on the threads that expect them.
class SignalsBlocked {
 public:
#if defined(__linux__)
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() {
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t before_;
#endif
};

}  // namespace

struct Team::State {
  Clock::duration spin{};
  std::vector<std::thread> workers;

  // Written by the caller of run() before `start` advances.
  void (*body)(void*, size_t) = nullptr;
  void* context = nullptr;
  bool closing = false;

  Gate start;
  Gate phase;
  alignas(64) std::atomic<uint32_t> arrived{0};
};

Team::Team(size_t threads, bool spin, const std::vector<size_t>& cpus) : state_(std::make_unique<State>()) {
  State& state = *state_;
  if (threads < 1) threads = 1;
  state.spin = spin && threads <= usable_cpus() ? Clock::duration(kSpin) : Clock::duration(kShortSpin);
  state.workers.reserve(threads - 1);
  counters_ = std::make_unique<Counter[]>(threads);
  const SignalsBlocked blocked;
  for (size_t thread = 1; thread < threads; ++thread) {
    try {
      const bool pinned = thread < cpus.size();
      const size_t cpu = pinned ? cpus[thread] : 0;
      state.workers.emplace_back([this, thread, pinned, cpu] {
        if (pinned) pin_to_cpu(cpu);
        yield_to_wakers();
#if defined(__linux__)
        pthread_setname_np(pthread_self(), "nibble-worker");
#endif
        set_float_environment();
        State& s = *state_;
        for (uint32_t seen = 0;; ++seen) {
          s.start.wait(seen, s.spin);
          if (s.closing) return;
          s.body(s.context, thread);
          barrier(thread);
        }
      });
    } catch (const std::system_error&) {
      break;  // no more threads to be had (a pids limit, say): a smaller team does the same work
    }
  }
  size_ = state.workers.size() + 1;
}

Team::~Team() {
  state_->closing = true;
  state_->start.advance();
  for (std::thread& worker : state_->workers) worker.join();
}

void Team::run(void (*body)(void* context, size_t thread), void* context) noexcept {
  State& state = *state_;
  set_float_environment();
  if (size_ > 1) {
    state.body = body;
    state.context = context;
    state.start.advance();
  }
  body(context, 0);
  barrier(0);
}

size_t Team::phase_parity() const noexcept {
  return state_->phase.value() & 1;  // cannot change before this thread has arrived at the next barrier
}

void Team::barrier(size_t thread) noexcept {
  State& state = *state_;
  const uint32_t seen = state.phase.value();
  counters_[thread].taken[(seen & 1) ^ 1].store(0, std::memory_order_relaxed);
  if (size_ == 1) {
    state.phase.advance();
  } else if (state.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    state.arrived.store(0, std::memory_order_relaxed);
    state.phase.advance();
  } else {
    state.phase.wait(seen, state.spin);
  }
}

void yield_to_wakers() noexcept {
#if defined(__linux__)
  // As in linux/sched/types.h, which old systems lack.
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;  // ns
  } attributes{};
  constexpr uint64_t kLongestSliceNs = 100'000'000;
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0) return;
  // Of a thread of the ordinary policy this is the slice; of others it isn't ours to change.
  if (attributes.policy != SCHED_OTHER) return;
  attributes.runtime = kLongestSliceNs;
  syscall(SYS_sched_setattr, 0, &attributes, 0);
#endif
}

void pin_to_cpu(size_t cpu) noexcept {
#if defined(__linux__)
  if (cpu >= CPU_SETSIZE) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);
#else
  static_cast<void>(cpu);
#endif
}

void set_float_environment() noexcept {
#if defined(__x86_64__)
  _mm_setcsr(0x1f80);  // all exceptions masked, round to nearest, no flush-to-zero, no denormals-are-zero
#elif defined(__aarch64__)
  asm volatile("msr fpcr, %0" ::"r"(uint64_t{0}));
#endif
}

}  // namespace nibble
