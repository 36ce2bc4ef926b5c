#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace nibble {

struct Topology {
  std::string brand;              // of the CPU, as it calls itself
  size_t logical_cpus;            // in the affinity mask
  size_t physical_cores;          // among them
  std::vector<size_t> core_cpus;  // [physical_cores] one logical CPU of each; empty if unknown
  double quota_cores;      // cgroup CPU quota (v2 cpu.max, or v1 cpu.cfs_quota_us; the tightest ancestor); 0 = none
  size_t default_threads;  // max(1, min(physical_cores, floor(quota_cores)))
};

/// Reads affinity, /sys/devices/system/cpu, /proc/self/cgroup and the cgroup file systems.
/// `root` replaces "/" in tests.
Topology read_topology(const std::string& root = "/");

}  // namespace nibble
