#include "pack.h"

namespace nibble {

namespace {

struct Row {
  GgmlType type;
  GgmlTypeInfo info;
};

constexpr Row kTypes[] = {
    {GgmlType::f32, {"F32", 1, 4, WeightFormat::f32}},
    {GgmlType::f16, {"F16", 1, 2, WeightFormat::f16}},
    {GgmlType::bf16, {"BF16", 1, 2, WeightFormat::bf16}},
    {GgmlType::q4_0, {"Q4_0", 32, 18, WeightFormat::w4g32}},
    {GgmlType::q4_1, {"Q4_1", 32, 20, WeightFormat::w4g32a}},
    {GgmlType::q5_0, {"Q5_0", 32, 22, WeightFormat::w8g32}},
    {GgmlType::q5_1, {"Q5_1", 32, 24, WeightFormat::w8g32a}},
    {GgmlType::q8_0, {"Q8_0", 32, 34, WeightFormat::w8g32}},
    {GgmlType::q2_k, {"Q2_K", 256, 84, WeightFormat::w8g16a32}},
    {GgmlType::q3_k, {"Q3_K", 256, 110, WeightFormat::w8g16s32}},
    {GgmlType::q4_k, {"Q4_K", 256, 144, WeightFormat::w4g32a32}},
    {GgmlType::q5_k, {"Q5_K", 256, 176, WeightFormat::w8g32a32}},
    {GgmlType::q6_k, {"Q6_K", 256, 210, WeightFormat::w8g16s32}},
    {GgmlType::nb_w4g64, {"NB_W4G64", 64, 34, WeightFormat::w4g64}},
    {GgmlType::nb_w4g64a, {"NB_W4G64A", 64, 36, WeightFormat::w4g64a}},
    {GgmlType::nb_w4g128, {"NB_W4G128", 128, 66, WeightFormat::w4g128}},
    {GgmlType::nb_w4g128a, {"NB_W4G128A", 128, 68, WeightFormat::w4g128a}},
    {GgmlType::nb_w8g64, {"NB_W8G64", 64, 66, WeightFormat::w8g64}},
    {GgmlType::nb_w8g128, {"NB_W8G128", 128, 130, WeightFormat::w8g128}},
    {GgmlType::nb_w8row, {"NB_W8ROW", 32, 32, WeightFormat::w8row, 4}},
    {GgmlType::nb_w4row, {"NB_W4ROW", 32, 16, WeightFormat::w4row, 4}},
    {GgmlType::nb_w2g64c, {"NB_W2G64C", 64, 22, WeightFormat::w2g64c}},
    {GgmlType::nb_w2g128c, {"NB_W2G128C", 128, 38, WeightFormat::w2g128c}},
    {GgmlType::nb_w1g64, {"NB_W1G64", 64, 10, WeightFormat::w1g64}},
    {GgmlType::nb_w1g128, {"NB_W1G128", 128, 18, WeightFormat::w1g128}},
    {GgmlType::nb_w2g64, {"NB_W2G64", 64, 18, WeightFormat::w2g64}},
    {GgmlType::nb_w2g64a, {"NB_W2G64A", 64, 20, WeightFormat::w2g64a}},
    {GgmlType::nb_w2g128, {"NB_W2G128", 128, 34, WeightFormat::w2g128}},
    {GgmlType::nb_w3g64, {"NB_W3G64", 64, 26, WeightFormat::w3g64}},
    {GgmlType::nb_w3g128, {"NB_W3G128", 128, 50, WeightFormat::w3g128}},
    {GgmlType::nb_w4g64p, {"NB_W4G64P", 64, 34, WeightFormat::w4g64p}},
    {GgmlType::nb_t2g64, {"NB_T2G64", 64, 18, WeightFormat::w2g64a}},
    {GgmlType::tq1_0, {"TQ1_0", 256, 54, WeightFormat::w2g64a}},
    {GgmlType::tq2_0, {"TQ2_0", 256, 66, WeightFormat::w2g64a}},
};

}  // namespace

const GgmlTypeInfo* ggml_type_info(uint32_t type) noexcept {
  for (const Row& row : kTypes) {
    if (static_cast<uint32_t>(row.type) == type) return &row.info;
  }
  return nullptr;
}

size_t ggml_bytes(const GgmlTypeInfo& type, size_t rows, size_t cols) noexcept {
  if (cols == 0 || cols % type.block_values != 0) return 0;
  size_t row_bytes = 0;
  size_t bytes = 0;
  if (__builtin_mul_overflow(cols / type.block_values, type.block_bytes, &row_bytes)) return 0;
  if (__builtin_add_overflow(row_bytes, type.row_bytes, &row_bytes)) return 0;
  if (__builtin_mul_overflow(row_bytes, rows, &bytes)) return 0;
  return bytes;
}

}  // namespace nibble
