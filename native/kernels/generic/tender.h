#pragma once
// Tender's linear layer; definition: reference/tender.cpp. Included inside a level's anonymous namespace, behind
//   kTenderRows          row tiles that share an activation's broadcast
//   tender_offset(bits)  what the level's codes have too much: they are unsigned where that is faster
//   tender_codes<Bits>   a chunk of weights (4 inputs of 16 rows) as stored → as `dot` takes it
//   dot<Bits>            adds the 4 products of each row to 32-bit lanes
//
// Idea: a lane is an output row; R row tiles × 4 columns of accumulators stay in registers over all inputs, and a group
// boundary is one shift of each. Groups end at any chunk of 4 inputs: tiles of 32 inputs that lie within a group run
// unrolled, the others chunk by chunk. Sums wrap modulo 2³², so that unsigned codes may exceed 32 bits on the way: what
// they have too much is taken away once at the end, by the sum that the activations carry.

constexpr size_t kTenderChunks = 8;  // of a tile
constexpr size_t kTenderHeader = kTileRows * sizeof(float);

template <int Bits>
constexpr size_t kTenderTileBytes = kTileRows* kTileInputs* Bits / 8;

/// Chunk j of a tile, as stored.
template <int Bits>
NIBBLE_INLINE I32x16 tender_chunk(const uint8_t* tile, size_t j) noexcept {
  if constexpr (Bits == 8) return load_i32(tile + 64 * j);
  const I32x16 both = load_i32(tile + 64 * (j % 4));
  return bit_and(j < 4 ? both : shift_right<4>(both), set1_i32(0x0f0f0f0f));
}

/// R row tiles × C columns.
template <int Bits, size_t R, size_t C>
struct TenderTile {
  static constexpr size_t kBytes = kTenderTileBytes<Bits>;
  const uint8_t* codes;  // of the first row tile, behind its scales
  size_t row_tile_bytes;
  const A8Block* x;
  size_t x_stride;
  I32x16 sum[R][C];

  NIBBLE_INLINE void chunk(size_t tile, size_t j) noexcept {
    I32x16 w[R];
    for (size_t r = 0; r < R; ++r) {
      w[r] = tender_codes<Bits>(tender_chunk<Bits>(codes + r * row_tile_bytes + tile * kBytes, j));
    }
    for (size_t c = 0; c < C; ++c) {
      int32_t four;
      __builtin_memcpy(&four, x[c * x_stride + tile].q + 4 * j, 4);
      const I32x16 q = set1_i32(four);
      for (size_t r = 0; r < R; ++r) sum[r][c] = dot<Bits>(sum[r][c], w[r], q);
    }
  }
  NIBBLE_INLINE void run(const uint32_t* ends, size_t count) noexcept {
    for (size_t r = 0; r < R; ++r)
      for (size_t c = 0; c < C; ++c) sum[r][c] = set1_i32(0);
    size_t at = 0;
    for (size_t g = 0; g < count; ++g) {
      for (size_t r = 0; g > 0 && r < R; ++r)
        for (size_t c = 0; c < C; ++c) sum[r][c] = shift_left<1>(sum[r][c]);
      while (at < ends[g]) {
        const size_t tile = at / kTenderChunks;
        if (at % kTenderChunks == 0 && ends[g] - at >= kTenderChunks) {
#pragma GCC unroll 8
          for (size_t j = 0; j < kTenderChunks; ++j) chunk(tile, j);
          at += kTenderChunks;
        } else {
          chunk(tile, at % kTenderChunks);
          ++at;
        }
      }
    }
  }
  NIBBLE_INLINE void finish(const LinearTask& l, size_t n, size_t column) noexcept {
    for (size_t r = 0; r < R; ++r) {
      const F32x16 scale = load(reinterpret_cast<const float*>(codes + r * row_tile_bytes - kTenderHeader));
      const size_t row = kTileRows * (n + r);
      for (size_t c = 0; c < C; ++c) {
        const A8Block& first = x[c * x_stride];
        const uint32_t excess = static_cast<uint32_t>(tender_offset(Bits)) * static_cast<uint32_t>(first.n16[0]);
        const I32x16 exact = add(sum[r][c], set1_i32(static_cast<int32_t>(excess)));
        F32x16 value = mul(to_f32(exact), mul(scale, set1(first.d)));
        float* y = l.y + (column + c) * l.y_stride + row;
        if (l.bias != nullptr) value = add(value, load(l.bias + row));
        store(y, l.accumulate ? add(load(y), value) : value);
      }
    }
  }
};

