#include "reconstruct.h"

#include <memory>

#include "../formats/pack.h"
#include "../reconstruct/reconstruct.h"
#include "background.h"
#include "spec.h"

namespace nibble::addon {
namespace {

/// Bounds of src/native/reconstruct-types.ts; products of three stay below 2^63.
constexpr size_t kDimensionMax = size_t{1} << 20;
constexpr size_t kWindowMax = 8192;
constexpr size_t kStepsMax = 1'000'000;
constexpr size_t kThreadsMax = 1024;

constexpr const char* kMatrixNames[kBlockMatrices] = {"qkv", "output", "gateUp", "down"};
constexpr const char* kGainNames[2] = {"attention", "ffn"};

/// A request, and references to the arrays that the work uses where they are.
struct Work {
  ReconstructRequest request;
  Napi::ObjectReference kept;
  std::vector<float> d_out;
};

/// The elements of a typed array, which stays the caller's.
template <class Array>
Array read_array(Reader& reader, const char* key, napi_typedarray_type type, const char* expected) {
  const Napi::Value value = reader.value(key);
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type) return value.As<Array>();
  reader.fail(key, expected);
  return Array();
}

void read_matrix(Reader& layer, size_t index, Work& work, Napi::Array& kept) {
  ReconstructRequest& request = work.request;
  Reader reader = layer.object(kMatrixNames[index]);
  MatrixSource& matrix = request.matrices[index];
  matrix.rows = request.shape.rows(index);
  matrix.inputs = request.shape.inputs(index);
  matrix.type = static_cast<uint32_t>(reader.size("type", UINT32_MAX));
  request.rounding.activations[index] = read_activation_kind(reader);
  const auto weights = read_array<Napi::Float32Array>(reader, "weights", napi_float32_array, "a Float32Array");
  const auto blocks = read_array<Napi::Uint8Array>(reader, "blocks", napi_uint8_array, "a Uint8Array");
  if (reader.ok()) {
    const GgmlTypeInfo* type = ggml_type_info(matrix.type);
    const size_t bytes = type == nullptr ? 0 : ggml_bytes(*type, matrix.rows, matrix.inputs);
    if (bytes == 0 || blocks.ByteLength() != bytes) reader.fail("blocks", "whole rows of blocks of a known type");
    if (weights.ElementLength() != matrix.rows * matrix.inputs) reader.fail("weights", "rows of inputs");
    if (type != nullptr) request.rounding.groups[index] = std::max<size_t>(32, info(type->home).activation_group());
    matrix.weights = weights.Data();
    matrix.blocks = blocks.Data();
    kept.Set(kept.Length(), weights);
    kept.Set(kept.Length(), blocks);
  }
  layer.merge(reader);
}

void read_shape(Reader& reader, ReconstructRequest& request) {
  ArchitectureSpec spec;
  read_architecture(reader, spec);
  for (const size_t size : {spec.hidden, spec.heads, spec.kv_heads, spec.head_dim, spec.ffn}) {
    if (size == 0 || size > kDimensionMax) reader.fail("architecture", "of at most 2^20 in each size");
  }
  if (spec.qk_norm) reader.fail("architecture", "without norms of queries and keys");
  const size_t tokens = reader.size("windowTokens", kWindowMax);
  request.shape = {spec.hidden, spec.heads,   spec.kv_heads,         spec.head_dim,
                   spec.ffn,    spec.rms_eps, spec.rope.interleaved, tokens};
  request.rope = spec.rope;
  if (!reader.value("ropeFactors").IsUndefined()) request.rope_factors = reader.floats("ropeFactors");
}

void read_states(Reader& reader, ReconstructRequest& request, Napi::Array& kept) {
  const size_t window = request.shape.tokens * request.shape.hidden;
  const auto read = [&](const char* key, float*& states) {
    auto array = read_array<Napi::Float32Array>(reader, key, napi_float32_array, "a Float32Array");
    if (!reader.ok()) return;
    const size_t count = array.ElementLength();
    if (window == 0 || count == 0 || count % window != 0 || (request.windows != 0 && count / window != request.windows))
      return reader.fail(key, "as many whole windows as the other");
    request.windows = count / window;
    states = array.Data();
    kept.Set(kept.Length(), array);
  };
  read("floatStates", request.float_states);
  read("states", request.states);
}

Status read_request(Napi::Env env, const Napi::Value& value, Work& work) {
  Reader reader(env, value, "request");
  ReconstructRequest& request = work.request;
  Napi::Array kept = Napi::Array::New(env);
  read_shape(reader, request);
  request.rotation = read_rotation(reader);
  if (!read_kv_formats(reader.string("kv"), request.rounding.kv)) reader.fail("kv", "'f16', 'kv8', 'kv4' or 'k8v4'");
  Reader matrices = reader.object("matrices");
  for (size_t i = 0; i < kBlockMatrices; ++i) read_matrix(matrices, i, work, kept);
  reader.merge(matrices);
  const auto read_gains = [&](const char* key, std::array<std::vector<float>, 2>& gains) {
    Reader nested = reader.object(key);
    for (size_t i = 0; i < gains.size(); ++i) gains[i] = nested.floats(kGainNames[i]);
    reader.merge(nested);
  };
  read_gains("gains", request.gains);
  read_gains("learnedGains", request.learned_gains);
  if (!reader.value("qkvBias").IsUndefined()) request.qkv_bias = reader.floats("qkvBias");
  read_states(reader, request, kept);
  request.steps = reader.size("steps", kStepsMax);
  request.step_windows = reader.size("stepWindows", 65536);
  request.weight_rate = reader.number("weightRate", 0, 1);
  request.level_rate = reader.number("levelRate", 0, 1);
  request.gain_rate = reader.number("gainRate", 0, 1);
  request.threads = reader.size("threads", kThreadsMax);
  if (request.threads == 0) reader.fail("threads", "at least 1");
  work.kept = Napi::Persistent(kept.As<Napi::Object>());
  return reader.status();
}

Napi::Object gains_to_js(Napi::Env env, const std::array<std::vector<float>, 2>& gains) {
  Napi::Object object = Napi::Object::New(env);
  for (size_t i = 0; i < gains.size(); ++i) object.Set(kGainNames[i], to_js(env, gains[i]));
  return object;
}

Napi::Value rejected(Napi::Env env, const Status& status) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Reject(error_value(env, status));
  return deferred.Promise();
}

}  // namespace

