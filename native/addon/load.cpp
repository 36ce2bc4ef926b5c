#include <atomic>
#include <chrono>

#include "background.h"
#include "instance.h"
#include "model.h"
#include "spec.h"

namespace nibble::addon {
namespace {

/// Sizes beyond these are hostile or mistaken; products of two of them fit 64 bits.
constexpr size_t kDimensionMax = size_t{1} << 24;
constexpr size_t kLayersMax = 1024;
constexpr size_t kContextMax = size_t{1} << 20;
constexpr size_t kBlocksMax = size_t{1} << 24;
constexpr size_t kThreadsMax = 1024;

void read_rope(Reader& architecture, RopeSpec& rope) {
  Reader reader = architecture.object("rope");
  const std::string layout = reader.string("layout");
  if (layout != "interleaved" && layout != "halves") reader.fail("layout", "'interleaved' or 'halves'");
  rope.interleaved = layout == "interleaved";
  rope.dimensions = reader.size("dimensions", kDimensionMax);
  rope.base = reader.number("base", 1, 1e15);
  Reader scaling = reader.object("scaling");
  const std::string kind = scaling.string("kind");
  const auto positive = [&](const char* key) { return scaling.number(key, 1e-9, 1e9); };
  if (kind == "none") {
    rope.scaling = RopeScaling::none;
  } else if (kind == "linear") {
    rope.scaling = RopeScaling::linear;
    rope.factor = positive("factor");
  } else if (kind == "llama3") {
    rope.scaling = RopeScaling::llama3;
    rope.factor = positive("factor");
    rope.low_freq_factor = positive("lowFreqFactor");
    rope.high_freq_factor = positive("highFreqFactor");
    rope.original_context = positive("originalContext");
  } else if (kind == "yarn") {
    rope.scaling = RopeScaling::yarn;
    rope.factor = positive("factor");
    rope.original_context = positive("originalContext");
    rope.beta_fast = positive("betaFast");
    rope.beta_slow = positive("betaSlow");
    rope.attention_factor = positive("attentionFactor");
  } else {
    scaling.fail("kind", "none, linear, llama3 or yarn");
  }
  reader.merge(scaling);
  architecture.merge(reader);
}

}  // namespace

void read_architecture(Reader& options, ArchitectureSpec& a) {
  Reader reader = options.object("architecture");
  a.layers = reader.size("layers", kLayersMax);
  a.hidden = reader.size("hidden", kDimensionMax);
  a.heads = reader.size("heads", kDimensionMax);
  a.kv_heads = reader.size("kvHeads", kDimensionMax);
  a.head_dim = reader.size("headDim", kDimensionMax);
  a.ffn = reader.size("ffn", kDimensionMax);
  a.vocab = reader.size("vocab", kDimensionMax);
  a.context_length = reader.size("contextLength", SIZE_MAX >> 12);
  a.rms_eps = static_cast<float>(reader.number("rmsEps", 0, 1));
  a.qkv_bias = reader.boolean("qkvBias");
  a.qk_norm = reader.boolean("qkNorm");
  read_rope(reader, a.rope);
  options.merge(reader);
}

ActivationKind read_activation_kind(Reader& reader) {
  const std::string name = reader.string("activations");
  if (name == "f32") return ActivationKind::f32;
  if (name == "a8") return ActivationKind::a8;
  if (name == "a4") return ActivationKind::a4;
  if (name == "agile") return ActivationKind::agile;
  if (name == "tender8") return ActivationKind::tender8;
  if (name == "tender4") return ActivationKind::tender4;
  reader.fail("activations", "'f32', 'a8', 'a4', 'agile', 'tender8' or 'tender4'");
  return ActivationKind::f32;
}

bool read_kv_formats(const std::string& name, KvFormats& formats) {
  using enum KvFormat;
  if (name == "f16") return formats = {f16, f16}, true;
  if (name == "kv8") return formats = {q8, q8}, true;
  if (name == "kv4") return formats = {q4, q4}, true;
  if (name == "k8v4") return formats = {q8, q4}, true;
  return false;
}

RotationPlace read_rotation(Reader& reader) {
  if (reader.value("rotation").IsUndefined()) return RotationPlace::none;
  const std::string place = reader.string("rotation");
  if (place != "hadamard" && place != "inputs") reader.fail("rotation", "'hadamard' or 'inputs'");
  return place == "inputs" ? RotationPlace::inputs : RotationPlace::stream;
}

namespace {

void read_tensor(Napi::Env env, const Napi::Value& value, Reader& options, TensorSpec& tensor) {
  Reader reader(env, value, "tensor");
  tensor.name = reader.string("name");
  tensor.type = static_cast<uint32_t>(reader.size("type", UINT32_MAX));
  tensor.offset = reader.size("offset", SIZE_MAX >> 12);
  const Napi::Value shape = reader.value("shape");
  if (!shape.IsArray() || shape.As<Napi::Array>().Length() > 4) {
    reader.fail("shape", "an array of at most 4 numbers");
  } else {
    const auto array = shape.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); ++i) {
      const Napi::Value item = array.Get(i);
      const double number = item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : -1;
      if (!(number >= 0 && number <= 9007199254740991.0)) reader.fail("shape", "an array of sizes");
      tensor.shape.push_back(static_cast<uint64_t>(number >= 0 ? number : 0));
    }
  }
  options.merge(reader);
}

