#pragma once
#include <napi.h>

namespace nibble::addon {

/// quantizeMatrix(request): Promise<QuantizedMatrix>
Napi::Value quantize_matrix(const Napi::CallbackInfo& info);

}  // namespace nibble::addon
