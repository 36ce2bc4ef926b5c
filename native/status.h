#pragma once
#include <functional>
#include <string>
#include <utility>

namespace nibble {

/// Codes that reach JavaScript: see NativeErrorCode in src/native/contract.ts.
enum class ErrorCode {
  none,
  native_invalid_argument,
  model_file_unreadable,
  model_tensor_out_of_range,
  model_tensor_type_unsupported,
  model_tensor_shape,
  model_tensor_missing,
  model_tensor_not_finite,
  pack_not_stored,
  native_out_of_memory,
  native_closed,
  native_internal,
};
const char* error_code_name(ErrorCode code) noexcept;

/// Success, or a coded failure with a message for the user.
struct [[nodiscard]] Status {
  ErrorCode code = ErrorCode::none;
  std::string message;

  bool ok() const noexcept { return code == ErrorCode::none; }
  static Status success() { return {}; }
  static Status failure(ErrorCode code, std::string message) { return {code, std::move(message)}; }
};

/// Runs `work` and turns exceptions (no memory, anything unknown) into a coded failure: nothing throws across Node-API.
Status guard(const std::function<Status()>& work) noexcept;

}  // namespace nibble
