// How linear layers read their inputs.
#include <algorithm>

#include "../formats/a8_table.h"
#include "weights.h"

namespace nibble {

bool Linear::reads_codes() const noexcept {
  return activations != ActivationKind::f32 && std::any_of(segments.begin(), segments.end(), [](const Segment& s) {
           return !info(s.weights.format).is_float();
         });
}

bool Linear::reads_floats() const noexcept {
  return activations == ActivationKind::f32 || std::any_of(segments.begin(), segments.end(), [](const Segment& s) {
           return info(s.weights.format).is_float();
         });
}

bool Linear::has_planes() const noexcept {
  return std::any_of(segments.begin(), segments.end(), [](const Segment& s) { return info(s.weights.format).planes; });
}

namespace {

/// Rows with one scale are computed by Tender alone, and Tender has no other weights.
Status check_tender(const Linear& linear) {
  const bool row_scaled = std::all_of(linear.segments.begin(), linear.segments.end(),
                                      [](const Linear::Segment& s) { return info(s.weights.format).is_row_scaled(); });
  const bool any = std::any_of(linear.segments.begin(), linear.segments.end(),
                               [](const Linear::Segment& s) { return info(s.weights.format).is_row_scaled(); });
  const bool is_tender = linear.activations == ActivationKind::tender8 || linear.activations == ActivationKind::tender4;
  const bool fits = is_tender || linear.activations == ActivationKind::f32;
  if (any == row_scaled && any == !linear.tender.empty() && (any ? fits : !is_tender)) return Status::success();
  return Status::failure(ErrorCode::model_tensor_shape,
                         "Matrices with one scale a row, their order of channels and Tender's activations belong "
                         "together.");
}

Status choose(Linear& linear, ActivationKind kind) {
  linear.activations = kind;
  if (Status status = check_tender(linear); !status.ok()) return status;
  size_t group = 0;
  for (const Linear::Segment& segment : linear.segments) {
    const WeightFormatInfo& format = info(segment.weights.format);
    if (format.is_float()) continue;
    if (kind != ActivationKind::f32 && group != 0 && group != format.activation_group()) {
      return Status::failure(ErrorCode::model_tensor_shape,
                             "Matrices that read the same input have groups of " + std::to_string(group) + " and " +
                                 std::to_string(format.activation_group()) + ": it can't be quantized for both.");
    }
    group = format.activation_group();
  }
  if (group != 0) linear.activation_group = group;
  // Tables have bytes for the sums of four codes: matrices that read the same codes share these limits.
  linear.levels = linear.has_planes() ? kTableLevels : 127;
  return Status::success();
}

void choose_lookup(Linear& linear, const LookupColumns& columns) noexcept {
  for (const Linear::Segment& segment : linear.segments) {
    const WeightFormatInfo& format = info(segment.weights.format);
    if (format.planes && linear.reads_codes()) {
      linear.lookup_columns = std::max(linear.lookup_columns, std::min(columns[format.bits - 1], kLookupColumnsMax));
    }
  }
}

}  // namespace

Status Weights::choose_activations(const std::vector<LayerActivations>& by_layer, ActivationKind of_head,
                                   const std::vector<float>& thresholds) {
  const auto refuse = [](const char* what) { return Status::failure(ErrorCode::native_invalid_argument, what); };
  const auto late = [](ActivationKind kind) { return kind == ActivationKind::agile; };
  Status status = choose(head, of_head);
  bool agile = false;
  for (size_t i = 0; i < layers.size() && status.ok(); ++i) {
    const LayerActivations& kinds = by_layer[i];
    if (late(of_head) || late(kinds.qkv)) return refuse("The inputs of qkv and head can't be agile.");
    agile = agile || late(kinds.output) || late(kinds.gate_up) || late(kinds.down);
    status = choose(layers[i].qkv, kinds.qkv);
    if (status.ok()) status = choose(layers[i].output, kinds.output);
    if (status.ok()) status = choose(layers[i].gate_up, kinds.gate_up);
    if (status.ok()) status = choose(layers[i].down, kinds.down);
  }
  if (!status.ok() || !agile) return status;
  if (thresholds.size() != layers.size()) return refuse("Agile activations need a threshold for each layer.");
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!(thresholds[i] >= 0)) return refuse("A threshold of agile activations is negative or NaN.");
    layers[i].output.threshold = layers[i].gate_up.threshold = layers[i].down.threshold = thresholds[i];
  }
  return status;
}

void Weights::choose_lookups(const LookupColumns& columns) noexcept {
  choose_lookup(head, columns);
  for (LayerWeights& layer : layers) {
    for (Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) choose_lookup(*linear, columns);
  }
}

bool Weights::has_planes() const noexcept {
  return head.has_planes() || std::any_of(layers.begin(), layers.end(), [](const LayerWeights& layer) {
           return layer.qkv.has_planes() || layer.output.has_planes() || layer.gate_up.has_planes() ||
                  layer.down.has_planes();
         });
}

bool Weights::any_agile() const noexcept {
  return std::any_of(layers.begin(), layers.end(), [](const LayerWeights& layer) {
    return layer.output.activations == ActivationKind::agile || layer.gate_up.activations == ActivationKind::agile ||
           layer.down.activations == ActivationKind::agile;
  });
}

}  // namespace nibble
