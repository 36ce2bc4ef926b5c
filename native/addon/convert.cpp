#include "convert.h"

#include <cmath>
#include <cstring>

namespace nibble::addon {

Napi::Value error_value(Napi::Env env, const Status& status) {
  Napi::Error error = Napi::Error::New(env, status.message);
  error.Set("code", Napi::String::New(env, error_code_name(status.code)));
  return error.Value();
}

void throw_status(Napi::Env env, const Status& status) {
  Napi::Error(env, error_value(env, status)).ThrowAsJavaScriptException();
}

Reader::Reader(Napi::Env env, const Napi::Value& value, std::string what) : env_(env), what_(std::move(what)) {
  if (value.IsObject()) {
    object_ = value.As<Napi::Object>();
  } else {
    status_ = Status::failure(ErrorCode::native_invalid_argument, what_ + " must be an object.");
  }
}

void Reader::fail(const char* key, const char* expected) {
  if (status_.ok()) {
    status_ = Status::failure(ErrorCode::native_invalid_argument, what_ + "." + key + " must be " + expected + ".");
  }
}

Napi::Value Reader::value(const char* key) {
  if (!status_.ok()) return env_.Undefined();
  Napi::Value found = object_.Get(key);
  if (env_.IsExceptionPending()) {  // a getter or proxy threw
    env_.GetAndClearPendingException();
    fail(key, "readable");
    return env_.Undefined();
  }
  return found;
}

double Reader::number(const char* key, double min, double max) {
  const Napi::Value found = value(key);
  const double number = found.IsNumber() ? found.As<Napi::Number>().DoubleValue() : NAN;
  if (!(number >= min && number <= max)) {
    fail(key, "a number in range");
    return min;
  }
  return number;
}

size_t Reader::size(const char* key, size_t max) {
  const double number = this->number(key, 0, static_cast<double>(max));
  if (number != std::floor(number)) fail(key, "an integer");
  return static_cast<size_t>(number);
}

bool Reader::boolean(const char* key) {
  const Napi::Value found = value(key);
  if (!found.IsBoolean()) {
    fail(key, "a boolean");
    return false;
  }
  return found.As<Napi::Boolean>().Value();
}

std::string Reader::string(const char* key) {
  const Napi::Value found = value(key);
  if (!found.IsString()) {
    fail(key, "a string");
    return {};
  }
  return found.As<Napi::String>().Utf8Value();
}

uint64_t Reader::bigint(const char* key) {
  const Napi::Value found = value(key);
  bool lossless = false;
  const uint64_t number = found.IsBigInt() ? found.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
  if (!lossless) fail(key, "an unsigned 64-bit BigInt");
  return number;
}

Reader Reader::object(const char* key) {
  Reader nested(env_, value(key), what_ + "." + key);
  if (!status_.ok()) nested.status_ = status_;
  return nested;
}

std::vector<int32_t> Reader::int32s(const char* key, size_t count) {
  const Napi::Value found = value(key);
  if (!found.IsTypedArray() || found.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    fail(key, "an Int32Array");
    return {};
  }
  const auto array = found.As<Napi::Int32Array>();
  if (count == SIZE_MAX) count = array.ElementLength();
  if (array.ElementLength() < count) {
    fail(key, "long enough");
    return {};
  }
  if (count == 0) return {};
  return std::vector<int32_t>(array.Data(), array.Data() + count);
}

std::vector<float> Reader::floats(const char* key) {
  const Napi::Value found = value(key);
  if (!found.IsTypedArray() || found.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
    fail(key, "a Float32Array");
    return {};
  }
  const auto array = found.As<Napi::Float32Array>();
  if (array.ElementLength() == 0) return {};
  return std::vector<float>(array.Data(), array.Data() + array.ElementLength());
}

namespace {
template <class Array, class T>
Array copy(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(T));
  return array;
}
}  // namespace

Napi::Int32Array to_js(Napi::Env env, const std::vector<int32_t>& values) {
  return copy<Napi::Int32Array>(env, values);
}
Napi::Float32Array to_js(Napi::Env env, const std::vector<float>& values) {
  return copy<Napi::Float32Array>(env, values);
}
Napi::Uint8Array to_js(Napi::Env env, const std::vector<uint8_t>& values) {
  return copy<Napi::Uint8Array>(env, values);
}

}  // namespace nibble::addon
