#include "tools.h"

#include <cmath>
#include <cstdlib>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "../bench/kernel_bench.h"
#include "../bench/roofline.h"
#include "../check/check.h"
#include "../engine/input_file.h"
#include "../engine/rotation.h"
#include "../engine/weights.h"
#include "../formats/pack.h"
#include "../threads/topology.h"
#include "background.h"

namespace nibble::addon {
namespace {

Napi::String isa_to_js(Napi::Env env, Isa isa) {
  return Napi::String::New(env, std::string(isa_name(isa)));
}

Isa read_isa(Reader& reader, const char* key) {
  Isa isa = Isa::scalar;
  if (!parse_isa(reader.string(key), isa)) reader.fail(key, "the name of a level");
  for (const Isa supported : supported_isas()) {
    if (supported == isa) return isa;
  }
  reader.fail(key, "a level that this host supports");
  return Isa::scalar;
}

Napi::Value rejected(Napi::Env env, const Status& status) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Reject(error_value(env, status));
  return deferred.Promise();
}

Status dequantize_tensor(const std::string& path, const Napi::Object& spec, Napi::Env env, std::vector<float>& out) {
  Reader reader(env, spec, "tensor");
  const auto id = static_cast<uint32_t>(reader.size("type", UINT32_MAX));
  const size_t offset = reader.size("offset", SIZE_MAX >> 12);
  const Napi::Value shape = reader.value("shape");
  if (!shape.IsArray() || shape.As<Napi::Array>().Length() == 0) reader.fail("shape", "an array of sizes");
  if (!reader.ok()) return reader.status();
  const auto sizes = shape.As<Napi::Array>();
  double rows = 1;
  for (uint32_t i = 1; i < sizes.Length(); ++i) rows *= sizes.Get(i).ToNumber().DoubleValue();
  const double cols = sizes.Get(0u).ToNumber().DoubleValue();
  const GgmlTypeInfo* type = ggml_type_info(id);
  if (type == nullptr) return Status::failure(ErrorCode::model_tensor_type_unsupported, "Type " + std::to_string(id));
  if (!(rows >= 1 && cols >= 1 && rows * cols <= 4e9)) {
    return Status::failure(ErrorCode::model_tensor_shape, "The tensor's shape is out of range.");
  }
  const auto row_count = static_cast<size_t>(rows);
  const auto col_count = static_cast<size_t>(cols);
  const size_t bytes = ggml_bytes(*type, row_count, col_count);
  if (bytes == 0)
    return Status::failure(ErrorCode::model_tensor_shape, "The width is no multiple of the type's block.");
  InputFile file;
  if (Status status = file.open(path); !status.ok()) return status;
  if (offset > file.bytes() || bytes > file.bytes() - offset) {
    return Status::failure(ErrorCode::model_tensor_out_of_range, "The tensor lies outside the file.");
  }
  std::vector<uint8_t> data(bytes);
  if (Status status = file.read(offset, data); !status.ok()) return status;
  out.resize(row_count * col_count);
  return dequantize_rows(static_cast<GgmlType>(id), data.data(), row_count, col_count, out.data());
}

}  // namespace

Napi::Value cpu_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Topology topology = read_topology();
  Napi::Object object = Napi::Object::New(env);
  object.Set("brand", Napi::String::New(env, topology.brand));
  object.Set("logicalCpus", Napi::Number::New(env, static_cast<double>(topology.logical_cpus)));
  object.Set("physicalCores", Napi::Number::New(env, static_cast<double>(topology.physical_cores)));
  object.Set("quotaCores",
             topology.quota_cores > 0 ? Napi::Number::New(env, topology.quota_cores).As<Napi::Value>() : env.Null());
  object.Set("defaultThreads", Napi::Number::New(env, static_cast<double>(topology.default_threads)));
  const auto supported = supported_isas();
  Napi::Array levels = Napi::Array::New(env, supported.size());
  for (uint32_t i = 0; i < supported.size(); ++i) levels.Set(i, isa_to_js(env, supported[i]));
  object.Set("levels", levels);
  object.Set("level", isa_to_js(env, selected_isa()));
  return object;
}

void trim_memory(const Napi::CallbackInfo&) {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

Napi::Value dequantize(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString() || !info[1].IsObject()) {
    throw_status(env, Status::failure(ErrorCode::native_invalid_argument, "dequantize takes a path and a tensor."));
    return env.Undefined();
  }
  std::vector<float> values;
  const Status status = guard([&] {
    return dequantize_tensor(info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::Object>(), env, values);
  });
  if (!status.ok()) {
    throw_status(env, status);
    return env.Undefined();
  }
  return to_js(env, values);
}

