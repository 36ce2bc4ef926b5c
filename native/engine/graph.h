#pragma once
// The forward pass of a decoder-only transformer over one step: any mix of prefill chunks and decodes.
//
// All threads of a team run the same program. A phase is a loop of claims over independent outputs (row tiles, heads,
// tokens; never a reduction), phases are separated by barriers. A thread that comes late begins with the phase that
// runs. At one token a layer has five barriers: what every thread needs and is cheap (norm, quantization, SiLU) is then
// computed by each thread for itself instead of shared.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../threads/team.h"
#include "model.h"
#include "pages.h"
#include "stages.h"
#include "step.h"

namespace nibble {

/// Up to this many input elements, each thread prepares the input for itself: that costs less than a barrier.
inline constexpr size_t kOwnElementsMax = 4096;

/// Takes the logits of wanted rows as they are computed.
class RowSink {
 public:
  /// Called once per row of the step, from any thread of the team, concurrently for different rows.
  /// @param logits [vocab]
  virtual void row(size_t index, const float* logits, size_t thread) noexcept = 0;

 protected:
  ~RowSink() = default;
};

/// Looks at the inputs of linear layers, as floats, before they are multiplied.
class InputObserver {
 public:
  virtual ~InputObserver() = default;
  /// Called by every thread of the team together; begins and ends behind a barrier.
  /// @param rows [columns][linear.inputs] @param positions [columns] of the tokens, or null (rows of the head)
  virtual void collect(const Linear& linear, const float* rows, size_t columns, const int32_t* positions, Team& team,
                       size_t thread) noexcept = 0;
};

/// Refers to a callable `void(size_t row, float* out)` that computes one input row of a linear layer. Doesn't own it.
class RowProducer {
 public:
  template <class Produce>
  RowProducer(const Produce& produce) noexcept  // NOLINT: lambdas are passed as they are
      : produce_(&produce),
        call_([](const void* self, size_t row, float* out) { (*static_cast<const Produce*>(self))(row, out); }) {}
  void operator()(size_t row, float* out) const { call_(produce_, row, out); }

 private:
  const void* produce_;
  void (*call_)(const void*, size_t, float*);
};

/// What a step also gives out, where it isn't null.
struct StepTaps {
  float* importance = nullptr;  // [layers][tokens] of every token in every layer
  float* hidden = nullptr;      // [layers][tokens][hidden] the residual stream behind each layer
};

class Graph {
 public:
  /// Allocates every buffer for steps of up to `tokens_max` tokens.
  Graph(const Model& model, Team& team, size_t tokens_max);
  bool ok() const noexcept { return buffers_.data() != nullptr; }
  size_t buffer_bytes() const noexcept { return buffers_.bytes(); }
  /// Shows the inputs of all linear layers to an observer from the next step on (null: to none). Float path only.
  void observe(InputObserver* observer) noexcept { observer_ = observer; }

  /// Runs one step. @param tokens the batch's token ids with every −1 resolved, each in [0, vocab).
  void run(const StepBatch& batch, const std::vector<int32_t>& tokens, RowSink& sink, StepCounters& counters,
           const StepTaps& taps) noexcept;

 private:
  /// The input rows of a linear layer, as floats, as codes and as tables, where its weights read these.
  struct Input {
    const float* floats;
    size_t float_stride;
    const A8Block* blocks;
    size_t block_stride;
    const A8Table* tables;  // of the same stride; null: bit planes are multiplied
  };
  /// Where the time of one thread went: everything since the last mark belongs to the operator that is marked now.
  struct OperatorClock {
    uint64_t last;
    uint64_t ticks[kOperatorCount];
  };
  struct alignas(64) ThreadBuffers {
    size_t from;         // where in the program the thread began
    size_t here;         // where it is
    const Stage* stage;  // whose layers it runs
    OperatorClock* clock;
    float* row;           // [widest input]
    float* ordered;       // [widest input] while Tender looks for a row's steps
    A8Block* blocks;      // [kOwnElementsMax / 32 or one row]
    A8Table* tables;      // as many, if there are bit planes
    uint8_t* expanded;    // scratch of linear kernels, if there are bit planes
    float* floats;        // [kOwnElementsMax or one row]
    float* turned;        // [widest input] what a rotation needs beside its row
    float* heads;         // [(group + 1) · head_dim] rotated q and k of one KV head
    float* partial_o;     // [kAttentionColumnsMax · head_dim]
    float* total_o;       // the same
    float* partial_ml;    // [4 · kAttentionColumnsMax]: m and l of the partial, then of the total
    float* scratch;       // attention scores
    float* first_scores;  // [kAttentionColumnsMax] score of position 0, then what weighs it
  };

