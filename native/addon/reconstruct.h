#pragma once
#include <napi.h>

namespace nibble::addon {

/// reconstructBlock(request): Promise<ReconstructedBlock>
Napi::Value reconstruct_block(const Napi::CallbackInfo& info);
/// blockGradients(request, gradient): Promise<BlockGradients>
Napi::Value block_gradients(const Napi::CallbackInfo& info);

}  // namespace nibble::addon