Napi::Value rotate_rows(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object arguments = Napi::Object::New(env);
  arguments.Set("values", info[0]);
  arguments.Set("width", info[1]);
  arguments.Set("how", info[2]);
  Reader reader(env, arguments, "rotateRows");
  std::vector<float> values = reader.floats("values");
  const size_t width = reader.size("width", size_t{1} << 24);
  const std::string how = reader.string("how");
  if (how != "forward" && how != "inverse" && how != "heads") reader.fail("how", "'forward', 'inverse' or 'heads'");
  if (width == 0 || values.size() % width != 0) reader.fail("values", "whole rows");
  const Rotation rotation = how == "heads" ? Rotation() : Rotation::of(width);
  const bool has_heads = how == "heads" && width % 16 == 0 && width <= 256;
  if (reader.ok() && rotation.empty() && !has_heads) reader.fail("width", "one that has a rotation");
  if (!reader.ok()) {
    throw_status(env, reader.status());
    return env.Undefined();
  }
  const KernelTable& kernels = *kernel_table(selected_isa());
  std::vector<float> scratch(width);
  for (size_t at = 0; at < values.size(); at += width) {
    if (has_heads) {
      kernels.hadamard(values.data() + at, 1, width);
    } else {
      kernels.rotate(how == "forward" ? rotation.view() : rotation.inverse(), values.data() + at, scratch.data());
    }
  }
  return to_js(env, values);
}

Napi::Value roofline(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object arguments = Napi::Object::New(env);
  arguments.Set("isa", info[0]);
  arguments.Set("threads", info[1]);
  arguments.Set("milliseconds", info[2]);
  Reader reader(env, arguments, "roofline");
  const Isa isa = read_isa(reader, "isa");
  const size_t threads = reader.size("threads", 1024);
  const double milliseconds = reader.number("milliseconds", 1, 60000);
  if (!reader.ok()) return rejected(env, reader.status());
  return run_in_background<RooflineResult>(
      env, "nibble.roofline", {},
      [=](RooflineResult& result) {
        result = measure_roofline(isa, threads, milliseconds);
        return Status::success();
      },
      [](Napi::Env settle_env, RooflineResult& result) {
        Napi::Object object = Napi::Object::New(settle_env);
        object.Set("isa", isa_to_js(settle_env, result.isa));
        object.Set("threads", static_cast<double>(result.threads));
        object.Set("readGBs", result.read_gbs);
        object.Set("int8GMacs", result.int8_gmacs);
        object.Set("fp32GMacs", result.fp32_gmacs);
        return object.As<Napi::Value>();
      });
}

Napi::Value list_kernel_families(const Napi::CallbackInfo& info) {
  const std::vector<std::string> families = kernel_families();
  Napi::Array array = Napi::Array::New(info.Env(), families.size());
  for (uint32_t i = 0; i < families.size(); ++i) array.Set(i, families[i]);
  return array;
}

Napi::Value time_kernel(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Reader reader(env, info[0], "request");
  KernelRequest request;
  request.isa = read_isa(reader, "isa");
  request.gemv = reader.string("op") == "gemv";
  request.family = reader.string("family");
  request.m = reader.size("m", 65536);
  request.n = reader.size("n", size_t{1} << 20);
  request.k = reader.size("k", size_t{1} << 20);
  request.threads = reader.size("threads", 1024);
  request.seed = reader.size("seed", 0xffffffff);
  request.milliseconds = reader.number("milliseconds", 0, 60000);
  if (!reader.ok()) return rejected(env, reader.status());
  return run_in_background<KernelResult>(
      env, "nibble.kernel", {}, [request](KernelResult& result) { return run_kernel(request, result); },
      [](Napi::Env settle_env, KernelResult& result) {
        Napi::Object object = Napi::Object::New(settle_env);
        object.Set("isa", isa_to_js(settle_env, result.isa));
        object.Set("equal", result.equal);
        object.Set("gMacs", result.gmacs);
        object.Set("weightGBs", result.weight_gbs);
        object.Set("weightBytes", static_cast<double>(result.weight_bytes));
        object.Set("macs", static_cast<double>(result.macs));
        return object.As<Napi::Value>();
      });
}

Napi::Value check_kernels(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object arguments = Napi::Object::New(env);
  arguments.Set("isa", info[0]);
  arguments.Set("seed", info[1]);
  Reader reader(env, arguments, "checkKernels");
  const Isa isa = read_isa(reader, "isa");
  const size_t seed = reader.size("seed", 0xffffffff);
  if (!reader.ok()) return rejected(env, reader.status());
  return run_in_background<CheckReport>(
      env, "nibble.check", {},
      [=](CheckReport& report) {
        report = check_level(isa, seed);
        return Status::success();
      },
      [](Napi::Env settle_env, CheckReport& report) {
        Napi::Object object = Napi::Object::New(settle_env);
        object.Set("cases", static_cast<double>(report.cases));
        object.Set("calls", static_cast<double>(report.calls));
        Napi::Array failures = Napi::Array::New(settle_env, report.failures.size());
        for (uint32_t i = 0; i < report.failures.size(); ++i) failures.Set(i, report.failures[i]);
        object.Set("failures", failures);
        return object.As<Napi::Value>();
      });
}

}  // namespace nibble::addon
