#include "quantize.h"

#include <memory>

#include "../quant/quantize_matrix.h"
#include "background.h"
#include "convert.h"

namespace nibble::addon {
namespace {

/// Bounds of src/native/contract.ts; products of two dimensions fit 64 bits.
constexpr size_t kDimensionMax = size_t{1} << 24;
constexpr size_t kThreadsMax = 1024;
constexpr size_t kSweepsMax = 100;

Status read_request(Napi::Env env, const Napi::Value& value, QuantizeRequest& request) {
  Reader reader(env, value, "request");
  request.rows = reader.size("rows", kDimensionMax);
  request.cols = reader.size("cols", kDimensionMax);
  request.weights = reader.floats("weights");
  request.format = find_code_format(reader.string("format"));
  if (request.format == nullptr) reader.fail("format", "the name of a quantized format");
  const std::string rounding = reader.string("rounding");
  if (rounding != "rtn" && rounding != "gptq") reader.fail("rounding", "'rtn' or 'gptq'");
  request.feeds_back = rounding == "gptq";
  const std::string clip = reader.string("clip");
  if (clip != "none" && clip != "mse") reader.fail("clip", "'none' or 'mse'");
  request.fits_scales = clip == "mse";
  if (!reader.value("learnsLevels").IsUndefined()) request.learns_levels = reader.boolean("learnsLevels");
  request.by_size = reader.boolean("actOrder");
  request.damping = reader.number("damping", 0, 1000);
  request.sweeps = reader.size("sweeps", kSweepsMax);
  request.threads = reader.size("threads", kThreadsMax);
  if (request.threads == 0) reader.fail("threads", "at least 1");
  if (!reader.value("hessian").IsUndefined()) request.hessian = reader.floats("hessian");
  if (!reader.value("importance").IsUndefined()) request.importance = reader.floats("importance");
  if (request.sweeps > 0 && request.hessian.empty()) reader.fail("hessian", "given where sweeps are wanted");
  return reader.status();
}

}  // namespace

Napi::Value quantize_matrix(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto request = std::make_shared<QuantizeRequest>();
  const Status read = guard([&] { return read_request(env, info[0], *request); });
  if (!read.ok()) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(error_value(env, read));
    return deferred.Promise();
  }
  return run_in_background<QuantizeResult>(
      env, "nibble.quantize", {},
      [request](QuantizeResult& result) { return nibble::quantize_matrix(*request, result); },
      [](Napi::Env settle_env, QuantizeResult& result) {
        Napi::Object object = Napi::Object::New(settle_env);
        object.Set("bytes", to_js(settle_env, result.bytes));
        object.Set("error", result.error);
        return object.As<Napi::Value>();
      });
}

}  // namespace nibble::addon
