// Measures linear kernels as the engine uses them: row tiles claimed by a team of threads, a barrier per product.
// A decode step reads every weight once, from DRAM; so a gemv walks over copies that together exceed the last-level
// cache several times. A prefill step's gemm is bound by arithmetic and is measured on one copy.
#include "kernel_bench.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "../formats/a8.h"
#include "../formats/f16.h"
#include "../kernels/kernel_table.h"
#include "../threads/team.h"
#include "aligned_buffer.h"
#include "roofline.h"

namespace nibble {
namespace {

using Clock = std::chrono::steady_clock;

enum class Reads : uint8_t { floats, codes, tables };

struct Family {
  const char* name;
  WeightFormat format;
  Reads reads;
  int32_t levels = 127;  // of activations; kTableLevels of bit planes
};

constexpr Family kFamilies[] = {
    {"f32", WeightFormat::f32, Reads::floats},
    {"f16", WeightFormat::f16, Reads::floats},
    {"bf16", WeightFormat::bf16, Reads::floats},
    {"w4a8", WeightFormat::w4g32, Reads::codes},
    {"w4a8-affine", WeightFormat::w4g32a, Reads::codes},
    {"w4a8-affine32", WeightFormat::w4g32a32, Reads::codes},
    {"w8a8", WeightFormat::w8g32, Reads::codes},
    {"w8a8-affine", WeightFormat::w8g32a, Reads::codes},
    {"w8a8-affine32", WeightFormat::w8g32a32, Reads::codes},
    {"w8a8-g16", WeightFormat::w8g16s32, Reads::codes},
    {"w8a8-g16-affine", WeightFormat::w8g16a32, Reads::codes},
    {"w4a8-g64", WeightFormat::w4g64, Reads::codes},
    {"w4a8-g64-affine", WeightFormat::w4g64a, Reads::codes},
    {"w4a8-g128", WeightFormat::w4g128, Reads::codes},
    {"w4a8-g128-affine", WeightFormat::w4g128a, Reads::codes},
    {"w8a8-g64", WeightFormat::w8g64, Reads::codes},
    {"w8a8-g128", WeightFormat::w8g128, Reads::codes},
    {"rcp-w2a4", WeightFormat::w2g64c, Reads::codes, 7},
    {"rcp-w2a4-g128", WeightFormat::w2g128c, Reads::codes, 7},
    {"w4a16", WeightFormat::w4g32, Reads::floats},
    {"w4a16-affine", WeightFormat::w4g32a, Reads::floats},
    {"w4a16-affine32", WeightFormat::w4g32a32, Reads::floats},
    {"w8a16", WeightFormat::w8g32, Reads::floats},
    {"w8a16-affine", WeightFormat::w8g32a, Reads::floats},
    {"w8a16-affine32", WeightFormat::w8g32a32, Reads::floats},
    {"w8a16-g16", WeightFormat::w8g16s32, Reads::floats},
    {"w8a16-g16-affine", WeightFormat::w8g16a32, Reads::floats},
    {"w4a16-g64", WeightFormat::w4g64, Reads::floats},
    {"w4a16-g64-affine", WeightFormat::w4g64a, Reads::floats},
    {"w4a16-g128", WeightFormat::w4g128, Reads::floats},
    {"w4a16-g128-affine", WeightFormat::w4g128a, Reads::floats},
    {"w8a16-g64", WeightFormat::w8g64, Reads::floats},
    {"w8a16-g128", WeightFormat::w8g128, Reads::floats},
    {"rcp-w2a16", WeightFormat::w2g64c, Reads::floats},
    {"rcp-w2a16-g128", WeightFormat::w2g128c, Reads::floats},
    // Bit planes: looked up, multiplied, with float activations.
    {"lut-w1", WeightFormat::w1g64, Reads::tables},
    {"lut-w1-g128", WeightFormat::w1g128, Reads::tables},
    {"lut-w2", WeightFormat::w2g64, Reads::tables},
    {"lut-w2-g128", WeightFormat::w2g128, Reads::tables},
    {"lut-w3", WeightFormat::w3g64, Reads::tables},
    {"lut-w3-g128", WeightFormat::w3g128, Reads::tables},
    {"lut-w4", WeightFormat::w4g64p, Reads::tables},
    {"ternary", WeightFormat::w2g64a, Reads::tables},
    {"planes-w1", WeightFormat::w1g64, Reads::codes},
    {"planes-w1-g128", WeightFormat::w1g128, Reads::codes},
    {"planes-w2", WeightFormat::w2g64, Reads::codes},
    {"planes-w2-g128", WeightFormat::w2g128, Reads::codes},
    {"planes-w3", WeightFormat::w3g64, Reads::codes},
    {"planes-w3-g128", WeightFormat::w3g128, Reads::codes},
    {"planes-w4", WeightFormat::w4g64p, Reads::codes},
    {"planes-ternary", WeightFormat::w2g64a, Reads::codes},
    {"planes-w1a16", WeightFormat::w1g64, Reads::floats},
    {"planes-w1a16-g128", WeightFormat::w1g128, Reads::floats},
    {"planes-w2a16", WeightFormat::w2g64, Reads::floats},
    {"planes-w2a16-g128", WeightFormat::w2g128, Reads::floats},
    {"planes-w3a16", WeightFormat::w3g64, Reads::floats},
    {"planes-w3a16-g128", WeightFormat::w3g128, Reads::floats},
    {"planes-w4a16", WeightFormat::w4g64p, Reads::floats},
    {"planes-ternarya16", WeightFormat::w2g64a, Reads::floats},
};
// Float weights have no int8 activations; rows with one scale are Tender's; two formats are what planes are expanded
// to; of eight kinds of planes there are tables.
static_assert(std::size(kFamilies) == 2 * (kWeightFormatCount - 2 - 2) - 3 + 8);

struct Random {
  uint64_t state;
  uint64_t operator()() noexcept {  // splitmix64
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  uint32_t below(uint32_t bound) noexcept { return static_cast<uint32_t>(((*this)() >> 32) * bound >> 32); }
  /// In [−1, 1).
  float unit() noexcept { return static_cast<float>(static_cast<int32_t>((*this)() >> 32)) * 0x1p-31f; }
};

// Sizes beyond any model's matrices; they keep every product below within 64 bits.
constexpr size_t kTokensMax = 1 << 13;
constexpr size_t kFeaturesMax = 1 << 18;
constexpr size_t kThreadsMax = 256;

void store_scale(uint8_t* to, size_t bytes, float value) noexcept {
  const uint16_t half = f32_to_f16(value);
  if (bytes == 2) std::memcpy(to, &half, 2);
  if (bytes == 4) std::memcpy(to, &value, 4);
}

/// Codes over the whole range that the format allows (weight_format.h), scales of a trained model's magnitude.
void fill_tile(WeightFormat format, Random& random, uint8_t* tile) noexcept {
  const WeightFormatInfo& what = info(format);
  constexpr size_t kValues = kTileRows * kTileInputs;
  if (what.is_float()) {
    for (size_t i = 0; i < kValues; ++i) {
      const float value = random.unit() * 0.1f;
      const uint16_t half = f32_to_f16(value);
      const uint16_t brain = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
      if (format == WeightFormat::f32) std::memcpy(tile + 4 * i, &value, 4);
      if (format == WeightFormat::f16) std::memcpy(tile + 2 * i, &half, 2);
      if (format == WeightFormat::bf16) std::memcpy(tile + 2 * i, &brain, 2);
    }
    return;
  }
  const size_t scales = what.scales_per_tile();
  for (size_t i = 0; i < scales; ++i)
    store_scale(tile + i * what.scale_bytes, what.scale_bytes, 0.01f + 0.005f * random.unit());
  for (size_t i = 0; what.affine && i < scales; ++i) {
    store_scale(tile + (scales + i) * what.scale_bytes, what.scale_bytes, 0.05f * random.unit());
  }
  uint8_t* codes = tile + what.header_bytes();
  for (size_t i = 0; what.codebook && i < kTileRows * kCodebookLevels; ++i) {
    const int lowest = kLowestLevel + 16 * static_cast<int>(i % kCodebookLevels);
    tile[scales * what.scale_bytes + i] = static_cast<uint8_t>(lowest + static_cast<int>(random.below(16)));
  }
  for (size_t i = 0; i < kValues * what.bits / 8; ++i) {
    if (what.bits <= 4) codes[i] = static_cast<uint8_t>(random.below(256));
    if (what.bits == 8 && what.affine) codes[i] = static_cast<uint8_t>(random.below(64));
    if (what.bits == 8 && !what.affine) {
      codes[i] = static_cast<uint8_t>(what.group == 16 ? static_cast<int>(random.below(64)) - 32
                                                       : static_cast<int>(random.below(255)) - 127);
    }
  }
}

/// One product and everything it needs.
class Bench {
 public:
  Bench(const KernelRequest& request, const Family& family, const KernelTable& level, const KernelTable& scalar)
      : request_(request),
        level_(level),
        fast_(kernel(family, level)),
        twin_(kernel(family, scalar)),
        scalar_(scalar),
        format_(family.format),
        reads_(family.reads),
        levels_(info(family.format).planes ? kTableLevels : family.levels),
        row_tiles_(row_tiles(request.n)),
        row_tile_bytes_(row_tile_bytes(family.format, request.k)),
        team_(request.threads, true) {}