template <int Bits, size_t R, size_t C>
void tender_tile(const TenderTask& task, size_t n, size_t column) noexcept {
  const LinearTask& l = task.linear;
  const size_t row_tile_bytes = kTenderHeader + l.groups * kTenderTileBytes<Bits>;
  const A8Block* x = static_cast<const A8Block*>(l.x) + column * l.x_stride;
  TenderTile<Bits, R, C> tile{l.tiles + n * row_tile_bytes + kTenderHeader, row_tile_bytes, x, l.x_stride, {}};
  tile.run(task.ends, task.count);
  tile.finish(l, n, column);
}

/// All columns of R row tiles.
template <int Bits, size_t R>
void tender_rows(const TenderTask& task, size_t n) noexcept {
  size_t c = 0;
  for (; c + 4 <= task.linear.columns; c += 4) tender_tile<Bits, R, 4>(task, n, c);
  if (c + 2 <= task.linear.columns) tender_tile<Bits, R, 2>(task, n, c), c += 2;
  if (c < task.linear.columns) tender_tile<Bits, R, 1>(task, n, c);
}

/// One column of one row tile in 64 bits: rare, so plain.
template <int Bits>
void tender_wide(const TenderTask& task, size_t n, size_t column) noexcept {
  const LinearTask& l = task.linear;
  const uint8_t* tiles = l.tiles + n * (kTenderHeader + l.groups * kTenderTileBytes<Bits>);
  const A8Block* x = static_cast<const A8Block*>(l.x) + column * l.x_stride;
  int64_t sum[kTileRows] = {};
  size_t at = 0;
  for (size_t g = 0; g < task.count; ++g) {
    for (int64_t& s : sum) s *= 2;
    for (; at < task.ends[g]; ++at) {
      const size_t j = at % kTenderChunks;
      const uint8_t* codes =
          tiles + kTenderHeader + at / kTenderChunks * kTenderTileBytes<Bits> + (Bits == 8 ? j : j % 4) * 64;
      const int8_t* q = x[at / kTenderChunks].q + 4 * j;
      for (size_t i = 0; i < 4 * kTileRows; ++i) {
        const int w = Bits == 8 ? static_cast<int8_t>(codes[i]) : ((codes[i] >> (j < 4 ? 0 : 4)) & 15) - 8;
        sum[i / 4] += w * q[i % 4];
      }
    }
  }
  float* y = l.y + column * l.y_stride + n * kTileRows;
  for (size_t r = 0; r < kTileRows; ++r) {
    float scale;
    __builtin_memcpy(&scale, tiles + r * sizeof(float), sizeof(float));
    float value = static_cast<float>(sum[r]) * (scale * x->d);
    if (l.bias != nullptr) value = value + l.bias[n * kTileRows + r];
    y[r] = l.accumulate ? y[r] + value : value;
  }
}

template <int Bits>
void tender_linear(const TenderTask& task) noexcept {
  count_call();
  if (task.wide) {
    for (size_t n = 0; n < task.linear.row_tiles; ++n)
      for (size_t c = 0; c < task.linear.columns; ++c) tender_wide<Bits>(task, n, c);
    return;
  }
  // Few columns: the weights come from memory, and one stream of them arrives faster than two.
  const size_t together = task.linear.columns >= 4 ? task.linear.row_tiles / kTenderRows * kTenderRows : 0;
  size_t n = 0;
  for (; n < together; n += kTenderRows) tender_rows<Bits, kTenderRows>(task, n);
  for (; n < task.linear.row_tiles; ++n) tender_rows<Bits, 1>(task, n);
}

/// Values at 16 places.
NIBBLE_INLINE F32x16 tender_gather(const float* x, const int32_t* order) noexcept {
  alignas(64) float gathered[16];
  for (size_t k = 0; k < 16; ++k) gathered[k] = x[order[k]];
  return load(gathered);
}

/// Codes of 16 places; takes them from the sum that the row carries.
NIBBLE_INLINE void tender_store(F32x16 scaled, float limit, const int32_t* weight, int8_t* codes,
                                I32x16& sum) noexcept {
  const I32x16 q = round_i32(min(max(scaled, set1(-limit)), set1(limit)));
  store_i8(codes, q);
  sum = sub(sum, mul(load_i32(reinterpret_cast<const uint8_t*>(weight)), q));
}

