#include "model.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>
#include <utility>

#include "background.h"
#include "convert.h"
#include "instance.h"

namespace nibble::addon {

/// A step on its way back to the event loop.
struct ModelObject::StepDone {
  ModelObject* model;
  Napi::Promise::Deferred deferred;
  uint32_t top_count = 0;
  StepResult result;
};

Napi::Function ModelObject::define(Napi::Env env) {
  return DefineClass(
      env, "NativeModel",
      {InstanceAccessor<&ModelObject::info>("info"), InstanceMethod<&ModelObject::open_slot>("openSlot"),
       InstanceMethod<&ModelObject::close_slot>("closeSlot"), InstanceMethod<&ModelObject::step>("step"),
       InstanceMethod<&ModelObject::store_pack>("storePack"),
       InstanceMethod<&ModelObject::read_kv_blocks>("readKvBlocks"),
       InstanceMethod<&ModelObject::write_kv_blocks>("writeKvBlocks"),
       InstanceMethod<&ModelObject::start_calibration>("startCalibration"),
       InstanceMethod<&ModelObject::take_statistics>("takeStatistics"),
       InstanceMethod<&ModelObject::end_calibration>("endCalibration"),
       InstanceMethod<&ModelObject::study_input>("studyInput"),
       InstanceMethod<&ModelObject::input_ranges>("inputRanges"), InstanceMethod<&ModelObject::close>("close")});
}

ModelObject::ModelObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelObject>(info) {
  const Napi::Env env = info.Env();
  // Bounded: the engine takes at most two steps at once.
  completed_ = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                             "nibble.step", Engine::kStepsInFlight, 1);
  completed_.Unref(env);
  // At process.exit the thread-safe function goes first: no step may still want to report through it then. Hooks run
  // in reverse order, so this one runs before its own.
  napi_add_env_cleanup_hook(env, stop, this);
}

void ModelObject::stop(void* model) {
  const auto* self = static_cast<ModelObject*>(model);
  if (self->engine_) self->engine_->close();
}

ModelObject::~ModelObject() {
  napi_remove_env_cleanup_hook(Env(), stop, this);
  if (engine_) engine_->close();
  if (!closed_) completed_.Release();
}

Napi::Value ModelObject::wrap(Napi::Env env, std::shared_ptr<Engine> engine, double load_ns) {
  const Napi::Object object = env.GetInstanceData<Instance>()->model_class.New({});
  ModelObject* self = Unwrap(object);
  self->engine_ = std::move(engine);
  const Model& model = self->engine_->model();
  Napi::Object details = Napi::Object::New(env);
  const auto number = [&](const char* key, double value) { details.Set(key, Napi::Number::New(env, value)); };
  details.Set("level", Napi::String::New(env, std::string(isa_name(model.kernels->isa))));
  number("threads", static_cast<double>(self->engine_->threads()));
  number("packedBytes", static_cast<double>(model.weights.packed_bytes()));
  number("kvBytes", static_cast<double>(model.kv.bytes()));
  number("kvBlockBytes", static_cast<double>(model.kv.block_bytes()));
  number("weightBytesPerToken", static_cast<double>(model.weights.bytes_per_token()));
  number("fileBytesPerToken", static_cast<double>(model.weights.file_bytes_per_token()));
  number("linearMacsPerToken", static_cast<double>(model.weights.linear_macs_per_token()));
  number("headMacsPerRow", static_cast<double>(model.weights.head.macs()));
  number("loadNs", load_ns);
  const auto origin = model.weights.pack_origin();
  const char* pack = origin == Weights::PackOrigin::stored ? "stored"
                     : origin == Weights::PackOrigin::made ? "made"
                                                           : "unsettled";
  details.Set("pack", Napi::String::New(env, pack));
  details.Set("fileIdentity", Napi::String::New(env, model.weights.file_identity()));
  details.Freeze();
  self->info_ = Napi::Persistent(details);
  return object;
}

Napi::Value ModelObject::info(const Napi::CallbackInfo& info) {
  return info_.IsEmpty() ? info.Env().Undefined() : info_.Value().As<Napi::Value>();
}

