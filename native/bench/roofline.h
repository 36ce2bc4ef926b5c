#pragma once
#include <cstddef>

#include "../kernels/isa.h"

namespace nibble {

struct RooflineResult {
  Isa isa;
  size_t threads;     // as given, or fewer if the system grants no more
  double read_gbs;    // DRAM read bandwidth, 10^9 bytes/s, all threads together; 0 if there was no memory to measure
  double int8_gmacs;  // 10^9 int8 multiply-accumulates/s, all threads together
  double fp32_gmacs;  // 10^9 f32 multiply-accumulates/s
};

/// The machine's limits as this process can reach them with `threads` threads at a level, each the best of several
/// passes: a limit measured too low would flatter every share that is stated of it. About `milliseconds` for each of
/// the three (at least 5 passes), and the time to touch the read buffer first: max(512 MB, 8 × last-level cache), less
/// on machines with little memory.
RooflineResult measure_roofline(Isa isa, size_t threads, double milliseconds);

/// Size of the largest cache, bytes; 32 MB where the system doesn't say.
size_t last_level_cache_bytes();

/// `wanted`, but at most a quarter of the memory that is free (to this process: its cgroup counts).
size_t affordable_bytes(size_t wanted);

}  // namespace nibble
