#pragma once
// The level's linear kernels over int8 activations by weight format, for make_table.h: groups of 16 and 32 take
// linear_a8, larger ones linear_a8_groups; bit planes have two. Included inside a level's anonymous namespace.

constexpr LinearKernel kLinearA8[kWeightFormatCount] = {
    nullptr,
    nullptr,
    nullptr,
    linear_a8<WeightFormat::w4g32>,
    linear_a8<WeightFormat::w4g32a>,
    linear_a8<WeightFormat::w4g32a32>,
    linear_a8<WeightFormat::w8g32>,
    linear_a8<WeightFormat::w8g32a>,
    linear_a8<WeightFormat::w8g32a32>,
    linear_a8<WeightFormat::w8g16s32>,
    linear_a8<WeightFormat::w8g16a32>,
    linear_a8_groups<WeightFormat::w4g64>,
    linear_a8_groups<WeightFormat::w4g64a>,
    linear_a8_groups<WeightFormat::w4g128>,
    linear_a8_groups<WeightFormat::w4g128a>,
    linear_a8_groups<WeightFormat::w8g64>,
    linear_a8_groups<WeightFormat::w8g128>,
    nullptr,
    nullptr,
    linear_a8_groups<WeightFormat::w2g64c>,
    linear_a8_groups<WeightFormat::w2g128c>,
    linear_a8_groups<WeightFormat::w4g64a32>,
    linear_a8_groups<WeightFormat::w4g128a32>,
    linear_a8_planes<WeightFormat::w1g64>,
    linear_a8_planes<WeightFormat::w1g128>,
    linear_a8_planes<WeightFormat::w2g64>,
    linear_a8_planes<WeightFormat::w2g64a>,
    linear_a8_planes<WeightFormat::w2g128>,
    linear_a8_planes<WeightFormat::w3g64>,
    linear_a8_planes<WeightFormat::w3g128>,
    linear_a8_planes<WeightFormat::w4g64p>,
};

template <WeightFormat F>
constexpr LinearKernel lookup_of() noexcept {
  if constexpr (kWeightFormats[static_cast<size_t>(F)].planes) {
    return lookup<F>;
  } else {
    return nullptr;
  }
}
