// The team of threads behind every step of the engine.
//
// A step of a small model has a few hundred barriers, each a few microseconds apart, so waiting has to be cheap: a
// thread spins on one cache line that only the last arrival writes. But an edge box often has two cores for the team,
// the event loop and the clients together: a spinning thread then takes the very core that the thread it waits for
// needs, and inside a CPU quota it burns the quota. So spinning is bounded in time and ends in a futex sleep. The same
// wait serves workers between runs, which is why an idle team costs nothing.
//
// Who takes part in a run, and in which phase it is, is one word, the crew: a thread comes in by counting itself into a
// phase that hasn't ended, and from then on every barrier waits for it. So a run never waits for a thread that isn't
// there, and never ends under one that is.
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

// The crew: how many have arrived at the next barrier, how many take part, what others may do, and the phase's number.
constexpr uint64_t kOneArrived = 1;
constexpr uint64_t kOneMember = uint64_t{1} << 16;
constexpr uint64_t kKindShift = 32;
constexpr uint64_t kKindMask = uint64_t{3} << kKindShift;
constexpr uint64_t kOver = uint64_t{0} << kKindShift;  // nothing runs
constexpr uint64_t kAll = uint64_t{1} << kKindShift;   // every thread takes part from the beginning
constexpr uint64_t kShut = uint64_t{2} << kKindShift;  // nobody can come in during this phase
constexpr uint64_t kOpen = uint64_t{3} << kKindShift;
constexpr uint64_t kPhaseShift = 34;

constexpr uint64_t arrived_of(uint64_t crew) noexcept {
  return crew & 0xffff;
}
constexpr uint64_t members_of(uint64_t crew) noexcept {
  return crew >> 16 & 0xffff;
}
constexpr uint64_t kind_of(uint64_t crew) noexcept {
  return crew & kKindMask;
}
constexpr bool is_phase(uint64_t crew, uint32_t phase) noexcept {
  return crew >> kPhaseShift == (uint64_t{phase} << kPhaseShift) >> kPhaseShift;
}

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
  /// Between runs.
  Clock::duration idle_spin{};
  std::vector<std::thread> workers;

  // Written by thread 0 before the crew says that a run has begun.
  void (*body)(void*, size_t, size_t) = nullptr;
  void* context = nullptr;
  std::atomic<bool> closing = false;

  Gate start;
  Gate phase;
  alignas(64) std::atomic<uint64_t> crew{kOver};
  /// Where those begin who come in during the phase.
  std::atomic<size_t> position{0};
};

