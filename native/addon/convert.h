#pragma once
// Arguments from JavaScript, checked: everything that can be wrong in them is a coded error, never a crash.
#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../status.h"

namespace nibble::addon {

/// Throws a JavaScript Error with `code` and message.
void throw_status(Napi::Env env, const Status& status);
/// The same error as a value, for promises.
Napi::Value error_value(Napi::Env env, const Status& status);

/// Reads properties of an object; after the first failure every read returns a default and `status` says what failed.
class Reader {
 public:
  Reader(Napi::Env env, const Napi::Value& value, std::string what);

  size_t size(const char* key, size_t max);
  double number(const char* key, double min, double max);
  bool boolean(const char* key);
  std::string string(const char* key);
  uint64_t bigint(const char* key);
  /// The first `count` elements of an Int32Array (all of them if count is SIZE_MAX).
  std::vector<int32_t> int32s(const char* key, size_t count = SIZE_MAX);
  std::vector<float> floats(const char* key);
  Napi::Value value(const char* key);
  Reader object(const char* key);
  void fail(const char* key, const char* expected);

  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  /// Takes over the failure of a nested reader.
  void merge(const Reader& nested) {
    if (status_.ok()) status_ = nested.status_;
  }

 private:
  Napi::Env env_;
  Napi::Object object_;
  std::string what_;
  Status status_;
};

Napi::Int32Array to_js(Napi::Env env, const std::vector<int32_t>& values);
Napi::Float32Array to_js(Napi::Env env, const std::vector<float>& values);
Napi::Uint8Array to_js(Napi::Env env, const std::vector<uint8_t>& values);

}  // namespace nibble::addon
