#pragma once
// One model, its slots, and the thread that runs its steps. Methods are called from one thread (the event loop); steps
// run on the engine's own thread and its team, in the order of submission.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "graph.h"
#include "model.h"
#include "row_results.h"
#include "sampler.h"
#include "slots.h"
#include "step.h"

namespace nibble {

struct EngineOptions {
  std::string path;
  ArchitectureSpec architecture;
  std::vector<TensorSpec> tensors;
  std::string pack_folder;  // where packed weights are kept; empty: nowhere
  size_t threads = 1;
  std::vector<LayerActivations> activations;  // [layers]
  ActivationKind head_activations = ActivationKind::a8;
  std::vector<float> agile_thresholds;  // [layers] where any is agile
  AgileChoice agile_choice = AgileChoice::most;
  LookupColumns lookup_columns{};
  KvFormats kv_formats;
  bool kv_rotates = true;
  RotationPlace rotation = RotationPlace::none;
  size_t kv_block_count = 0;
  size_t slot_count = 0;
  size_t step_tokens_max = 0;
  size_t step_rows_max = 0;
  size_t context_tokens_max = 0;
};

class Engine {
 public:
  /// Steps that may be submitted before the first of them has returned.
  static constexpr size_t kStepsInFlight = 2;

  Engine() = default;
  ~Engine() { close(); }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Loads the model on the calling thread (and the team's), then starts the engine thread.
  Status load(const EngineOptions& options, const std::function<void(float)>& progress);

  /// Settings as in SamplingSpec of src/native/contract.ts.
  struct SlotSettings {
    SamplingParams params;
    std::vector<int32_t> bias_ids;
    std::vector<float> bias_values;
    std::vector<int32_t> prompt_ids;
    std::vector<int32_t> generated_ids;
    /// Tokens are sampled under masks that come in this memory, which outlives the slot; empty: without.
    std::span<const int32_t> mask;
    /// Tokens that the first `min_tokens` generated ones can't be.
    std::vector<int32_t> end_ids;
    uint32_t min_tokens = 0;
    Pruning pruning;
  };
  Status open_slot(const SlotSettings& settings, size_t& slot);
  Status close_slot(size_t slot);

  /// Called on the engine thread when the step has run.
  using Completion = std::function<void(StepResult&&)>;
  /// Checks every argument, then queues. On failure nothing has changed.
  Status submit(StepBatch&& batch, Completion completion);

  /// Tells, for each completion and in order, that its result has arrived on the submitting thread: until then the step
  /// counts as in flight.
  void returned() noexcept { ++returned_; }

  /// Copies the content of KV blocks out: `out` [blocks.size()][block_bytes()]. Steps in flight may read them, but none
  /// may write them.
  Status read_kv(std::span<const int32_t> blocks, std::span<uint8_t> out) const;
  /// Puts such content into blocks. Fails while a step is in flight: it may still use a block given back before.
  Status write_kv(std::span<const int32_t> blocks, std::span<const uint8_t> content);

  /// Shows the inputs of linear layers to an observer until another (or null) takes its place. Fails while a step is in
  /// flight, and where activations are quantized: those inputs are other numbers.
  Status observe(InputObserver* observer);
  /// What is done with the input `id` (Linear::id) of a linear layer. Only with f32 activations and while no step is in
  /// flight.
  Status study_input(size_t id, InputRule&& rule);

  /// Stores the packed weights for the next start. Call it on a thread of its own; `close` makes it end early.
  Status store_pack();

  /// Runs what is queued, stops the thread, frees everything. Idempotent.
  void close();

  const Model& model() const noexcept { return *model_; }
  size_t threads() const noexcept { return team_->size(); }
  const EngineOptions& options() const noexcept { return options_; }

 private:
  struct Job {
    StepBatch batch;
    Completion completion;
    size_t submitter_cpu;
  };
  void loop();
  void leave(size_t cpu) noexcept;
  void execute(Job& job);
  Status check(const StepBatch& batch) const;
  Status check_rows(const StepBatch& batch) const;
  Status check_pruning(const Pruning& pruning) const;
  Status check_blocks(std::span<const int32_t> blocks, size_t bytes) const;

  EngineOptions options_;
  std::vector<size_t> cpus_;  // of the team's threads, if they are pinned
  std::unique_ptr<Team> team_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Graph> graph_;
  std::vector<Slot> slots_;
  std::vector<SamplerScratch> scratch_;  // one per thread
  uint64_t submitted_ = 0;
  uint64_t returned_ = 0;

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> queue_;
  bool stopping_ = false;

  std::mutex storing_;  // held while the weights are being stored
  std::atomic<bool> stop_storing_{false};
};

}  // namespace nibble