  bool has_kernels() const noexcept { return fast_ != nullptr && twin_ != nullptr; }
  uint64_t weight_bytes() const noexcept { return row_tiles_ * row_tile_bytes_; }

  /// False if there is no memory.
  bool prepare() {
    copy_bytes_ = (weight_bytes() + 63) / 64 * 64;
    copies_ = 1;
    const size_t activation_bytes = request_.m * request_.k / 32 * sizeof(A8Block);
    const size_t table_bytes = reads_ == Reads::tables ? request_.m * request_.k / 32 * sizeof(A8Table) : 64;
    const size_t float_bytes = request_.m * request_.k * sizeof(float);
    const size_t output_bytes = request_.m * row_tiles_ * kTileRows * sizeof(float);
    if (affordable_bytes(SIZE_MAX) < copy_bytes_ + activation_bytes + table_bytes + float_bytes + output_bytes)
      return false;
    if (request_.gemv && request_.milliseconds > 0) {
      copies_ = std::max<size_t>(1, affordable_bytes(4 * last_level_cache_bytes() + copy_bytes_) / copy_bytes_);
    }
    weights_ = AlignedBuffer(copies_ * copy_bytes_);
    floats_ = AlignedBuffer(float_bytes);
    blocks_ = AlignedBuffer(reads_ == Reads::floats ? 64 : activation_bytes);
    tables_ = AlignedBuffer(table_bytes);
    outputs_ = AlignedBuffer(output_bytes);
    scratch_stride_ = (linear_scratch_bytes(request_.k) + 63) / 64 * 64;
    scratch_ = AlignedBuffer(scratch_stride_ * (request_.threads + 1));
    for (const AlignedBuffer* buffer : {&weights_, &floats_, &blocks_, &tables_, &outputs_, &scratch_}) {
      if (!buffer->data()) return false;
    }
    fill();
    return true;
  }