namespace {

void read_pruning(Reader& reader, Pruning& pruning) {
  Reader object = reader.object("pruning");
  pruning.windows = static_cast<uint32_t>(object.size("windows", UINT32_MAX));
  const std::vector<int32_t> layers = object.int32s("layers");
  const std::vector<int32_t> tokens = object.int32s("tokens", layers.size());
  pruning.rank = object.boolean("isRandom") ? Pruning::Rank::random : Pruning::Rank::importance;
  if (layers.size() > kPruningCutsMax) object.fail("layers", "at most 4 layers");
  for (size_t i = 0; object.ok() && i < layers.size(); ++i) {
    // Negative numbers become ones that are out of range.
    pruning.cuts[i] = {static_cast<uint32_t>(layers[i]), static_cast<uint32_t>(tokens[i])};
    pruning.cut_count = static_cast<uint32_t>(i + 1);
  }
  reader.merge(object);
}

/// Shared memory stays where it is as long as anybody holds it; other memory can be taken away.
void read_mask(Reader& reader, const Napi::Value& value, std::span<const int32_t>& mask) {
  const bool is_array = value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_int32_array;
  if (!is_array || value.As<Napi::Object>().Get("buffer").IsArrayBuffer()) {
    return reader.fail("mask", "an Int32Array on shared memory");
  }
  const auto array = value.As<Napi::Int32Array>();
  if (array.ElementLength() == 0) return reader.fail("mask", "not empty");
  mask = std::span<const int32_t>(array.Data(), array.ElementLength());
}

}  // namespace

Napi::Value ModelObject::open_slot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Reader reader(env, info[0], "sampling");
  Engine::SlotSettings settings;
  settings.params.temperature = reader.number("temperature", 0, 1e6);
  settings.params.top_k = static_cast<uint32_t>(reader.size("topK", UINT32_MAX));
  settings.params.top_p = reader.number("topP", 0, 1);
  settings.params.min_p = reader.number("minP", 0, 1);
  settings.params.presence_penalty = reader.number("presencePenalty", -1e6, 1e6);
  settings.params.frequency_penalty = reader.number("frequencyPenalty", -1e6, 1e6);
  settings.params.repetition_penalty = reader.number("repetitionPenalty", 1e-6, 1e6);
  settings.params.seed = reader.bigint("seed");
  settings.params.choice = static_cast<uint32_t>(reader.size("choice", UINT32_MAX));
  settings.bias_ids = reader.int32s("biasIds");
  settings.bias_values = reader.floats("biasValues");
  settings.prompt_ids = reader.int32s("promptIds");
  settings.generated_ids = reader.int32s("generatedIds");
  if (!reader.value("minTokens").IsUndefined()) {
    settings.min_tokens = static_cast<uint32_t>(reader.size("minTokens", UINT32_MAX));
    settings.end_ids = reader.int32s("endIds");
  }
  const Napi::Value mask = reader.value("mask");
  if (!mask.IsUndefined()) read_mask(reader, mask, settings.mask);
  if (!reader.value("pruning").IsUndefined()) read_pruning(reader, settings.pruning);
  Status status = reader.status();
  // A closing model is closed: its thread is being joined elsewhere.
  if (!engine_ || closed_) status = Status::failure(ErrorCode::native_closed, "The model is closed.");
  size_t slot = 0;
  if (status.ok()) status = guard([&] { return engine_->open_slot(settings, slot); });
  if (!status.ok()) {
    throw_status(env, status);
    return env.Undefined();
  }
  if (masks_.size() <= slot) masks_.resize(slot + 1);
  if (!settings.mask.empty()) masks_[slot] = Napi::Persistent(mask.As<Napi::Object>());
  return Napi::Number::New(env, static_cast<double>(slot));
}

Status ModelObject::read_slot(const Napi::Value& value, size_t& slot) const {
  if (!engine_ || closed_) return Status::failure(ErrorCode::native_closed, "The model is closed.");
  // Compared as a double: a conversion would wrap 2³² to slot 0.
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number < static_cast<double>(engine_->options().slot_count) && number == std::floor(number))) {
    return Status::failure(ErrorCode::native_invalid_argument, "slot must be the number of an open slot.");
  }
  slot = static_cast<size_t>(number);
  return Status::success();
}