Napi::Value reconstruct_block(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto work = std::make_shared<Work>();
  const Status read = guard([&] { return read_request(env, info[0], *work); });
  if (!read.ok()) return rejected(env, read);
  Napi::ObjectReference kept = std::move(work->kept);
  return run_in_background<ReconstructResult>(
      env, "nibble.reconstruct", std::move(kept),
      [work](ReconstructResult& result) { return nibble::reconstruct_block(work->request, result); },
      [](Napi::Env settle_env, ReconstructResult& result) {
        Napi::Object object = Napi::Object::New(settle_env);
        Napi::Object blocks = Napi::Object::New(settle_env);
        for (size_t i = 0; i < kBlockMatrices; ++i) {
          if (!result.blocks[i].empty()) blocks.Set(kMatrixNames[i], to_js(settle_env, result.blocks[i]));
        }
        object.Set("blocks", blocks);
        object.Set("gains", gains_to_js(settle_env, result.gains));
        object.Set("errorBefore", result.error_before);
        object.Set("errorAfter", result.error_after);
        return object.As<Napi::Value>();
      });
}

Napi::Value block_gradients(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto work = std::make_shared<Work>();
  const Status read = guard([&] {
    Napi::Object arguments = Napi::Object::New(env);
    arguments.Set("gradient", info[1]);
    Reader reader(env, arguments, "blockGradients");
    work->d_out = reader.floats("gradient");
    return reader.ok() ? read_request(env, info[0], *work) : reader.status();
  });
  if (!read.ok()) return rejected(env, read);
  Napi::ObjectReference kept = std::move(work->kept);
  return run_in_background<BlockGradientsResult>(
      env, "nibble.gradients", std::move(kept),
      [work](BlockGradientsResult& result) { return nibble::block_gradients(work->request, work->d_out, result); },
      [](Napi::Env settle_env, BlockGradientsResult& result) {
        Napi::Object object = Napi::Object::New(settle_env);
        object.Set("out", to_js(settle_env, result.out));
        for (size_t i = 0; i < kBlockMatrices; ++i) {
          object.Set(kMatrixNames[i], to_js(settle_env, result.matrices[i]));
        }
        object.Set("gains", gains_to_js(settle_env, result.gains));
        return object.As<Napi::Value>();
      });
}

}  // namespace nibble::addon