  /// Runs the whole product, then a random subset of its tiles and tokens with the scalar twin.
  bool check() {
    const uint64_t calls = level_.calls->load();
    auto body = [&](size_t thread) { product(0, thread); };
    team_.run(body);
    ran_ = level_.calls->load() != calls;
    Random random{request_.seed ^ 0x5eed};
    alignas(64) float expected[kTileRows];
    for (int sample = 0; sample < 64; ++sample) {
      const size_t tile = random.below(static_cast<uint32_t>(row_tiles_));
      const size_t token = random.below(static_cast<uint32_t>(request_.m));
      LinearTask task = make_task(0, tile, 1, request_.threads);
      task.x = inputs(token);
      task.columns = 1;
      task.y = expected;
      task.y_stride = kTileRows;
      twin_(task);
      const float* got = outputs() + token * row_tiles_ * kTileRows + tile * kTileRows;
      if (std::memcmp(expected, got, sizeof(expected)) != 0) return false;
    }
    return true;
  }
  bool ran() const noexcept { return ran_; }

  /// Median seconds of one product.
  double measure() {
    const size_t products = request_.gemv ? copies_ : products_of(1e-3);
    std::vector<double> seconds;
    const Clock::time_point start = Clock::now();
    sweep(products);  // warms caches, page tables and clocks; not counted
    while (seconds.size() < 5 || since(start) * 1e3 < request_.milliseconds) seconds.push_back(sweep(products));
    std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2), seconds.end());
    return seconds[seconds.size() / 2] / static_cast<double>(products);
  }

