#include "status.h"

#include <exception>
#include <new>

namespace nibble {

const char* error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::none:
      return "none";
    case ErrorCode::native_invalid_argument:
      return "native_invalid_argument";
    case ErrorCode::model_file_unreadable:
      return "model_file_unreadable";
    case ErrorCode::model_tensor_out_of_range:
      return "model_tensor_out_of_range";
    case ErrorCode::model_tensor_type_unsupported:
      return "model_tensor_type_unsupported";
    case ErrorCode::model_tensor_shape:
      return "model_tensor_shape";
    case ErrorCode::model_tensor_missing:
      return "model_tensor_missing";
    case ErrorCode::model_tensor_not_finite:
      return "model_tensor_not_finite";
    case ErrorCode::pack_not_stored:
      return "pack_not_stored";
    case ErrorCode::native_out_of_memory:
      return "native_out_of_memory";
    case ErrorCode::native_closed:
      return "native_closed";
    case ErrorCode::native_internal:
      return "native_internal";
  }
  return "native_internal";
}

Status guard(const std::function<Status()>& work) noexcept {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Status::failure(ErrorCode::native_out_of_memory, "No memory.");
  } catch (const std::exception& error) {
    return Status::failure(ErrorCode::native_internal, error.what());
  } catch (...) {
    return Status::failure(ErrorCode::native_internal, "An unknown error occurred.");
  }
}

}  // namespace nibble