Team::Team(size_t threads, bool spin, const std::vector<size_t>& cpus) : state_(std::make_unique<State>()) {
  State& state = *state_;
  if (threads < 1) threads = 1;
  state.spin = spin && threads <= usable_cpus() ? Clock::duration(kSpin) : Clock::duration(kShortSpin);
  state.idle_spin = cpus.empty() ? state.spin : Clock::duration(kShortSpin);
  state.workers.reserve(threads - 1);
  counters_ = std::make_unique<Counter[]>(threads);
  const SignalsBlocked blocked;
  for (size_t thread = 1; thread < threads; ++thread) {
    try {
      const bool pinned = thread < cpus.size();
      const size_t cpu = pinned ? cpus[thread] : 0;
      state.workers.emplace_back([this, thread, pinned, cpu] {
        if (pinned) pin_to_cpu(cpu);
        work(thread);
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

void Team::work(size_t thread) noexcept {
  yield_to_wakers();
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "nibble-worker");
#endif
  set_float_environment();
  State& state = *state_;
  for (;;) {
    const uint32_t seen = state.start.value();
    if (state.closing) return;
    if (!take_part(thread)) state.start.wait(seen, state.idle_spin);
  }
}

/// Returns whether it has; false when nothing runs.
bool Team::take_part(size_t thread) noexcept {
  State& state = *state_;
  for (;;) {
    const uint32_t phase = state.phase.value();
    uint64_t crew = state.crew.load(std::memory_order_acquire);
    const uint64_t kind = kind_of(crew);
    if (kind == kOver) return false;
    size_t position = 0;
    if (kind != kAll) {
      const bool can_enter = kind == kOpen && arrived_of(crew) < members_of(crew) && is_phase(crew, phase);
      position = state.position.load(std::memory_order_relaxed);  // of this phase, if the crew is still the same
      if (!can_enter || !state.crew.compare_exchange_strong(crew, crew + kOneMember, std::memory_order_acq_rel)) {
        if (!can_enter) state.phase.wait(phase, state.spin);
        continue;
      }
    }
    state.body(state.context, thread, position);
    arrive(thread, kOver, 0);
    return true;
  }
}

void Team::start(void (*body)(void* context, size_t thread, size_t position), void* context, bool all) noexcept {
  State& state = *state_;
  set_float_environment();
  state.body = body;
  state.context = context;
  state.position.store(0, std::memory_order_relaxed);
  const uint64_t phase = uint64_t{state.phase.value()} << kPhaseShift;
  state.crew.store(phase | (all ? kAll | size_ * kOneMember : kOpen | kOneMember), std::memory_order_release);
  if (size_ > 1) state.start.advance();
  body(context, 0, 0);
  arrive(0, kOver, 0);
}

size_t Team::phase_parity() const noexcept {
  return state_->phase.value() & 1;  // cannot change before this thread has arrived at the next barrier
}

void Team::barrier(size_t thread) noexcept {
  arrive(thread, kShut, 0);
}

void Team::entry(size_t thread, size_t position) noexcept {
  arrive(thread, kOpen, position);
}

/// The last one to arrive begins the next phase, which is of this kind unless everybody takes part anyway.
void Team::arrive(size_t thread, uint64_t next_kind, size_t position) noexcept {
  State& state = *state_;
  const uint32_t seen = state.phase.value();
  const size_t next_parity = (seen & 1) ^ 1;
  counters_[thread].taken[next_parity].store(0, std::memory_order_relaxed);
  if (thread == 0 && members_of(state.crew.load(std::memory_order_relaxed)) < size_) {
    for (size_t i = 1; i < size_; ++i) counters_[i].taken[next_parity].store(0, std::memory_order_relaxed);
  }
  const uint64_t crew = state.crew.fetch_add(kOneArrived, std::memory_order_acq_rel);
  if (arrived_of(crew) + 1 < members_of(crew)) return state.phase.wait(seen, state.spin);
  const uint64_t kind = next_kind != kOver && kind_of(crew) == kAll ? kAll : next_kind;
  const uint64_t phase = (uint64_t{seen} + 1) << kPhaseShift;
  state.position.store(position, std::memory_order_relaxed);
  state.crew.store(phase | kind | members_of(crew) * kOneMember, std::memory_order_release);
  state.phase.advance();
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

size_t current_cpu() noexcept {
#if defined(__linux__)
  const int cpu = sched_getcpu();
  if (cpu >= 0) return static_cast<size_t>(cpu);
#endif
  return SIZE_MAX;
}

#if defined(__linux__)
namespace {

void pin_thread(pthread_t thread, size_t cpu) noexcept {
  if (cpu >= CPU_SETSIZE) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread, sizeof(set), &set);
}

}  // namespace

void pin_to_cpu(size_t cpu) noexcept {
  pin_thread(pthread_self(), cpu);
}

void Team::pin(size_t thread, size_t cpu) noexcept {
  if (thread >= 1 && thread < size_) pin_thread(state_->workers[thread - 1].native_handle(), cpu);
}
#else
void pin_to_cpu(size_t) noexcept {}

void Team::pin(size_t, size_t) noexcept {}
#endif

void set_float_environment() noexcept {
#if defined(__x86_64__)
  _mm_setcsr(0x1f80);  // all exceptions masked, round to nearest, no flush-to-zero, no denormals-are-zero
#elif defined(__aarch64__)
  asm volatile("msr fpcr, %0" ::"r"(uint64_t{0}));
#endif
}

}  // namespace nibble
