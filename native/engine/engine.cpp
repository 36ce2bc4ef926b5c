#include "engine.h"

#include <algorithm>

#include "../threads/topology.h"
#include "turns.h"

namespace nibble {
namespace {

Status invalid(std::string message) {
  return Status::failure(ErrorCode::native_invalid_argument, std::move(message));
}

/// What the layouts and kernels rely on.
Status check_architecture(const ArchitectureSpec& a) {
  const auto refuse = [](const std::string& what) { return Status::failure(ErrorCode::model_tensor_shape, what); };
  if (a.layers == 0 || a.heads == 0 || a.kv_heads == 0 || a.vocab == 0)
    return refuse("The model has an empty dimension.");
  if (a.hidden == 0 || a.hidden % 32 != 0) return refuse("The hidden width must be a multiple of 32.");
  if (a.ffn == 0 || a.ffn % 32 != 0) return refuse("The feed-forward width must be a multiple of 32.");
  if (a.head_dim == 0 || a.head_dim % 16 != 0 || a.head_dim > 256) {
    return refuse("The head size must be a multiple of 16, at most 256.");
  }
  if (a.heads * a.head_dim % 32 != 0) return refuse("Heads times head size must be a multiple of 32.");
  if (a.heads % a.kv_heads != 0) return refuse("The number of heads must be a multiple of the number of KV heads.");
  if (a.heads / a.kv_heads > kAttentionColumnsMax) return refuse("More than 96 query heads share a KV head.");
  if (a.rope.dimensions > a.head_dim || a.rope.dimensions % 2 != 0) return refuse("The rotary width is out of range.");
  return Status::success();
}

}  // namespace

Status Engine::load(const EngineOptions& options, const std::function<void(float)>& progress) {
  options_ = options;
  const ArchitectureSpec& a = options.architecture;
  if (!isa_cap_valid()) return invalid("NIBBLE_ISA must be scalar, avx2, avxvnni, avx512 or neon.");
  if (Status status = check_architecture(a); !status.ok()) return status;
  const Topology topology = read_topology();
  // A quota that the team fills leaves nothing for spinning: the kernel would stop every thread for the rest of a
  // period.
  const bool spin = topology.quota_cores == 0 || topology.quota_cores >= static_cast<double>(options.threads);
  // A team that has every core to itself gets one core a thread: the scheduler then can't put two threads that wait for
  // each other on one core. A smaller team moves freely: another process's threads may be pinned, too.
  if (options.threads == topology.core_cpus.size() && spin) cpus_ = topology.core_cpus;
  team_ = std::make_unique<Team>(options.threads, spin, cpus_);
  model_ = std::make_unique<Model>();
  model_->spec = a;
  model_->kernels = kernel_table(selected_isa());
  model_->tender = tender_kernels(selected_isa());
  if (Status status = model_->weights.load(options.path, a, options.tensors, options.pack_folder, *team_, progress);
      !status.ok())
    return status;
  if (Status status =
          model_->weights.choose_activations(options.activations, options.head_activations, options.agile_thresholds);
      !status.ok()) {
    return status;
  }
  model_->weights.choose_lookups(options.lookup_columns);
  model_->wants_importance = model_->weights.any_agile();
  model_->agile_choice = options.agile_choice;
  if (Status status = RopeTable::build(a.rope, options.context_tokens_max, model_->weights.rope_factors, model_->rope);
      !status.ok()) {
    return status;
  }
  const bool rotated = options.rotation != RotationPlace::none;
  if (rotated) {
    Rotation& wide = options.rotation == RotationPlace::stream ? model_->stream : model_->normed;
    wide = Rotation::of(a.hidden);
    model_->gated = Rotation::of(a.ffn);
    if (wide.empty() || model_->gated.empty()) {
      return Status::failure(
          ErrorCode::model_tensor_shape,
          "There is no rotation of rows of " + std::to_string(a.hidden) + " and " + std::to_string(a.ffn) + " values.");
    }
  }
  model_->kv = KvPool(a, options.kv_formats, options.kv_rotates, rotated, options.kv_block_count);
  graph_ = std::make_unique<Graph>(*model_, *team_, options.step_tokens_max);
  if (model_->kv.data() == nullptr || !graph_->ok()) {
    return Status::failure(ErrorCode::native_out_of_memory, "No memory for " + std::to_string(model_->kv.bytes()) +
                                                                " bytes of KV cache and step buffers.");
  }
  slots_.resize(options.slot_count);
  scratch_.resize(options.threads);
  thread_ = std::thread([this] { loop(); });
  return Status::success();
}

Status Engine::open_slot(const SlotSettings& settings, size_t& slot) {
  if (!thread_.joinable()) return Status::failure(ErrorCode::native_closed, "The model is closed.");
  const auto free = std::find_if(slots_.begin(), slots_.end(), [](const Slot& s) { return !s.open; });
  if (free == slots_.end()) return invalid("No slot is free.");
  if (Status status = check_pruning(settings.pruning); !status.ok()) return status;
  if (!settings.mask.empty() && settings.mask.size() != SharedMask::words_for(options_.architecture.vocab)) {
    return invalid("The mask must have four words, and a bit for every token.");
  }
  Status status = free->sampler.reset(settings.params, settings.bias_ids, settings.bias_values, settings.prompt_ids,
                                      settings.generated_ids, options_.architecture.vocab);
  if (status.ok()) status = free->sampler.forbid(settings.min_tokens, settings.end_ids, options_.architecture.vocab);
  if (!status.ok()) return status;
  free->open = true;
  free->generated = static_cast<uint32_t>(settings.generated_ids.size());
  free->mask = SharedMask(settings.mask);
  free->pruning = settings.pruning;
  free->left_out = free->is_void = false;
  slot = static_cast<size_t>(free - slots_.begin());
  return Status::success();
}

Status Engine::study_input(size_t id, InputRule&& rule) {
  if (!thread_.joinable()) return Status::failure(ErrorCode::native_closed, "The model is closed.");
  if (submitted_ > returned_) return invalid("A step is in flight.");
  if (model_->study == nullptr) {
    std::vector<size_t> inputs;
    for (const LayerWeights& layer : model_->weights.layers) {
      for (const Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) {
        if (linear->activations != ActivationKind::f32) return invalid("Inputs are studied with f32 activations only.");
        inputs.push_back(linear->inputs);
      }
    }
    model_->study = std::make_unique<InputStudy>(std::move(inputs), options_.context_tokens_max);
  }
  if (id >= model_->study->size()) return invalid("There is no such input.");
  return model_->study->set(id, std::move(rule));
}

Status Engine::check_pruning(const Pruning& p) const {
  if (p.windows > options_.context_tokens_max / kPruningWindow) return invalid("A prompt has fewer windows to prune.");
  if (p.windows > 0 && p.cut_count == 0) return invalid("Pruning needs a place where tokens are dropped.");
  size_t layers = 0;
  size_t tokens = kPruningWindow;
  for (size_t i = 0; i < p.cut_count; ++i) {
    const auto [after, keep] = p.cuts[i];
    if (after <= layers || after >= options_.architecture.layers) return invalid("Pruning needs ascending layers.");
    if (keep == 0 || keep > tokens || keep % kKvBlockTokens != 0) {
      return invalid("Pruning keeps tokens of a window in whole KV blocks, and at no place more than before.");
    }
    layers = after;
    tokens = keep;
  }
  return Status::success();
}

Status Engine::close_slot(size_t slot) {
  if (slot >= slots_.size() || !slots_[slot].open) return invalid("Slot " + std::to_string(slot) + " is not open.");
  if (slots_[slot].last_step > returned_) {
    return invalid("Slot " + std::to_string(slot) + " is in a step that runs.");
  }
  slots_[slot].open = false;
  slots_[slot].mask = SharedMask();
  slots_[slot].sampling_step = slots_[slot].last_step = 0;
  return Status::success();
}

Status Engine::check(const StepBatch& b) const {
  const size_t sequences = b.slots.size();
  const size_t tokens = b.tokens.size();
  if (sequences == 0 || sequences > slots_.size()) return invalid("slotCount is out of range.");
  if (tokens == 0 || tokens > options_.step_tokens_max) return invalid("tokenCount is out of range.");
  if (b.rows.size() > options_.step_rows_max) return invalid("rowCount is out of range.");
  if (b.top_count > 20) return invalid("topCount is out of range.");
  if (b.seq_start.front() != 0 || static_cast<size_t>(b.seq_start.back()) != tokens)
    return invalid("seqStart does not span the tokens.");
  if (b.block_start.front() != 0 || static_cast<size_t>(b.block_start.back()) != b.blocks.size()) {
    return invalid("blockStart does not span the blocks.");
  }
  std::vector<bool> seen(slots_.size());
  for (size_t s = 0; s < sequences; ++s) {
    const auto slot = static_cast<size_t>(b.slots[s]);
    if (b.slots[s] < 0 || slot >= slots_.size() || !slots_[slot].open || seen[slot]) {
      return invalid("Slot " + std::to_string(b.slots[s]) + " is not open, or named twice.");
    }
    seen[slot] = true;
    const int32_t begin = b.seq_start[s];
    const int32_t end = b.seq_start[s + 1];
    if (end <= begin || static_cast<size_t>(end) > tokens) return invalid("seqStart must ascend.");
    const int32_t cached = b.cached_tokens[s];
    const int64_t last = static_cast<int64_t>(cached) + (end - begin);
    if (cached < 0 || last > static_cast<int64_t>(options_.context_tokens_max))
      return invalid("A position is beyond the context.");
    const Pruning& pruning = slots_[slot].pruning;
    if (!pruning.is_whole(static_cast<size_t>(cached)) || !pruning.is_whole(static_cast<size_t>(last))) {
      return invalid("A step can't cut a window that is pruned.");
    }
    const int32_t first_block = b.block_start[s];
    const int32_t last_block = b.block_start[s + 1];
    if (last_block < first_block || static_cast<size_t>(last_block) > b.blocks.size() ||
        static_cast<int64_t>(last_block - first_block) * static_cast<int64_t>(kKvBlockTokens) < last) {
      return invalid("The block table is too short for its tokens.");
    }
    for (int32_t t = begin; t < end; ++t) {
      if (b.positions[t] != cached + (t - begin)) return invalid("Positions must follow the cached tokens.");
      if (b.tokens[t] >= static_cast<int32_t>(options_.architecture.vocab) || b.tokens[t] < -1) {
        return invalid("Token id " + std::to_string(b.tokens[t]) + " is not in the vocabulary.");
      }
      if (b.tokens[t] == -1 && (t != begin || slots_[slot].sampling_step != submitted_ || submitted_ == 0)) {
        return invalid("Slot " + std::to_string(slot) + " sampled no token in the step before.");
      }
    }
  }
  for (const int32_t block : b.blocks) {
    if (block < 0 || static_cast<size_t>(block) >= options_.kv_block_count)
      return invalid("A block id is out of range.");
  }
  return check_rows(b);
}

Status Engine::check_rows(const StepBatch& b) const {
  const auto tokens = static_cast<int32_t>(b.tokens.size());
  std::vector<int32_t> sampled(b.slots.size(), -1);  // the last row that samples
  size_t s = 0;
  for (size_t r = 0; r < b.rows.size(); ++r) {
    const int32_t row = b.rows[r];
    if (row < 0 || row >= tokens || (r > 0 && row <= b.rows[r - 1]))
      return invalid("Rows must ascend within the tokens.");
    if (b.targets[r] < -1 || b.targets[r] >= static_cast<int32_t>(options_.architecture.vocab))
      return invalid("A target is not in the vocabulary.");
    while (row >= b.seq_start[s + 1]) ++s;
    const auto position = static_cast<size_t>(b.positions[static_cast<size_t>(row)]);
    if (!slots_[static_cast<size_t>(b.slots[s])].pruning.always_stays(position)) {
      return invalid("A row is wanted of a token that may be dropped.");
    }
    if (b.targets[r] != -1) continue;
    const bool is_first = sampled[s] < 0;
    if (!is_first && (row != sampled[s] + 1 || !slots_[static_cast<size_t>(b.slots[s])].mask.empty())) {
      return invalid("A slot samples at one token or at several that follow each other, under a constraint at one.");
    }
    sampled[s] = row;
  }
  return Status::success();
}

Status Engine::submit(StepBatch&& batch, Completion completion) {
  if (!thread_.joinable()) return Status::failure(ErrorCode::native_closed, "The model is closed.");
  if (submitted_ - returned_ >= kStepsInFlight) return invalid("Two steps are in flight already.");
  if (Status status = check(batch); !status.ok()) return status;
  ++submitted_;
  for (const int32_t slot : batch.slots) slots_[static_cast<size_t>(slot)].last_step = submitted_;
  for (size_t r = 0, s = 0; r < batch.rows.size(); ++r) {
    while (batch.rows[r] >= batch.seq_start[s + 1]) ++s;
    if (batch.targets[r] == -1) slots_[static_cast<size_t>(batch.slots[s])].sampling_step = submitted_;
  }
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({std::move(batch), std::move(completion), current_cpu()});
  }
  wake_.notify_one();
  return Status::success();
}

