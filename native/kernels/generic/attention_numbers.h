#pragma once
// What attention multiplies. Stored f16 meets f32, a number a lane; codes meet integers of 16 bits, two a lane: half
// as many instructions that multiply, and sums that are exact in any order. Included inside a level's anonymous
// namespace.

struct Floats {
  using Number = float;
  using Operand = Part;
  using Sum = Part;
  /// Inputs that a lane takes at once: dimensions of keys, tokens of values.
  static constexpr size_t kTogether = 1;
  static constexpr size_t decode_vectors(size_t columns) noexcept { return decode_vectors_for(columns); }

  static NIBBLE_INLINE Sum zero() noexcept { return part_zero(); }
  static NIBBLE_INLINE Operand load(const float* p) noexcept { return part_load(p); }
  static NIBBLE_INLINE Operand set1(const float* p) noexcept { return part_set1(*p); }
  static NIBBLE_INLINE Sum add_product(Operand x, Operand y, Sum sum) noexcept { return part_fma(x, y, sum); }
  static NIBBLE_INLINE void store_sum(float* p, Sum x) noexcept { part_store(p, x); }
  static NIBBLE_INLINE void store_operand(float* p, Operand x) noexcept { part_store(p, x); }
};

struct Integers {
  using Number = int16_t;
  using Operand = Pairs;
  using Sum = Sums;
  static constexpr size_t kTogether = 2;
  static constexpr size_t decode_vectors(size_t columns) noexcept { return decode_pair_vectors_for(columns); }

  static NIBBLE_INLINE Sum zero() noexcept { return sums_zero(); }
  static NIBBLE_INLINE Operand load(const int16_t* p) noexcept { return pairs_load(p); }
  static NIBBLE_INLINE Operand set1(const int16_t* p) noexcept {
    int32_t both;
    __builtin_memcpy(&both, p, sizeof(both));
    return pairs_set1(both);
  }
  static NIBBLE_INLINE Sum add_product(Operand x, Operand y, Sum sum) noexcept { return add_pairs(sum, x, y); }
  static NIBBLE_INLINE void store_sum(float* p, Sum x) noexcept { sums_store(p, x); }
  static NIBBLE_INLINE void store_operand(int16_t* p, Operand x) noexcept { pairs_store(p, x); }
};

template <KvFormat F>
struct NumbersOf {
  using Type = Integers;
};
template <>
struct NumbersOf<KvFormat::f16> {
  using Type = Floats;
};
template <KvFormat F>
using Numbers = typename NumbersOf<F>::Type;

/// A vector is sixteen lanes: a dimension of a block's keys, or two; 16 dimensions of a value, or of two values.
/// Numbers of a vector in memory, once widened, and bytes of two vectors as stored.
template <class N>
constexpr size_t kVectorNumbers = 16 * N::kTogether;
template <KvFormat F>
constexpr size_t kVectorBytes2 = F == KvFormat::q4 ? 32 : 64;

/// Part `p` of vector `n` as stored.
template <KvFormat F>
NIBBLE_INLINE typename Numbers<F>::Operand load_part(const uint8_t* codes, size_t n, size_t p) noexcept {
  constexpr size_t kPartBytes = 32 / kParts;
  if constexpr (F == KvFormat::f16) return part_f16(codes + 32 * n + kPartBytes * p);
  if constexpr (F == KvFormat::q8) return pairs_u8(codes + 32 * n + kPartBytes * p);
  if constexpr (F == KvFormat::q4) {
    const uint8_t* both = codes + n / 2 * 32 + kPartBytes * p;
    return n % 2 == 0 ? pairs_low(both) : pairs_high(both);
  }
}

/// n numbers as multiples of a step, integers of 16 bits: returns the step, out = RNE(x / step). n % 16 == 0.
NIBBLE_INLINE float round_to_16_bits(const float* x, size_t n, int16_t* out) noexcept {
  I32x16 largest = set1_i32(0);
  for (size_t i = 0; i < n; i += 16) largest = max(largest, magnitude_bits(load(x + i)));
  const int32_t amax_bits = fold_max(largest);
  float amax;
  __builtin_memcpy(&amax, &amax_bits, sizeof(amax));
  if (amax_bits >= kInfinityBits || amax < 0x1p-100f) {
    __builtin_memset(out, 0, n * sizeof(int16_t));
    return amax_bits >= kInfinityBits ? __builtin_nanf("") : 0.0f;
  }
  const F32x16 inverse = set1(kKvLevels16 / amax);
  for (size_t i = 0; i < n; i += 16) store_i16(out + i, round_i32(mul(load(x + i), inverse)));
  return amax / kKvLevels16;
}

/// The query of each column as integers, and what undoes that.
struct RoundedQuery {
  float step;
  float sum;  // of the query itself
};
NIBBLE_INLINE void round_queries(const float* q, size_t head_dim, size_t columns, int16_t* out,
                                 RoundedQuery* rounded) noexcept {
  for (size_t c = 0; c < columns; ++c) {
    const float* query = q + c * head_dim;
    F32x16 sum = zero();
    for (size_t d = 0; d < head_dim; d += 16) sum = add(sum, load(query + d));
    rounded[c] = {round_to_16_bits(query, head_dim, out + c * head_dim), fold_sum(sum)};
  }
}

/// Σ query code · key code of each position → scores, unscaled.
NIBBLE_INLINE void apply_key_grid(const AttentionTask& task, const RoundedQuery* query, size_t columns, size_t blocks,
                                  float* score) noexcept {
  for (size_t b = 0; b < blocks; ++b) {
    const auto* header = reinterpret_cast<const uint16_t*>(keys_of(task, b));
    const F32x16 scale = load_f16(header);
    const F32x16 minimum = load_f16(header + kKvBlockTokens);
    for (size_t c = 0; c < columns; ++c) {
      float* at = score + c * kSplitTokens + b * kKvBlockTokens;
      const F32x16 a = mul(set1(query[c].step), load(at));
      store(at, fma(minimum, set1(query[c].sum), mul(scale, a)));
    }
  }
}

/// The softmax weights of a column as integers, and what undoes that.
struct RoundedWeights {
  float step;
  float offset;  // Σ p · minimum
};
/// @param p [⌈visible / 16⌉ · 16], changed   @param out as many, 0 behind `visible`
NIBBLE_INLINE RoundedWeights round_weights(const AttentionTask& task, size_t visible, float* p, int16_t* out) noexcept {
  F32x16 sum = zero();
  for (size_t t = 0; t < visible; t += 16) {
    const auto* header = reinterpret_cast<const uint16_t*>(values_of(task, t / kKvBlockTokens));
    const F32x16 weight = load(p + t);
    F32x16 scale = load_f16(header);
    F32x16 minimum = load_f16(header + kKvBlockTokens);
    if (visible - t < 16) {  // the rest isn't seen, and may be NaN
      scale = keep_first(scale, zero(), visible - t);
      minimum = keep_first(minimum, zero(), visible - t);
    }
    sum = fma(weight, minimum, sum);
    store(p + t, mul(weight, scale));
  }
  return {round_to_16_bits(p, (visible + 15) / 16 * 16, out), fold_sum(sum)};
}

/// Σ weight code · value code → outputs.
NIBBLE_INLINE void apply_value_grid(const RoundedWeights& weights, size_t head_dim, float* o) noexcept {
  for (size_t d = 0; d < head_dim; d += 16) store(o + d, fma(load(o + d), set1(weights.step), set1(weights.offset)));
}
