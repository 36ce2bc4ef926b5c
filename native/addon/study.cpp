// studyInput and inputRanges of NativeModel: what InputStudy (engine) does, from JavaScript.
#include <cmath>
#include <utility>

#include "convert.h"
#include "model.h"

namespace nibble::addon {
namespace {

/// Codes of at most 16 bits; and more groups than powers of two between the largest and smallest float make no sense.
constexpr double kLimitMax = 32767;
constexpr size_t kGroupsMax = 256;

Status read_rule(Napi::Env env, const Napi::Value& value, InputRule& rule) {
  using Kind = InputRule::Kind;
  if (value.IsNull()) return Status::success();
  Reader reader(env, value, "rule");
  const std::string kind = reader.string("kind");
  if (kind != "record") rule.limit = static_cast<float>(reader.number("limit", 1, kLimitMax));
  if (kind == "record") {
    rule.kind = Kind::record;
  } else if (kind == "fixed" || kind == "ratios") {
    rule.kind = kind == "fixed" ? Kind::fixed : Kind::ratios;
    rule.steps = reader.floats("steps");
    rule.bias = reader.floats("bias");
  } else if (kind == "token") {
    rule.kind = Kind::token;
  } else if (kind == "window") {
    rule.kind = Kind::window;
    rule.groups = reader.size("groups", kGroupsMax);
    rule.centred = reader.boolean("centred");
  } else {
    reader.fail("kind", "record, fixed, token, ratios or window");
  }
  return reader.status();
}

}  // namespace

Status ModelObject::read_input(const Napi::Value& value, size_t& id) const {
  if (!engine_ || closed_) return Status::failure(ErrorCode::native_closed, "The model is closed.");
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  const auto inputs = static_cast<double>(4 * engine_->model().weights.layers.size());
  if (!(number >= 0 && number < inputs && number == std::floor(number))) {
    return Status::failure(ErrorCode::native_invalid_argument, "There is no such input.");
  }
  id = static_cast<size_t>(number);
  return Status::success();
}

void ModelObject::study_input(const Napi::CallbackInfo& info) {
  size_t id = 0;
  InputRule rule;
  Status status = read_input(info[0], id);
  if (status.ok()) status = read_rule(info.Env(), info[1], rule);
  if (status.ok()) status = guard([&] { return engine_->study_input(id, std::move(rule)); });
  if (!status.ok()) throw_status(info.Env(), status);
}

Napi::Value ModelObject::input_ranges(const Napi::CallbackInfo& info) {
  size_t id = 0;
  if (Status status = read_input(info[0], id); !status.ok()) {
    throw_status(info.Env(), status);
    return info.Env().Undefined();
  }
  const InputStudy* study = engine_->model().study.get();
  const std::span<const float> ranges = study == nullptr ? std::span<const float>() : study->ranges(id);
  return to_js(info.Env(), std::vector<float>(ranges.begin(), ranges.end()));
}

}  // namespace nibble::addon
