// What the process may use: an edge box in a container sees all CPUs of the host in /proc/cpuinfo, but its quota or
// mask may be two cores; a pool of the host's size then runs tens of times slower.
#include "topology.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace nibble {
namespace {

constexpr size_t kCpusMax = 8192;  // bounds what a malformed list can make us store

bool read_first_line(const std::string& path, std::string& line) {
  std::ifstream file(path);
  return static_cast<bool>(std::getline(file, line));
}

/// "0-3,8,10-11" → CPU numbers; false (and an empty set) if malformed.
bool parse_cpu_list(const std::string& text, std::set<size_t>& cpus) {
  cpus.clear();
  const char* at = text.c_str();
  while (*at != '\0' && *at != '\n') {
    char* end = nullptr;
    const unsigned long first = std::strtoul(at, &end, 10);
    if (end == at || first >= kCpusMax) return cpus.clear(), false;
    unsigned long last = first;
    if (*end == '-') {
      at = end + 1;
      last = std::strtoul(at, &end, 10);
      if (end == at || last < first || last >= kCpusMax) return cpus.clear(), false;
    }
    for (unsigned long cpu = first; cpu <= last; ++cpu) cpus.insert(cpu);
    at = *end == ',' ? end + 1 : end;
    if (*end != ',' && *end != '\0' && *end != '\n') return cpus.clear(), false;
  }
  return !cpus.empty();
}

/// The affinity mask, without CPUs that are offline (the mask may name them).
std::set<size_t> allowed_cpus(const std::string& root) {
  std::set<size_t> cpus;
  std::ifstream status(root + "proc/self/status");
  const std::string key = "Cpus_allowed_list:";
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(key)) continue;
    const size_t start = line.find_first_not_of(" \t", key.size());
    if (start != std::string::npos) parse_cpu_list(line.substr(start), cpus);
  }
  std::string line;
  std::set<size_t> online;
  if (read_first_line(root + "sys/devices/system/cpu/online", line) && parse_cpu_list(line, online)) {
    if (cpus.empty()) return online;
    std::set<size_t> both;
    std::set_intersection(cpus.begin(), cpus.end(), online.begin(), online.end(), std::inserter(both, both.end()));
    if (!both.empty()) return both;
  }
  return cpus;
}

/// The first CPU of each core. CPUs that share a core name the same siblings; without that file every CPU is a core.
std::vector<size_t> first_cpus(const std::string& root, const std::set<size_t>& cpus) {
  std::set<std::string> cores;
  std::vector<size_t> first;
  for (const size_t cpu : cpus) {
    const std::string folder = root + "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string core;
    std::string package;
    std::string siblings;
    if (read_first_line(folder + "core_cpus_list", siblings) ||
        read_first_line(folder + "thread_siblings_list", siblings)) {
      core = "siblings " + siblings;
    } else if (read_first_line(folder + "core_id", core) && read_first_line(folder + "physical_package_id", package)) {
      core = "core " + package + "/" + core;
    } else {
      core = "cpu " + std::to_string(cpu);
    }
    if (cores.insert(core).second) first.push_back(cpu);
  }
  return first;
}

/// Quota in cores of one cgroup folder; 0 = none (or unreadable).
double folder_quota(const std::string& folder, bool v2) {
  std::string quota;
  double period = 0;
  if (v2) {
    std::ifstream file(folder + "/cpu.max");
    if (!(file >> quota >> period)) return 0;
  } else {
    std::ifstream periods(folder + "/cpu.cfs_period_us");
    if (!read_first_line(folder + "/cpu.cfs_quota_us", quota) || !(periods >> period)) return 0;
  }
  char* end = nullptr;
  const double microseconds = std::strtod(quota.c_str(), &end);  // "max" and −1 mean none
  if (end == quota.c_str() || !(microseconds > 0) || !(period > 0)) return 0;
  return microseconds / period;
}

struct CgroupMount {
  std::string root;   // which cgroup is mounted …
  std::string point;  // … where
  bool v2;
};

/// Lines of mountinfo: id parent major:minor root mount-point options … - type source super-options.
std::vector<CgroupMount> cgroup_mounts(const std::string& root) {
  std::vector<CgroupMount> mounts;
  std::ifstream file(root + "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream head(line.substr(0, dash));
    std::istringstream tail(line.substr(dash + 3));
    std::string skip;
    std::string type;
    std::string source;
    std::string options;
    CgroupMount mount{};
    if (!(head >> skip >> skip >> skip >> mount.root >> mount.point) || !(tail >> type >> source)) continue;
    tail >> options;
    mount.v2 = type == "cgroup2";
    if (mount.v2 || (type == "cgroup" && ("," + options + ",").find(",cpu,") != std::string::npos)) {
      mounts.push_back(mount);
    }
  }
  if (mounts.empty()) {  // no mountinfo: the usual places
    mounts = {
        {"/", "/sys/fs/cgroup", true}, {"/", "/sys/fs/cgroup/cpu", false}, {"/", "/sys/fs/cgroup/cpu,cpuacct", false}};
  }
  return mounts;
}