  void count_work(StepCounters& counters) const noexcept;
  /// What `columns` rows of a linear layer have it do; its weights aside.
  void count_rows(const Linear& linear, size_t columns, StepCounters& counters) const noexcept;
  /// Whether so many rows of input are looked up: for which bit planes read tables of them.
  static bool looks_up(const Linear& linear, size_t columns) noexcept;
  void share_time(StepCounters& counters) const noexcept;
  /// @param from where the thread begins: 0, or as an entry has said
  void body(size_t thread, size_t from) noexcept;
  void begin_stage(const Stage& stage, size_t thread) noexcept;
  void drop_tokens(const Stage& stage, size_t columns) noexcept;
  /// The parts of a layer, in this order; an entry is behind each. A part has two positions: the second one is where
  /// its input is ready.
  enum class Part : size_t { qkv, store, attend, output, gate_up, down };
  static constexpr size_t kParts = 6;
  void part(Part which, size_t layer, Stage& stage, size_t thread) noexcept;
  void project_in(size_t layer, size_t columns, size_t thread) noexcept;
  void attend_all(size_t layer, Stage& stage, size_t thread) noexcept;
  void project_out(size_t layer, const Stage& stage, size_t thread) noexcept;
  void feed(Part half, size_t layer, size_t columns, size_t thread) noexcept;
  void head(size_t thread) noexcept;
  void embed(size_t thread) noexcept;
  void give_hidden(size_t layer) const noexcept;
  void rotate_and_store(size_t layer, const Stage& stage, size_t thread) noexcept;
  void attend(size_t layer, Stage& stage, const AttentionItem& item, size_t thread) noexcept;
  const float* rotate_decoded(size_t layer, const Stage& stage, const AttentionItem& item, float* row,
                              size_t thread) noexcept;
  void announce(size_t layer, const Stage& stage, AttentionTask& task, const AttentionItem* next,
                size_t split) const noexcept;
  void merge_splits(const AttentionPlan& plan, size_t token, float* out) const noexcept;
  /// Scores of position 0 → its softmax weights: exp(s − m) · (1/l). @param m, l of all splits
  void weigh_first(float* scores, const float* m, const float* l, size_t columns) const noexcept;
  void weigh_first_of_splits(const AttentionPlan& plan, size_t token) noexcept;
  void sum_importance(size_t layer, const Stage& stage, size_t thread) noexcept;
  /// Whether importances are wanted of the layer's tokens.
  bool weighs(size_t layer) const noexcept;
  void rotate_heads(const LayerWeights& weights, float* heads, size_t count, bool query,
                    int32_t position) const noexcept;
  void store(size_t layer, size_t kv_head, const float* k, float* v, const int32_t* blocks, int32_t position) noexcept;
  /// One head's output: o / l, rotated back if the values are stored rotated.
  void finish(const float* o, float l, float* y) const noexcept;

  Input prepare(const Linear& linear, size_t columns, size_t thread, Operator operation, RowProducer produce) noexcept;
  void linear(const Linear& linear, const Input& input, size_t columns, float* y, size_t y_stride, bool accumulate,
              size_t thread) noexcept;
  void prefetch(const Linear& linear, size_t columns, size_t thread) const noexcept;
  void mark(Operator operation, size_t thread) noexcept;
  void barrier(size_t thread) noexcept;
  /// A barrier behind which the program goes on at this position, where late threads may come in.
  void entry(size_t position, size_t thread) noexcept;
  /// Whether the thread takes part at this position, rather than having begun behind it.
  bool reaches(size_t position, size_t thread) const noexcept { return threads_[thread].from <= position; }
  /// Whether the row of token `token` gets 4 bits.
  bool is_short(const Linear& linear, size_t token, int32_t position) const noexcept;
  void count_short_rows(const LayerWeights& weights, std::span<const int32_t> positions) noexcept;
  /// Of layers whose weights are in Tender's order: one input row as codes, or as floats in that order; and the
  /// product.
  void quantize_tender(const Linear& linear, int32_t position, const float* row, float* own,
                       A8Block* out) const noexcept;
  void order_tender(const Linear& linear, const float* row, float* out) const noexcept;
  void linear_tender(const Linear& linear, const PackedView& weights, const LinearTask& task) const noexcept;

  const Model& model_;
  Team& team_;
  Pages buffers_;
  float* x_ = nullptr;              // [tokens][hidden] residual stream
  float* qkv_ = nullptr;            // [tokens][qkv width]
  float* attention_ = nullptr;      // [tokens][heads · head_dim]
  float* gate_up_ = nullptr;        // [tokens][2 · ffn]
  float* floats_ = nullptr;         // [tokens][widest input] input of the next linear layer
  A8Block* blocks_ = nullptr;       // [tokens][widest input / 32]
  A8Table* tables_ = nullptr;       // [kLookupColumnsMax][widest input / 32], if there are bit planes
  float* logits_ = nullptr;         // [kHeadRows][logits stride]
  float* first_weights_ = nullptr;  // [tokens][heads] softmax weight of position 0 in the layer that runs, if wanted
  float* importance_ = nullptr;     // [tokens] its sum over the heads
  size_t widest_ = 0;
  std::vector<ThreadBuffers> threads_;

  InputObserver* observer_ = nullptr;

  // Of the step that runs:
  const StepBatch* batch_ = nullptr;
  const std::vector<int32_t>* tokens_ = nullptr;
  RowSink* sink_ = nullptr;
  StepCounters* counters_ = nullptr;
  StepTaps taps_;
  Stages stages_;
};

}  // namespace nibble
