#include "tender_plan.h"

#include <algorithm>
#include <cmath>

#include "../kernels/tender.h"
#include "input_study.h"

namespace nibble {
namespace {

bool is_permutation_of(const std::vector<int32_t>& order, size_t inputs) {
  if (order.size() != inputs) return false;
  std::vector<bool> seen(inputs);
  for (const int32_t channel : order) {
    if (channel < 0 || static_cast<size_t>(channel) >= inputs || seen[static_cast<size_t>(channel)]) return false;
    seen[static_cast<size_t>(channel)] = true;
  }
  return true;
}

bool are_whole_groups(const std::vector<int32_t>& sizes, size_t inputs) {
  size_t sum = 0;
  for (const int32_t size : sizes) {
    if (size < 0 || size % 4 != 0 || static_cast<size_t>(size) > inputs - sum) return false;
    sum += static_cast<size_t>(size);
  }
  return sum == inputs && !sizes.empty() && sizes.size() <= kTenderGroupsMax;
}

}  // namespace

Status TenderPlan::build(const std::string& prefix, const TenderTensors& t, size_t inputs) {
  const auto is_step = [](float scale) { return std::isfinite(scale) && scale >= 0; };
  if (!is_permutation_of(t.order, inputs) || !are_whole_groups(t.sizes, inputs) ||
      !std::all_of(t.scales.begin(), t.scales.end(), is_step)) {
    return Status::failure(ErrorCode::model_tensor_shape,
                           "Tensors '" + prefix + "*' must be an order of " + std::to_string(inputs) +
                               " channels, sizes of up to 24 groups in units of 4 that sum to that, and steps.");
  }
  order = t.order;
  scales_ = t.scales;
  uint32_t end = 0;
  for (size_t g = 0; g < t.sizes.size(); ++g) {
    end += static_cast<uint32_t>(t.sizes[g]) / 4;
    ends.push_back(end);
    finer.resize(size_t{4} * end, static_cast<float>(uint32_t{1} << g));
    weight.resize(size_t{4} * end, static_cast<int32_t>(uint32_t{1} << (t.sizes.size() - 1 - g)));
  }
  bias.resize(inputs);
  for (size_t i = 0; i < inputs && !t.bias.empty(); ++i) bias[i] = t.bias[static_cast<size_t>(order[i])];
  // Codes of activations reach 127, of weights 128 or 8: a file may hold the lowest one, though no quantizer makes it.
  for (size_t i = 0; i < 2; ++i) {
    wide[i] = tender_accumulator_max(ends.data(), ends.size(), 127, i == 0 ? 128 : 8) > INT32_MAX;
  }
  return Status::success();
}

float TenderPlan::scale(int32_t position) const noexcept {
  return scales_[std::min(activation_chunk(position), scales_.size() - 1)];
}

}  // namespace nibble
