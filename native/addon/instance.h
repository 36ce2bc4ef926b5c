#pragma once
#include <napi.h>

namespace nibble::addon {

/// What one environment (main thread or worker) keeps of the addon; nothing is static.
struct Instance {
  Napi::FunctionReference model_class;
};

}  // namespace nibble::addon