/// This process's cgroup path of version 2, or of version 1's cpu controller; "" if it has none.
std::string cgroup_path(const std::string& root, bool v2) {
  std::ifstream file(root + "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool match = v2 ? line.starts_with("0::") : ("," + controllers + ",").find(",cpu,") != std::string::npos;
    if (match) return line.substr(second + 1);
  }
  return "";
}

double tighter(double a, double b) noexcept {
  if (a == 0) return b;
  return b == 0 ? a : std::min(a, b);
}

/// A quota of any ancestor binds; the tightest counts.
double cgroup_quota(const std::string& root) {
  double quota = 0;
  for (const CgroupMount& mount : cgroup_mounts(root)) {
    std::string path = cgroup_path(root, mount.v2);
    // Inside a container the path may be the host's while only the container's own folder is mounted.
    if (mount.root != "/" && (path == mount.root || path.starts_with(mount.root + "/"))) {
      path = path.substr(mount.root.size());
    }
    if (path.find("..") != std::string::npos) path.clear();
    const std::string point = root + mount.point.substr(mount.point.starts_with("/") ? 1 : 0);
    for (;;) {
      while (path.ends_with('/')) path.pop_back();
      quota = tighter(quota, folder_quota(point + path, mount.v2));
      if (path.empty()) break;
      path.resize(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
    }
  }
  return quota;
}

/// ARM's /proc/cpuinfo has numbers only; these are the server and edge cores one is likely to meet.
std::string arm_part(const std::string& part) {
  static constexpr struct {
    const char* part;
    const char* name;
  } kParts[] = {{"0xd03", "Cortex-A53"},  {"0xd05", "Cortex-A55"},  {"0xd08", "Cortex-A72"},  {"0xd0b", "Cortex-A76"},
                {"0xd0c", "Neoverse N1"}, {"0xd40", "Neoverse V1"}, {"0xd49", "Neoverse N2"}, {"0xd4f", "Neoverse V2"}};
  for (const auto& known : kParts) {
    if (part == known.part) return std::string("ARM ") + known.name;
  }
  return "ARM part " + part;
}

std::string read_brand(const std::string& root) {
  std::ifstream file(root + "proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    if (start == std::string::npos) continue;
    if (line.starts_with("model name")) return line.substr(start);
    if (line.starts_with("CPU part")) return arm_part(line.substr(start));
  }
  return "unknown CPU";
}

#if defined(__APPLE__)
Topology read_apple() {
  Topology topology{};
  char brand[128] = "unknown CPU";
  size_t size = sizeof(brand);
  sysctlbyname("machdep.cpu.brand_string", brand, &size, nullptr, 0);
  brand[sizeof(brand) - 1] = '\0';
  topology.brand = brand;
  int32_t cores = 0;
  size = sizeof(cores);
  sysctlbyname("hw.physicalcpu", &cores, &size, nullptr, 0);
  topology.logical_cpus = std::max(1u, std::thread::hardware_concurrency());
  topology.physical_cores = cores > 0 ? static_cast<size_t>(cores) : topology.logical_cpus;
  topology.default_threads = topology.physical_cores;
  return topology;
}
#endif

}  // namespace

Topology read_topology(const std::string& root_folder) {
  const std::string root = root_folder.ends_with('/') ? root_folder : root_folder + "/";
#if defined(__APPLE__)
  if (root == "/") return read_apple();
#endif
  Topology topology{};
  topology.brand = read_brand(root);
  std::set<size_t> cpus = allowed_cpus(root);
  const bool known = !cpus.empty();
  if (!known) {
    const size_t count = std::max(1u, std::thread::hardware_concurrency());
    for (size_t cpu = 0; cpu < count; ++cpu) cpus.insert(cpu);
  }
  topology.logical_cpus = cpus.size();
  topology.core_cpus = first_cpus(root, cpus);
  topology.physical_cores = topology.core_cpus.size();
  if (!known) topology.core_cpus.clear();
  topology.quota_cores = cgroup_quota(root);
  topology.default_threads = topology.physical_cores;
  if (topology.quota_cores > 0) {
    const double whole = std::min(topology.quota_cores, static_cast<double>(topology.physical_cores));
    topology.default_threads = std::max<size_t>(1, static_cast<size_t>(whole));
  }
  return topology;
}

}  // namespace nibble