void ModelObject::close_slot(const Napi::CallbackInfo& info) {
  size_t slot = 0;
  Status status = read_slot(info[0], slot);
  if (status.ok()) status = engine_->close_slot(slot);
  if (!status.ok()) return throw_status(info.Env(), status);
  masks_[slot].Reset();
}

namespace {

Status read_batch(Napi::Env env, const Napi::Value& value, const EngineOptions& limits, StepBatch& batch) {
  Reader reader(env, value, "batch");
  const size_t slots = reader.size("slotCount", limits.slot_count);
  const size_t tokens = reader.size("tokenCount", limits.step_tokens_max);
  const size_t rows = reader.size("rowCount", limits.step_rows_max);
  batch.slots = reader.int32s("slots", slots);
  batch.seq_start = reader.int32s("seqStart", slots + 1);
  batch.tokens = reader.int32s("tokens", tokens);
  batch.positions = reader.int32s("positions", tokens);
  batch.rows = reader.int32s("rows", rows);
  batch.targets = reader.int32s("targets", rows);
  batch.want_logprobs = reader.boolean("wantLogprobs");
  batch.want_logits = reader.boolean("wantLogits");
  if (!reader.value("wantImportance").IsUndefined()) batch.want_importance = reader.boolean("wantImportance");
  if (!reader.value("wantHidden").IsUndefined()) batch.want_hidden = reader.boolean("wantHidden");
  batch.top_count = static_cast<uint32_t>(reader.size("topCount", 20));
  const Napi::Value stages = reader.value("stages");
  if (!stages.IsArray() || stages.As<Napi::Array>().Length() != 1) {
    reader.fail("stages", "an array of one stage");
    return reader.status();
  }
  Reader stage(env, stages.As<Napi::Array>().Get(0u), "batch.stages[0]");
  batch.cached_tokens = stage.int32s("cachedTokens", slots);
  batch.block_start = stage.int32s("blockStart", slots + 1);
  const int32_t blocks = stage.ok() ? batch.block_start.back() : 0;
  if (blocks < 0) {
    stage.fail("blockStart", "ascending from 0");
  } else {
    batch.blocks = stage.int32s("blocks", static_cast<size_t>(blocks));
  }
  reader.merge(stage);
  return reader.status();
}

/// In the order of STEP_COUNTERS in src/native/step-counters.ts. An object with a property each would take longer to
/// make than everything else that a result holds.
Napi::Float64Array counters_to_js(Napi::Env env, const StepCounters& counters) {
  const uint64_t work[] = {counters.weight_bytes, counters.kv_bytes,   counters.int8_macs,
                           counters.fp32_macs,    counters.short_rows, counters.total_ns};
  const uint64_t more[] = {counters.activation_bytes, counters.table_lookups};
  Napi::Float64Array array = Napi::Float64Array::New(env, std::size(work) + kOperatorCount + std::size(more));
  double* out = array.Data();
  const auto append = [&](std::span<const uint64_t> values) {
    out = std::transform(values.begin(), values.end(), out, [](uint64_t value) { return static_cast<double>(value); });
  };
  append(work);
  append(counters.operator_ns);
  append(more);
  return array;
}

}  // namespace

Napi::Value ModelObject::step(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto deferred = Napi::Promise::Deferred::New(env);
  const auto reject = [&](const Status& status) {
    deferred.Reject(error_value(env, status));
    return deferred.Promise();
  };
  if (!engine_ || closed_) return reject(Status::failure(ErrorCode::native_closed, "The model is closed."));
  StepBatch batch;
  if (Status status = read_batch(env, info[0], engine_->options(), batch); !status.ok()) return reject(status);

  auto* done = new StepDone{this, deferred, batch.top_count, {}};
  const auto complete = [done, completed = completed_](StepResult&& result) {
    done->result = std::move(result);
    // Fails only when the environment is going away: nobody waits for the promise then.
    if (completed.BlockingCall(done, [](Napi::Env callback_env, Napi::Function, StepDone* arrived) {
          arrived->model->finish_step(callback_env, *arrived);
          delete arrived;
        }) != napi_ok) {
      delete done;
    }
  };
  if (Status status = guard([&] { return engine_->submit(std::move(batch), complete); }); !status.ok()) {
    delete done;
    return reject(status);
  }
  if (in_flight_++ == 0) completed_.Ref(env);  // keeps the process alive while a step runs
  Ref();                                       // and this object
  return deferred.Promise();
}

