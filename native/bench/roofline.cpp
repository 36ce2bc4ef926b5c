#include "roofline.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>

#include "../threads/team.h"
#include "aligned_buffer.h"
#include "rates.h"

namespace nibble {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) noexcept {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Seconds of one pass: from when all threads stand ready until the last has finished `work(thread)`.
template <class Work>
double time_pass(Team& team, Work&& work) {
  double seconds = 0;
  auto body = [&](size_t thread) {
    team.barrier(thread);
    const Clock::time_point start = Clock::now();
    work(thread);
    team.barrier(thread);
    if (thread == 0) seconds = seconds_since(start);
  };
  team.run(body);
  return seconds;
}

/// Best rate (`units` per pass, in 10^9/s) of at least 5 passes that together take about `milliseconds`.
template <class Work>
double best_rate(Team& team, double units, double milliseconds, Work&& work) {
  double best = 0;
  const Clock::time_point start = Clock::now();
  for (size_t pass = 0; pass < 5 || seconds_since(start) * 1e3 < milliseconds; ++pass) {
    const double seconds = time_pass(team, work);
    if (seconds > 0) best = std::max(best, units / seconds * 1e-9);
  }
  return best;
}

/// Passes of about a millisecond: short enough that some are never interrupted, long enough that barriers don't count.
double measure_loop(Team& team, void (*loop)(size_t) noexcept, size_t macs, double milliseconds) {
  size_t steps = 1000;
  for (;;) {
    const double seconds = time_pass(team, [&](size_t) { loop(steps); });
    if (seconds > 0.5e-3 || steps > (size_t{1} << 40)) break;
    steps *= 2;
  }
  const double units = static_cast<double>(steps) * static_cast<double>(macs) * static_cast<double>(team.size());
  return best_rate(team, units, milliseconds, [&](size_t) { loop(steps); });
}

double measure_read(Team& team, const RateLoops& loops, double milliseconds) {
  constexpr size_t kUnit = 8 * 256;  // what `read` asks for
  const size_t wanted = affordable_bytes(std::max(size_t{512} << 20, 8 * last_level_cache_bytes()));
  const size_t share = wanted / team.size() / 4096 * 4096 / kUnit * kUnit;
  const AlignedBuffer buffer(share * team.size());
  if (buffer.data() == nullptr || share == 0) return 0;
  // Each thread touches its own share first: memory comes from its node, and no page is the shared page of zeros.
  time_pass(team, [&](size_t thread) { std::memset(buffer.data() + thread * share, 1, share); });
  double best = 0;
  for (const size_t streams : {size_t{1}, size_t{2}, size_t{4}, size_t{8}}) {
    const double rate = best_rate(team, static_cast<double>(share * team.size()), milliseconds / 4,
                                  [&](size_t thread) { loops.read(buffer.data() + thread * share, share, streams); });
    best = std::max(best, rate);
  }
  return best;
}

size_t read_number(const std::string& path) {
  std::ifstream file(path);
  size_t value = 0;
  return file >> value ? value : 0;
}

}  // namespace

size_t last_level_cache_bytes() {
  size_t largest = 0;
  for (int index = 0; index < 8; ++index) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
    size_t value = 0;
    char unit = 0;
    if (!(file >> value)) continue;
    file >> unit;
    largest = std::max(largest, value * (unit == 'K' ? size_t{1} << 10 : unit == 'M' ? size_t{1} << 20 : 1));
  }
  return largest != 0 ? largest : size_t{32} << 20;
}

size_t affordable_bytes(size_t wanted) {
  size_t free_bytes = SIZE_MAX;
  std::ifstream file("/proc/meminfo");
  for (std::string key; file >> key;) {
    size_t kilobytes = 0;
    if (key == "MemAvailable:" && file >> kilobytes) free_bytes = kilobytes << 10;
    std::getline(file, key);
  }
  for (const char* limit : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const size_t bytes = read_number(limit);  // "max" reads as 0
    if (bytes != 0) free_bytes = std::min(free_bytes, bytes);
  }
  return std::min(wanted, free_bytes / 4);
}

RooflineResult measure_roofline(Isa isa, size_t threads, double milliseconds) {
  Team team(threads, true);
  const RateLoops& loops = rate_loops(isa);
  RooflineResult result{isa, team.size(), 0, 0, 0};
  result.int8_gmacs = measure_loop(team, loops.int8, loops.int8_macs, milliseconds);
  result.fp32_gmacs = measure_loop(team, loops.fp32, loops.fp32_macs, milliseconds);
  result.read_gbs = measure_read(team, loops, milliseconds);
  return result;
}

}  // namespace nibble
