#pragma once
#include <napi.h>

#include <memory>

#include "../engine/engine.h"
#include "../quant/calibration.h"

namespace nibble::addon {

/// NativeModel of src/native/contract.ts: one engine. Made by loadModel only.
class ModelObject : public Napi::ObjectWrap<ModelObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ModelObject(const Napi::CallbackInfo& info);
  ~ModelObject() override;

  /// Hands over a loaded engine; sets `info`.
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<Engine> engine, double load_ns);

 private:
  struct StepDone;
  /// Environment clean-up: waits for steps in flight.
  static void stop(void* model);
  Napi::Value info(const Napi::CallbackInfo& info);
  Napi::Value open_slot(const Napi::CallbackInfo& info);
  void close_slot(const Napi::CallbackInfo& info);
  /// The slot an argument names, checked against the size of the slot table.
  Status read_slot(const Napi::Value& value, size_t& slot) const;
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value read_kv_blocks(const Napi::CallbackInfo& info);
  void write_kv_blocks(const Napi::CallbackInfo& info);
  /// Block ids given as an Int32Array.
  Status read_blocks(const Napi::Value& value, std::span<const int32_t>& blocks) const;
  void start_calibration(const Napi::CallbackInfo& info);
  Napi::Value take_statistics(const Napi::CallbackInfo& info);
  void end_calibration(const Napi::CallbackInfo& info);
  Napi::Value store_pack(const Napi::CallbackInfo& info);
  /// The input of a linear layer that an argument names.
  Status read_input(const Napi::Value& value, size_t& id) const;
  void study_input(const Napi::CallbackInfo& info);
  Napi::Value input_ranges(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  void finish_step(Napi::Env env, StepDone& done);

  std::unique_ptr<Calibration> calibration_;  // outlives the engine, whose steps write it
  std::shared_ptr<Engine> engine_;
  Napi::ObjectReference info_;
  std::vector<Napi::ObjectReference> masks_;  // [slot] keeps the memory of its masks
  Napi::ThreadSafeFunction completed_;
  size_t in_flight_ = 0;
  bool closed_ = false;
};

/// Options of loadModel as the engine wants them. Fails with native_invalid_argument.
Status read_load_options(Napi::Env env, const Napi::Value& value, EngineOptions& options, Napi::Value& on_progress);

/// loadModel(options): Promise<NativeModel>
Napi::Value load_model(const Napi::CallbackInfo& info);

}  // namespace nibble::addon
