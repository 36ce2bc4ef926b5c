#pragma once
// What commands and tests need beside a model: the machine, its limits, kernels on their own.
#include <napi.h>

namespace nibble::addon {

Napi::Value cpu_info(const Napi::CallbackInfo& info);
/// Gives memory that malloc keeps for later back to the system, where its malloc can (glibc).
void trim_memory(const Napi::CallbackInfo& info);
Napi::Value dequantize(const Napi::CallbackInfo& info);
/// Rows of a Float32Array, rotated (engine/rotation.h), or by Hadamard matrices of a head each.
Napi::Value rotate_rows(const Napi::CallbackInfo& info);
Napi::Value roofline(const Napi::CallbackInfo& info);
Napi::Value list_kernel_families(const Napi::CallbackInfo& info);
Napi::Value time_kernel(const Napi::CallbackInfo& info);
Napi::Value check_kernels(const Napi::CallbackInfo& info);

}  // namespace nibble::addon