 private:
  static LinearKernel kernel(const Family& family, const KernelTable& table) noexcept {
    const auto format = static_cast<size_t>(family.format);
    if (family.reads == Reads::floats) return table.linear_f32[format];
    return family.reads == Reads::codes ? table.linear_a8[format] : table.linear_table[format];
  }
  static double since(Clock::time_point start) noexcept {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }
  float* floats() const noexcept { return reinterpret_cast<float*>(floats_.data()); }
  A8Block* blocks() const noexcept { return reinterpret_cast<A8Block*>(blocks_.data()); }
  A8Table* tables() const noexcept { return reinterpret_cast<A8Table*>(tables_.data()); }
  const void* inputs(size_t token) const noexcept {
    if (reads_ == Reads::floats) return floats() + token * request_.k;
    if (reads_ == Reads::codes) return blocks() + token * request_.k / 32;
    return tables() + token * request_.k / 32;
  }
  float* outputs() const noexcept { return reinterpret_cast<float*>(outputs_.data()); }

  void fill() {
    const size_t tile_bytes = info(format_).tile_bytes();
    auto weights = [&](size_t thread) {
      for (size_t tile; (tile = team_.claim(thread, row_tiles_, 1)) < row_tiles_;) {
        Random random{request_.seed * 0x2545f4914f6cdd1dull + tile};
        for (size_t at = 0; at < row_tile_bytes_; at += tile_bytes) {
          fill_tile(format_, random, weights_.data() + tile * row_tile_bytes_ + at);
        }
      }
      team_.barrier(thread);
      for (size_t copy; (copy = 1 + team_.claim(thread, copies_ - 1, 1)) < copies_;) {
        std::memcpy(weights_.data() + copy * copy_bytes_, weights_.data(), copy_bytes_);
      }
    };
    team_.run(weights);
    Random random{~request_.seed};
    for (size_t i = 0; i < request_.m * request_.k; ++i) floats()[i] = 4 * random.unit();
    const size_t group = info(format_).activation_group();
    for (size_t token = 0; reads_ != Reads::floats && token < request_.m; ++token) {
      A8Block* out = blocks() + token * request_.k / 32;
      scalar_.quantize_a8(floats() + token * request_.k, request_.k, group, levels_, out);
      if (reads_ == Reads::tables) scalar_.make_tables(out, request_.k, group, tables() + token * request_.k / 32);
    }
  }

  LinearTask make_task(size_t copy, size_t first_tile, size_t tiles, size_t thread) const noexcept {
    LinearTask task{};
    task.tiles = weights_.data() + copy * copy_bytes_ + first_tile * row_tile_bytes_;
    task.groups = request_.k / kTileInputs;
    task.row_tiles = tiles;
    task.x = inputs(0);
    task.x_stride = reads_ == Reads::floats ? request_.k : request_.k / 32;
    task.columns = request_.m;
    task.y = outputs() + first_tile * kTileRows;
    task.y_stride = row_tiles_ * kTileRows;
    task.scratch = scratch_.data() + thread * scratch_stride_;
    return task;
  }

