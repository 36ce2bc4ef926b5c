#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "../threads/topology.h"
#include "check_team.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

/// A made-up root folder, removed at the end.
class FakeRoot {
 public:
  FakeRoot() {
    std::string name = (fs::temp_directory_path() / "nibble-topology-XXXXXX").string();
    path_ = mkdtemp(name.data()) == nullptr ? "" : name;
  }
  ~FakeRoot() {
    if (!path_.empty()) fs::remove_all(path_);
  }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  FakeRoot& file(const std::string& path, const std::string& text) {
    fs::create_directories((path_ / path).parent_path());
    std::ofstream(path_ / path) << text;
    return *this;
  }
  /// CPUs 0…count−1 with `smt` of them per core, numbered as Linux does: 0 and count/smt are siblings.
  FakeRoot& cpus(size_t count, size_t smt, const std::string& allowed) {
    file("proc/self/status", "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t" + allowed + "\n");
    file("proc/cpuinfo", "processor\t: 0\nmodel name\t: Test CPU 9000\n");
    file("sys/devices/system/cpu/online", "0-" + std::to_string(count - 1) + "\n");
    for (size_t cpu = 0; cpu < count; ++cpu) {
      std::string siblings;
      for (size_t i = cpu % (count / smt); i < count; i += count / smt)
        siblings += (siblings.empty() ? "" : ",") + std::to_string(i);
      file("sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list", siblings + "\n");
    }
    return *this;
  }
  Topology read() const { return read_topology(path_.string()); }

 private:
  fs::path path_;
};

constexpr const char* kMountV2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kMountV1 =
    "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

struct Expected {
  size_t logical, physical;
  double quota;
  size_t threads;
};

void expect(const char* name, const FakeRoot& root, Expected want, std::vector<std::string>& failures) {
  const Topology got = root.read();
  if (got.logical_cpus == want.logical && got.physical_cores == want.physical &&
      std::fabs(got.quota_cores - want.quota) < 1e-9 && got.default_threads == want.threads) {
    return;
  }
  failures.push_back(std::string("topology, ") + name + ": " + std::to_string(got.logical_cpus) + " logical, " +
                     std::to_string(got.physical_cores) + " cores, quota " + std::to_string(got.quota_cores) + ", " +
                     std::to_string(got.default_threads) + " threads");
}

void check_cpus(std::vector<std::string>& failures) {
  FakeRoot plain;
  expect("8 CPUs, SMT 2", plain.cpus(8, 2, "0-7"), {8, 4, 0, 4}, failures);
  if (plain.read().brand != "Test CPU 9000") failures.push_back("topology: wrong brand " + plain.read().brand);
  FakeRoot siblings;
  expect("a mask of two siblings is one core", siblings.cpus(8, 2, "1,5"), {2, 1, 0, 1}, failures);
  FakeRoot mask;
  expect("a mask with ranges", mask.cpus(16, 2, "0-2,8,15"), {5, 4, 0, 4}, failures);
  if (mask.read().core_cpus != std::vector<size_t>{0, 1, 2, 15}) {  // 8 is the sibling of 0
    failures.push_back("topology: wrong CPUs to stand for the cores");
  }
  FakeRoot offline;
  expect("a mask that names offline CPUs", offline.cpus(2, 1, "0-127"), {2, 2, 0, 2}, failures);
  FakeRoot malformed;
  expect("a malformed mask falls back to the online CPUs", malformed.cpus(4, 1, "7-3,x"), {4, 4, 0, 4}, failures);
  FakeRoot packages;
  packages.file("proc/self/status", "Cpus_allowed_list:\t0-3\n");
  packages.file("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n");
  for (int cpu = 0; cpu < 4; ++cpu) {
    const std::string folder = "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    packages.file(folder + "core_id", std::to_string(cpu / 2 == 0 ? cpu : 0) + "\n");
    packages.file(folder + "physical_package_id", std::to_string(cpu / 2) + "\n");
  }
  expect("core ids are per package", packages, {4, 3, 0, 3}, failures);
  if (packages.read().brand != "ARM Neoverse N1")
    failures.push_back("topology: wrong ARM brand " + packages.read().brand);
}

