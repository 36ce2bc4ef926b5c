#include "table.h"

#include "attention.h"
#include "elementwise.h"
#include "linear.h"

namespace nibble::kernels::reference {

constinit std::atomic<uint64_t> calls{0};

const KernelTable& table() noexcept {
  static const KernelTable instance = [] {
    KernelTable t{};
    t.isa = Isa::scalar;
    for (size_t f = 0; f < kWeightFormatCount; ++f) {
      t.linear_a8[f] = linear_a8(static_cast<WeightFormat>(f));
      t.linear_f32[f] = linear_f32(static_cast<WeightFormat>(f));
      t.linear_table[f] = linear_table(static_cast<WeightFormat>(f));
    }
    t.rmsnorm = rmsnorm;
    t.quantize_a8 = quantize_a8;
    t.make_tables = make_tables;
    t.silu_mul = silu_mul;
    t.rope = rope;
    t.hadamard = hadamard;
    t.rotate = rotate;
    t.store_key = store_key;
    t.store_value = store_value;
    t.attention = attention;
    t.attention_merge = attention_merge;
    t.attention_finish = attention_finish;
    t.row_stats = row_stats;
    t.sum_exp = sum_exp;
    t.exp_row = exp_row;
    t.calls = &calls;
    return t;
  }();
  return instance;
}

}  // namespace nibble::kernels::reference