void Engine::loop() {
  if (!cpus_.empty()) pin_to_cpu(cpus_.front());
  yield_to_wakers();
  set_float_environment();
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    leave(job.submitter_cpu);
    execute(job);
  }
}

/// Who submits steps works on results while the next step runs. The thread that leads it must not lose its core to
/// that, as all others wait for it: it changes places with one that comes in when the core is free.
void Engine::leave(size_t cpu) noexcept {
  if (cpus_.size() < 2 || cpus_[0] != cpu) return;
  std::swap(cpus_[0], cpus_[1]);
  pin_to_cpu(cpus_[0]);
  team_->pin(1, cpus_[1]);
}

void Engine::execute(Job& job) {
  std::vector<int32_t> tokens = job.batch.tokens;
  for (size_t s = 0; s < job.batch.slots.size(); ++s) {
    int32_t& first = tokens[static_cast<size_t>(job.batch.seq_start[s])];
    Slot& slot = slots_[static_cast<size_t>(job.batch.slots[s])];
    slot.is_void = first == -1 && slot.left_out;
    if (!slot.is_void) slot.left_out = false;
    if (first == -1) first = slot.sampled;
    if (slot.pruning.windows > 0) job.batch.pruning.resize(job.batch.slots.size());
  }
  for (size_t s = 0; s < job.batch.pruning.size(); ++s) {
    job.batch.pruning[s] = slots_[static_cast<size_t>(job.batch.slots[s])].pruning;
  }
  StepResult result;
  RowResults rows(*model_, job.batch, slots_, scratch_, result);
  const ArchitectureSpec& spec = options_.architecture;
  StepTaps taps;
  if (job.batch.want_importance) {
    result.importance.resize(spec.layers * tokens.size());
    taps.importance = result.importance.data();
  }
  if (job.batch.want_hidden) {
    result.hidden.resize(spec.layers * tokens.size() * spec.hidden);
    taps.hidden = result.hidden.data();
  }
  {
    const Turn turn;
    graph_->run(job.batch, tokens, rows, result.counters, taps);
  }
  rows.advance_slots();
  job.completion(std::move(result));
}