/// Steps of the row's own: values wait in `how.own` until the largest of them is known.
void tender_quantize_own(const float* x, const TenderInput& how, A8Block* out) noexcept {
  const I32x16 magnitude = set1_i32(0x7fffffff);
  I32x16 most = set1_i32(0);
  for (size_t i = 0; i < how.inputs; i += 16) {
    const F32x16 value = mul(sub(tender_gather(x, how.order + i), load(how.bias + i)), load(how.finer + i));
    most = max(most, bit_and(bits(value), magnitude));
    store(how.own + i, value);
  }
  const int32_t top_bits = fold_max(most);
  float top;
  __builtin_memcpy(&top, &top_bits, sizeof(top));
  __builtin_memset(static_cast<void*>(out), 0, how.inputs / kTileInputs * sizeof(A8Block));
  if (top_bits >= 0x7f800000) {
    out->d = __builtin_nanf("");
    return;
  }
  if (top < 0x1p-100f) return;
  const F32x16 inverse = set1(how.limit / top);
  I32x16 sum = set1_i32(0);
  for (size_t i = 0; i < how.inputs; i += 16) {
    tender_store(mul(load(how.own + i), inverse), how.limit, how.weight + i, out[i / kTileInputs].q + i % kTileInputs,
                 sum);
  }
  out->d = (top / how.limit) * how.last;
  out->n16[0] = fold_sum(sum);
}

void tender_quantize(const float* x, const TenderInput& how, A8Block* out) noexcept {
  if (how.own != nullptr) return tender_quantize_own(x, how, out);
  const F32x16 inverse = set1(how.inverse);
  const I32x16 magnitude = set1_i32(0x7fffffff);
  __builtin_memset(static_cast<void*>(out), 0, how.inputs / kTileInputs * sizeof(A8Block));
  I32x16 most = set1_i32(0);
  I32x16 sum = set1_i32(0);
  for (size_t i = 0; i < how.inputs; i += 16) {
    const F32x16 value = tender_gather(x, how.order + i);
    most = max(most, bit_and(bits(value), magnitude));
    const F32x16 scaled = mul(mul(sub(value, load(how.bias + i)), load(how.finer + i)), inverse);
    tender_store(scaled, how.limit, how.weight + i, out[i / kTileInputs].q + i % kTileInputs, sum);
  }
  out->d = how.step;
  out->n16[0] = fold_sum(sum);
  if (fold_max(most) < 0x7f800000) return;
  __builtin_memset(static_cast<void*>(out), 0, how.inputs / kTileInputs * sizeof(A8Block));
  out->d = __builtin_nanf("");
}

/// Weights of input k in a row tile, as f32.
template <int Bits>
NIBBLE_INLINE F32x16 tender_weights(const uint8_t* codes, size_t k, F32x16 scale) noexcept {
  const size_t word = Bits == 8 ? k / 4 : k / kTileInputs * 4 + k % 16 / 4;
  alignas(64) int32_t low[kTileRows];
  for (size_t r = 0; r < kTileRows; ++r) {
    const int byte = codes[64 * word + 4 * r + k % 4];
    low[r] = Bits == 8 ? static_cast<int8_t>(byte) : ((byte >> (k % kTileInputs / 16 * 4)) & 15) - 8;
  }
  return mul(to_f32(load_i32(reinterpret_cast<const uint8_t*>(low))), scale);
}

template <int Bits>
void tender_linear_f32(const LinearTask& l) noexcept {
  count_call();
  constexpr size_t kColumns = 8;  // share the weights of an input
  const size_t row_tile_bytes = kTenderHeader + l.groups * kTenderTileBytes<Bits>;
  for (size_t n = 0; n < l.row_tiles; ++n) {
    const uint8_t* tile = l.tiles + n * row_tile_bytes;
    const F32x16 scale = load(reinterpret_cast<const float*>(tile));
    for (size_t c0 = 0; c0 < l.columns; c0 += kColumns) {
      const size_t count = l.columns - c0 < kColumns ? l.columns - c0 : kColumns;
      const float* x = static_cast<const float*>(l.x) + c0 * l.x_stride;
      F32x16 sum[kColumns];
      for (F32x16& s : sum) s = zero();
      for (size_t k = 0; k < l.groups * kTileInputs; ++k) {
        const F32x16 w = tender_weights<Bits>(tile + kTenderHeader, k, scale);
        for (size_t c = 0; c < kColumns; ++c) sum[c] = fma(w, set1(x[(c < count ? c : 0) * l.x_stride + k]), sum[c]);
      }
      for (size_t c = 0; c < count; ++c) {
        float* y = l.y + (c0 + c) * l.y_stride + n * kTileRows;
        F32x16 value = sum[c];
        if (l.bias != nullptr) value = add(value, load(l.bias + n * kTileRows));
        store(y, l.accumulate ? add(load(y), value) : value);
      }
    }
  }
}

constexpr TenderKernels instance = {
    {tender_linear<8>, tender_linear<4>}, {tender_linear_f32<8>, tender_linear_f32<4>}, tender_quantize, &calls};
