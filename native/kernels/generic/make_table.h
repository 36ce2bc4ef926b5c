#pragma once
// The level's table. Included last inside a level's anonymous namespace.

/// Rows with one scale are Tender's.
template <WeightFormat F>
constexpr LinearKernel linear_f32_of() noexcept {
  if constexpr (kWeightFormats[static_cast<size_t>(F)].is_row_scaled())
    return nullptr;
  else
    return linear_f32<F>;
}

template <WeightFormat... F>
constexpr KernelTable make_table(Isa isa) noexcept {
  return {.isa = isa,
          .linear_a8 = {kLinearA8[static_cast<size_t>(F)]...},
          .linear_f32 = {linear_f32_of<F>()...},
          .linear_table = {lookup_of<F>()...},
          .rmsnorm = rmsnorm,
          .quantize_a8 = quantize_a8,
          .make_tables = make_tables,
          .silu_mul = silu_mul,
          .rope = rope,
          .hadamard = hadamard,
          .rotate = rotate,
          .store_key = store_key,
          .store_value = store_value,
          .attention = attention,
          .attention_merge = attention_merge,
          .attention_finish = attention_finish,
          .row_stats = row_stats,
          .sum_exp = sum_exp,
          .exp_row = exp_row,
          .calls = &calls};
}

constexpr KernelTable make_table_of_all(Isa isa) noexcept {
  using enum WeightFormat;
  return make_table<f32, f16, bf16, w4g32, w4g32a, w4g32a32, w8g32, w8g32a, w8g32a32, w8g16s32, w8g16a32, w4g64, w4g64a,
                    w4g128, w4g128a, w8g64, w8g128, w8row, w4row, w2g64c, w2g128c, w4g64a32, w4g128a32, w1g64, w1g128,
                    w2g64, w2g64a, w2g128, w3g64, w3g128, w4g64p>(isa);
}
