// Calibration of a model: methods of NativeModel that collect and hand out statistics of its linear layers' inputs.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "convert.h"
#include "model.h"

namespace nibble::addon {
namespace {

constexpr size_t kChunksMax = 4096;
constexpr const char* kInputNames[] = {"qkv", "output", "gateUp", "down"};

Status read_options(Napi::Env env, const Napi::Value& value, size_t layers, CalibrationOptions& options) {
  Reader reader(env, value, "options");
  options.chunk_tokens = reader.size("chunkTokens", size_t{1} << 24);
  options.chunks = reader.size("chunks", kChunksMax);
  if (options.chunk_tokens == 0) reader.fail("chunkTokens", "at least 1");
  if (options.chunks == 0) reader.fail("chunks", "at least 1");
  options.hessians.assign(layers + 1, false);
  for (const int32_t layer : reader.int32s("hessianLayers")) {
    if (layer < 0 || static_cast<size_t>(layer) > layers) {
      reader.fail("hessianLayers", "layers of the model (their count: the head)");
      break;
    }
    options.hessians[static_cast<size_t>(layer)] = true;
  }
  return reader.status();
}

Napi::Value statistics_to_js(Napi::Env env, const InputStatistics& statistics) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("inputs", static_cast<double>(statistics.inputs));
  object.Set("tokens", static_cast<double>(statistics.tokens));
  object.Set("minima", to_js(env, statistics.minima));
  object.Set("maxima", to_js(env, statistics.maxima));
  Napi::Float64Array squares = Napi::Float64Array::New(env, statistics.squares.size());
  std::copy(statistics.squares.begin(), statistics.squares.end(), squares.Data());
  object.Set("squares", squares);
  Napi::Float64Array magnitudes = Napi::Float64Array::New(env, statistics.magnitudes.size());
  std::transform(statistics.magnitudes.begin(), statistics.magnitudes.end(), magnitudes.Data(),
                 [](uint64_t count) { return static_cast<double>(count); });
  object.Set("magnitudes", magnitudes);
  if (statistics.hessian.data() == nullptr) {
    object.Set("hessian", env.Null());
  } else {
    const size_t count = statistics.inputs * statistics.inputs;
    Napi::Float32Array hessian = Napi::Float32Array::New(env, count);
    std::copy_n(reinterpret_cast<const float*>(statistics.hessian.data()), count, hessian.Data());
    object.Set("hessian", hessian);
  }
  return object;
}

}  // namespace

void ModelObject::start_calibration(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Status status = guard([&] {
    if (!engine_ || closed_) return Status::failure(ErrorCode::native_closed, "The model is closed.");
    CalibrationOptions options;
    const size_t layers = engine_->model().spec.layers;
    if (Status read = read_options(env, info[0], layers, options); !read.ok()) return read;
    const EngineOptions& limits = engine_->options();
    auto calibration = std::make_unique<Calibration>(engine_->model(), options, limits.step_tokens_max);
    if (!calibration->ok()) {
      return Status::failure(ErrorCode::native_out_of_memory, "No memory for the statistics of this many layers.");
    }
    if (Status observed = engine_->observe(calibration.get()); !observed.ok()) return observed;
    calibration_ = std::move(calibration);
    return Status::success();
  });
  if (!status.ok()) throw_status(env, status);
}

Napi::Value ModelObject::take_statistics(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto refuse = [&](ErrorCode code, const char* message) {
    throw_status(env, Status::failure(code, message));
    return env.Undefined();
  };
  if (!engine_ || closed_) return refuse(ErrorCode::native_closed, "The model is closed.");
  if (in_flight_ > 0) return refuse(ErrorCode::native_invalid_argument, "A step is in flight.");
  if (!calibration_) return refuse(ErrorCode::native_invalid_argument, "The model isn't being calibrated.");
  const double layer = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
  const std::string name = info[1].IsString() ? info[1].As<Napi::String>().Utf8Value() : "";
  const size_t layers = engine_->model().spec.layers;
  if (!(layer >= 0 && layer <= static_cast<double>(layers) && layer == std::floor(layer))) {
    return refuse(ErrorCode::native_invalid_argument, "layer must be a layer of the model.");
  }
  const bool is_head = layer == static_cast<double>(layers);
  const auto* found = std::find(std::begin(kInputNames), std::end(kInputNames), name);
  if (is_head ? name != "head" : found == std::end(kInputNames)) {
    return refuse(ErrorCode::native_invalid_argument, "input must name an input of the layer.");
  }
  const auto input = is_head ? 0 : static_cast<size_t>(found - std::begin(kInputNames));
  const Napi::Value object = statistics_to_js(env, calibration_->complete(static_cast<size_t>(layer), input));
  calibration_->drop_hessian(static_cast<size_t>(layer), input);
  return object;
}

void ModelObject::end_calibration(const Napi::CallbackInfo& info) {
  if (!calibration_) return;
  Status status = closed_ ? Status::success() : engine_->observe(nullptr);
  if (status.ok()) {
    calibration_.reset();
  } else {
    throw_status(info.Env(), status);
  }
}

}  // namespace nibble::addon