void ModelObject::finish_step(Napi::Env env, StepDone& done) {
  const Napi::HandleScope scope(env);
  Napi::Object object = Napi::Object::New(env);
  object.Set("tokens", to_js(env, done.result.tokens));
  object.Set("logprobs", to_js(env, done.result.logprobs));
  object.Set("topIds", to_js(env, done.result.top_ids));
  object.Set("topLogprobs", to_js(env, done.result.top_logprobs));
  object.Set("failed", to_js(env, done.result.failed));
  object.Set("logits", done.result.logits.empty() ? env.Null() : to_js(env, done.result.logits).As<Napi::Value>());
  if (!done.result.importance.empty()) object.Set("importance", to_js(env, done.result.importance));
  if (!done.result.hidden.empty()) object.Set("hidden", to_js(env, done.result.hidden));
  object.Set("counters", counters_to_js(env, done.result.counters));
  engine_->returned();
  if (--in_flight_ == 0) completed_.Unref(env);
  done.deferred.Resolve(object);
  Unref();
}

Status ModelObject::read_blocks(const Napi::Value& value, std::span<const int32_t>& blocks) const {
  if (!engine_ || closed_) return Status::failure(ErrorCode::native_closed, "The model is closed.");
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    return Status::failure(ErrorCode::native_invalid_argument, "Block ids must be an Int32Array.");
  }
  const auto array = value.As<Napi::Int32Array>();
  // More than the pool has can't be all different: nobody asks for that, and what follows multiplies it.
  if (array.ElementLength() > engine_->options().kv_block_count) {
    return Status::failure(ErrorCode::native_invalid_argument, "There aren't so many blocks.");
  }
  blocks = {array.Data(), array.ElementLength()};
  return Status::success();
}

Napi::Value ModelObject::read_kv_blocks(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::span<const int32_t> blocks;
  std::vector<uint8_t> content;
  Status status = read_blocks(info[0], blocks);
  if (status.ok()) {
    status = guard([&] {
      content.resize(blocks.size() * engine_->model().kv.block_bytes());
      return engine_->read_kv(blocks, content);
    });
  }
  if (!status.ok()) {
    throw_status(env, status);
    return env.Undefined();
  }
  return to_js(env, content);
}

void ModelObject::write_kv_blocks(const Napi::CallbackInfo& info) {
  std::span<const int32_t> blocks;
  Status status = read_blocks(info[0], blocks);
  const bool is_bytes = info[1].IsTypedArray() && info[1].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
  if (status.ok() && !is_bytes) {
    status = Status::failure(ErrorCode::native_invalid_argument, "The content must be a Uint8Array.");
  }
  if (status.ok()) {
    const auto array = info[1].As<Napi::Uint8Array>();
    status = engine_->write_kv(blocks, {array.Data(), array.ElementLength()});
  }
  if (!status.ok()) throw_status(info.Env(), status);
}

Napi::Value ModelObject::store_pack(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (closed_ || !engine_) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(error_value(env, Status::failure(ErrorCode::native_closed, "The model is closed.")));
    return deferred.Promise();
  }
  struct Nothing {};
  return run_in_background<Nothing>(
      env, "nibble.store", Napi::Persistent(info.This().As<Napi::Object>()),
      [engine = engine_](Nothing&) { return engine->store_pack(); },
      [](Napi::Env settle_env, Nothing&) { return settle_env.Undefined(); });
}

Napi::Value ModelObject::close(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (closed_ || !engine_) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Resolve(env.Undefined());
    return deferred.Promise();
  }
  closed_ = true;
  struct Nothing {};
  return run_in_background<Nothing>(
      env, "nibble.close", Napi::Persistent(info.This().As<Napi::Object>()),
      [engine = engine_](Nothing&) {
        engine->close();
        return Status::success();
      },
      [this](Napi::Env settle_env, Nothing&) {
        completed_.Release();
        return settle_env.Undefined();
      });
}

}  // namespace nibble::addon