/// `activations` for all linear layers, then what `linears` and `head` say instead.
void read_activations(Napi::Env env, Reader& options, EngineOptions& out) {
  const ActivationKind all = read_activation_kind(options);
  out.head_activations = all;
  out.activations.assign(out.architecture.layers, {all, all, all, all});
  const auto read = [](Reader& parent, const char* key) {
    Reader reader = parent.object(key);
    const ActivationKind kind = read_activation_kind(reader);
    parent.merge(reader);
    return kind;
  };
  if (!options.value("head").IsUndefined()) out.head_activations = read(options, "head");
  if (!options.value("agile").IsUndefined()) {
    Reader agile = options.object("agile");
    out.agile_thresholds = agile.floats("thresholds");
    if (!agile.value("choice").IsUndefined()) {
      const std::string choice = agile.string("choice");
      if (choice != "least" && choice != "random") agile.fail("choice", "'least' or 'random'");
      out.agile_choice = choice == "least" ? AgileChoice::least : AgileChoice::random;
    }
    options.merge(agile);
  }
  const Napi::Value linears = options.value("linears");
  if (linears.IsUndefined()) return;
  if (!linears.IsArray() || linears.As<Napi::Array>().Length() != out.activations.size()) {
    return options.fail("linears", "an array with an entry for each layer");
  }
  for (uint32_t i = 0; i < out.activations.size() && options.ok(); ++i) {
    const Napi::HandleScope scope(env);
    Reader layer(env, linears.As<Napi::Array>().Get(i), "linears");
    LayerActivations& kinds = out.activations[i];
    kinds = {read(layer, "qkv"), read(layer, "output"), read(layer, "gateUp"), read(layer, "down")};
    options.merge(layer);
  }
}

/// Reports progress on the event loop, at most once a hundredth.
class Progress {
 public:
  Progress(Napi::Env env, const Napi::Value& callback) {
    if (!callback.IsFunction()) return;
    function_ = Napi::ThreadSafeFunction::New(env, callback.As<Napi::Function>(), "nibble.progress", 0, 1);
    active_ = true;
  }
  void report(float share) {
    const int percent = static_cast<int>(share * 100);
    if (!active_ || percent <= last_) return;
    last_ = percent;
    function_.NonBlockingCall([share](Napi::Env env, Napi::Function callback) {
      callback.Call({Napi::Number::New(env, static_cast<double>(share))});
    });
  }
  void end() {
    if (active_) function_.Release();
    active_ = false;
  }

 private:
  Napi::ThreadSafeFunction function_;
  int last_ = -1;
  bool active_ = false;
};

}  // namespace

Status read_load_options(Napi::Env env, const Napi::Value& value, EngineOptions& options, Napi::Value& on_progress) {
  Reader reader(env, value, "options");
  options.path = reader.string("path");
  if (!reader.value("packFolder").IsUndefined()) options.pack_folder = reader.string("packFolder");
  options.threads = reader.size("threads", kThreadsMax);
  if (options.threads == 0) reader.fail("threads", "at least 1");
  if (!read_kv_formats(reader.string("kv"), options.kv_formats)) reader.fail("kv", "'f16', 'kv8', 'kv4' or 'k8v4'");
  if (!reader.value("kvRotates").IsUndefined()) options.kv_rotates = reader.boolean("kvRotates");
  options.rotation = read_rotation(reader);
  if (!reader.value("lookups").IsUndefined()) {
    Reader lookups = reader.object("lookups");
    constexpr const char* kKeys[] = {"w1", "w2", "w3", "w4"};
    for (size_t i = 0; i < options.lookup_columns.size(); ++i) {
      options.lookup_columns[i] = lookups.size(kKeys[i], kLookupColumnsMax);
    }
    reader.merge(lookups);
  }
  options.kv_block_count = reader.size("kvBlockCount", kBlocksMax);
  options.slot_count = reader.size("slotCount", 65536);
  options.step_tokens_max = reader.size("stepTokensMax", 65536);
  options.step_rows_max = reader.size("stepRowsMax", 65536);
  options.context_tokens_max = reader.size("contextTokensMax", kContextMax);
  if (options.kv_block_count == 0) reader.fail("kvBlockCount", "at least 1");
  if (options.slot_count == 0) reader.fail("slotCount", "at least 1");
  if (options.step_tokens_max == 0) reader.fail("stepTokensMax", "at least 1");
  if (options.context_tokens_max == 0) reader.fail("contextTokensMax", "at least 1");
  on_progress = reader.value("onProgress");
  read_architecture(reader, options.architecture);
  read_activations(env, reader, options);
  const Napi::Value tensors = reader.value("tensors");
  if (!tensors.IsArray()) {
    reader.fail("tensors", "an array");
  } else {
    const auto array = tensors.As<Napi::Array>();
    options.tensors.resize(array.Length());
    for (uint32_t i = 0; i < array.Length() && reader.ok(); ++i) {
      const Napi::HandleScope scope(env);
      read_tensor(env, array.Get(i), reader, options.tensors[i]);
    }
  }
  return reader.status();
}

Napi::Value load_model(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto options = std::make_shared<EngineOptions>();
  Napi::Value on_progress;
  if (Status status = read_load_options(env, info[0], *options, on_progress); !status.ok()) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(error_value(env, status));
    return deferred.Promise();
  }
  struct Loaded {
    std::shared_ptr<Engine> engine = std::make_shared<Engine>();
    double nanoseconds = 0;
  };
  auto progress = std::make_shared<Progress>(env, on_progress);
  return run_in_background<Loaded>(
      env, "nibble.load", {},
      [options, progress](Loaded& loaded) {
        const auto start = std::chrono::steady_clock::now();
        Status status =
            guard([&] { return loaded.engine->load(*options, [&progress](float share) { progress->report(share); }); });
        loaded.nanoseconds = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
        progress->end();
        return status;
      },
      [](Napi::Env settle_env, Loaded& loaded) {
        return ModelObject::wrap(settle_env, std::move(loaded.engine), loaded.nanoseconds);
      });
}

}  // namespace nibble::addon
