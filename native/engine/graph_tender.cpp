// Linear layers whose input is in Tender's groups of channels.
#include "graph.h"

namespace nibble {

void Graph::quantize_tender(const Linear& linear, int32_t position, const float* row, float* own,
                            A8Block* out) const noexcept {
  const TenderPlan& plan = linear.tender;
  const float scale = plan.own_steps() ? 0.0f : plan.scale(position);
  const float last = static_cast<float>(uint32_t{1} << (plan.groups() - 1));
  model_.tender->quantize(row,
                          {.order = plan.order.data(),
                           .bias = plan.bias.data(),
                           .finer = plan.finer.data(),
                           .weight = plan.weight.data(),
                           .inputs = linear.inputs,
                           .inverse = scale > 0 ? 1.0f / scale : 0.0f,
                           .step = scale / last,
                           .limit = linear.activations == ActivationKind::tender4 ? 7.0f : 127.0f,
                           .last = 1.0f / last,
                           .own = plan.own_steps() ? own : nullptr},
                          out);
}

void Graph::order_tender(const Linear& linear, const float* row, float* out) const noexcept {
  const TenderPlan& plan = linear.tender;
  for (size_t i = 0; i < linear.inputs; ++i) out[i] = row[plan.order[i]] - plan.bias[i];
}

void Graph::linear_tender(const Linear& linear, const PackedView& weights, const LinearTask& task) const noexcept {
  const size_t kind = weights.format == WeightFormat::w8row ? 0 : 1;
  if (linear.activations == ActivationKind::f32) return model_.tender->linear_f32[kind](task);
  const TenderPlan& plan = linear.tender;
  model_.tender->linear[kind]({task, plan.ends.data(), plan.groups(), plan.wide[kind]});
}

}  // namespace nibble