  /// Inside a body: this thread's part of one product.
  void product(size_t copy, size_t thread) noexcept {
    // Eight chunks a thread: small enough to even out, large enough that claiming costs nothing.
    const size_t grain = std::max<size_t>(1, row_tiles_ / (8 * team_.size()));
    for (size_t first; (first = team_.claim(thread, row_tiles_, grain)) < row_tiles_;) {
      fast_(make_task(copy, first, std::min(grain, row_tiles_ - first), thread));
    }
  }

  double sweep(size_t products) noexcept {
    double seconds = 0;
    auto body = [&](size_t thread) {
      team_.barrier(thread);
      const Clock::time_point start = Clock::now();
      for (size_t i = 0; i < products; ++i) {
        product(i % copies_, thread);
        team_.barrier(thread);
      }
      if (thread == 0) seconds = since(start);
    };
    team_.run(body);
    return seconds;
  }

  size_t products_of(double seconds) noexcept {
    size_t products = 1;
    while (products < (1 << 20) && sweep(products) < seconds) products *= 2;
    return products;
  }

  const KernelRequest& request_;
  const KernelTable& level_;
  LinearKernel fast_;
  LinearKernel twin_;
  const KernelTable& scalar_;
  WeightFormat format_;
  Reads reads_;
  int32_t levels_;
  size_t row_tiles_;
  size_t row_tile_bytes_;
  Team team_;
  size_t copy_bytes_ = 0;
  size_t copies_ = 1;
  AlignedBuffer weights_;
  AlignedBuffer floats_;
  AlignedBuffer blocks_;
  AlignedBuffer tables_;
  AlignedBuffer scratch_;
  size_t scratch_stride_ = 0;
  AlignedBuffer outputs_;
  bool ran_ = false;
};

Status invalid(std::string message) {
  return Status::failure(ErrorCode::native_invalid_argument, std::move(message));
}

}  // namespace

std::vector<std::string> kernel_families() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.name);
  return names;
}

Status run_kernel(const KernelRequest& request, KernelResult& result) {
  const auto* family = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                    [&](const Family& each) { return request.family == each.name; });
  if (family == std::end(kFamilies)) return invalid("There is no kernel family '" + request.family + "'.");
  const auto levels = supported_isas();
  const KernelTable* level = kernel_table(request.isa);
  const KernelTable* scalar = kernel_table(Isa::scalar);
  if (level == nullptr || scalar == nullptr || std::find(levels.begin(), levels.end(), request.isa) == levels.end()) {
    return invalid("This machine or build has no level " + std::string(isa_name(request.isa)) + ".");
  }
  if (request.m < 1 || request.m > kTokensMax || (request.gemv && request.m != 1)) {
    return invalid("m must be in 1…8192, and 1 for gemv.");
  }
  if (request.n < 1 || request.n > kFeaturesMax || request.k < 32 || request.k > kFeaturesMax || request.k % 32 != 0) {
    return invalid("n and k must be in 1…262144, k a multiple of 32.");
  }
  if (const size_t unit = info(family->format).activation_group(); request.k % unit != 0) {
    return invalid("k must be a multiple of " + std::to_string(unit) + " for '" + request.family + "'.");
  }
  if (request.threads < 1 || request.threads > kThreadsMax) return invalid("threads must be in 1…256.");

  Bench bench(request, *family, *level, *scalar);
  if (!bench.has_kernels()) return invalid("The level " + std::string(isa_name(request.isa)) + " lacks this kernel.");
  if (!bench.prepare()) {
    return Status::failure(ErrorCode::native_out_of_memory, "There is not enough memory for a product of this size.");
  }
  result = KernelResult{};
  result.equal = bench.check();
  result.isa = bench.ran() ? request.isa : Isa::scalar;
  result.weight_bytes = bench.weight_bytes();
  result.macs = static_cast<uint64_t>(request.m) * request.n * request.k;
  if (request.milliseconds > 0 && result.equal) {
    const double seconds = bench.measure();
    result.gmacs = static_cast<double>(result.macs) / seconds * 1e-9;
    result.weight_gbs = static_cast<double>(result.weight_bytes) / seconds * 1e-9;
  }
  return Status::success();
}

}  // namespace nibble