void check_v2(std::vector<std::string>& failures) {
  FakeRoot own;
  own.cpus(8, 1, "0-7").file("proc/self/mountinfo", kMountV2).file("proc/self/cgroup", "0::/a/b\n");
  own.file("sys/fs/cgroup/a/b/cpu.max", "250000 100000\n");
  expect("v2 quota", own, {8, 8, 2.5, 2}, failures);
  own.file("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  expect("v2, the parent is tighter", own, {8, 8, 1.5, 1}, failures);
  own.file("sys/fs/cgroup/a/cpu.max", "max 100000\n");
  expect("v2, the parent has none", own, {8, 8, 2.5, 2}, failures);
  own.file("sys/fs/cgroup/a/b/cpu.max", "20000 100000\n");
  expect("v2, less than a core", own, {8, 8, 0.2, 1}, failures);
  own.file("sys/fs/cgroup/a/b/cpu.max", "6400000 100000\n");
  expect("v2, more than there are cores", own, {8, 8, 64, 8}, failures);
  own.file("sys/fs/cgroup/a/b/cpu.max", "100000 0\n");
  expect("v2, a period of zero", own, {8, 8, 0, 8}, failures);

  FakeRoot container;  // own namespace: the container's folder is the root of the mount
  container.cpus(8, 1, "0-7").file("proc/self/cgroup", "0::/\n").file("sys/fs/cgroup/cpu.max", "300000 100000\n");
  container.file("proc/self/mountinfo", kMountV2);
  expect("v2 in a container's own namespace", container, {8, 8, 3, 3}, failures);

  FakeRoot bound;  // the host's path in /proc/self/cgroup, but only a part of the tree mounted
  bound.cpus(8, 1, "0-7").file("proc/self/cgroup", "0::/docker/c1/inner\n");
  bound.file("proc/self/mountinfo", "30 23 0:26 /docker/c1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
  bound.file("sys/fs/cgroup/inner/cpu.max", "max 100000\n").file("sys/fs/cgroup/cpu.max", "400000 200000\n");
  expect("v2, a bound subtree", bound, {8, 8, 2, 2}, failures);
}

void check_v1(std::vector<std::string>& failures) {
  FakeRoot own;
  own.cpus(8, 1, "0-7").file("proc/self/mountinfo", kMountV1);
  own.file("proc/self/cgroup", "9:memory:/elsewhere\n4:cpu,cpuacct:/x/y\n");
  own.file("sys/fs/cgroup/cpu,cpuacct/x/y/cpu.cfs_quota_us", "350000\n");
  own.file("sys/fs/cgroup/cpu,cpuacct/x/y/cpu.cfs_period_us", "100000\n");
  own.file("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
  own.file("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
  expect("v1 quota", own, {8, 8, 3.5, 3}, failures);
  own.file("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "200000\n");
  expect("v1, the parent is tighter", own, {8, 8, 2, 2}, failures);
  own.file("proc/self/mountinfo", std::string(kMountV1) + kMountV2)
      .file("proc/self/cgroup", "4:cpu,cpuacct:/x/y\n0::/z\n");
  own.file("sys/fs/cgroup/z/cpu.max", "100000 100000\n");
  expect("v1 and v2 together", own, {8, 8, 1, 1}, failures);

  FakeRoot hostile;
  hostile.cpus(4, 1, "0-3").file("proc/self/mountinfo", "30 - \n - cgroup2\nx\n" + std::string(kMountV2));
  hostile.file("proc/self/cgroup", "0\n:::\n0::/../../a\n").file("sys/fs/cgroup/cpu.max", "garbage\n");
  expect("malformed files", hostile, {4, 4, 0, 4}, failures);
}

}  // namespace

std::vector<std::string> check_topology() {
  std::vector<std::string> failures;
  check_cpus(failures);
  check_v2(failures);
  check_v1(failures);
  const Topology host = read_topology();
  if (host.default_threads < 1 || host.physical_cores < 1 || host.physical_cores > host.logical_cpus) {
    failures.push_back("topology: this host's makes no sense");
  }
  return failures;
}

}  // namespace nibble
