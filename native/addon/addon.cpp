#include <napi.h>

#include "instance.h"
#include "model.h"
#include "quantize.h"
#include "reconstruct.h"
#include "tools.h"

namespace nibble::addon {
namespace {

/// CONTRACT_VERSION of src/native/contract.ts.
constexpr int kContractVersion = 10;

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  auto* instance = new Instance;
  instance->model_class = Napi::Persistent(ModelObject::define(env));
  env.SetInstanceData(instance);
  exports.Set("contractVersion", kContractVersion);
  exports.Set("cpuInfo", Napi::Function::New<cpu_info>(env));
  exports.Set("loadModel", Napi::Function::New<load_model>(env));
  exports.Set("trimMemory", Napi::Function::New<trim_memory>(env));
  exports.Set("dequantize", Napi::Function::New<dequantize>(env));
  exports.Set("rotateRows", Napi::Function::New<rotate_rows>(env));
  exports.Set("quantizeMatrix", Napi::Function::New<quantize_matrix>(env));
  exports.Set("reconstructBlock", Napi::Function::New<reconstruct_block>(env));
  exports.Set("blockGradients", Napi::Function::New<block_gradients>(env));
  exports.Set("roofline", Napi::Function::New<roofline>(env));
  exports.Set("kernelFamilies", Napi::Function::New<list_kernel_families>(env));
  exports.Set("runKernel", Napi::Function::New<time_kernel>(env));
  exports.Set("checkKernels", Napi::Function::New<check_kernels>(env));
  return exports;
}

}  // namespace
}  // namespace nibble::addon

static Napi::Object nibble_initialize(Napi::Env env, Napi::Object exports) {
  return nibble::addon::initialize(env, exports);
}
NODE_API_MODULE(nibble, nibble_initialize)