Status Engine::check_blocks(std::span<const int32_t> blocks, size_t bytes) const {
  if (!thread_.joinable()) return Status::failure(ErrorCode::native_closed, "The model is closed.");
  for (const int32_t block : blocks) {
    if (block < 0 || static_cast<size_t>(block) >= options_.kv_block_count)
      return invalid("A block id is out of range.");
  }
  if (bytes != blocks.size() * model_->kv.block_bytes()) return invalid("The content isn't as long as its blocks.");
  return Status::success();
}

Status Engine::read_kv(std::span<const int32_t> blocks, std::span<uint8_t> out) const {
  if (Status status = check_blocks(blocks, out.size()); !status.ok()) return status;
  const size_t bytes = model_->kv.block_bytes();
  for (size_t i = 0; i < blocks.size(); ++i) model_->kv.read_block(blocks[i], out.data() + i * bytes);
  return Status::success();
}

Status Engine::write_kv(std::span<const int32_t> blocks, std::span<const uint8_t> content) {
  if (Status status = check_blocks(blocks, content.size()); !status.ok()) return status;
  if (submitted_ != returned_) return invalid("KV blocks can't be written while a step is in flight.");
  const size_t bytes = model_->kv.block_bytes();
  for (size_t i = 0; i < blocks.size(); ++i) model_->kv.write_block(blocks[i], content.data() + i * bytes);
  return Status::success();
}

Status Engine::observe(InputObserver* observer) {
  if (!thread_.joinable()) return Status::failure(ErrorCode::native_closed, "The model is closed.");
  if (submitted_ != returned_) return invalid("Inputs can't be observed from the middle of a step on.");
  const auto reads_codes = [](const LayerWeights& layer) {
    return layer.qkv.reads_codes() || layer.output.reads_codes() || layer.gate_up.reads_codes() ||
           layer.down.reads_codes();
  };
  const Weights& weights = model_->weights;
  if (weights.head.reads_codes() || std::any_of(weights.layers.begin(), weights.layers.end(), reads_codes)) {
    return invalid("Inputs are observed on the float path: activations must be f32.");
  }
  graph_->observe(observer);
  return Status::success();
}

Status Engine::store_pack() {
  const std::lock_guard lock(storing_);
  if (stop_storing_ || !model_) return Status::failure(ErrorCode::native_closed, "The model is closed.");
  return model_->weights.store(stop_storing_);
}

void Engine::close() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
  stop_storing_ = true;
  const std::lock_guard storing(storing_);
  graph_.reset();
  model_.reset();
  team_.reset();
}

}  // namespace nibble
