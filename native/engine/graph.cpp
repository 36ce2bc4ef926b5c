#include "graph.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "../threads/ticks.h"

namespace nibble {
namespace {

/// Rows of logits computed together: each row is a vocabulary of floats.
constexpr size_t kHeadRows = 32;

uint64_t now_ns() noexcept {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

constexpr size_t divide_up(size_t a, size_t b) noexcept {
  return (a + b - 1) / b;
}

/// Hands out 64-byte aligned pieces of one allocation; with no base it only counts.
class Carver {
 public:
  explicit Carver(uint8_t* base) : base_(base) {}
  template <class T>
  T* take(size_t count) {
    T* piece = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += divide_up(count * sizeof(T), 64) * 64;
    return piece;
  }
  size_t used() const { return used_; }

 private:
  uint8_t* base_;
  size_t used_ = 0;
};

}  // namespace

Graph::Graph(const Model& model, Team& team, size_t tokens_max) : model_(model), team_(team), threads_(team.size()) {
  const ArchitectureSpec& a = model.spec;
  widest_ = std::max({a.hidden, a.heads * a.head_dim, a.ffn});
  const size_t own = std::max(kOwnElementsMax, widest_);
  const size_t group = a.heads / a.kv_heads;
  const bool planes = model.weights.has_planes();
  const auto carve = [&](uint8_t* base) {
    Carver carver(base);
    x_ = carver.take<float>(tokens_max * a.hidden);
    qkv_ = carver.take<float>(tokens_max * model.qkv_width());
    attention_ = carver.take<float>(tokens_max * a.heads * a.head_dim);
    gate_up_ = carver.take<float>(tokens_max * 2 * a.ffn);
    floats_ = carver.take<float>(std::max(tokens_max, kHeadRows) * widest_);
    blocks_ = carver.take<A8Block>(std::max(tokens_max, kHeadRows) * widest_ / 32);
    tables_ = carver.take<A8Table>(planes ? kLookupColumnsMax * widest_ / 32 : 0);
    first_weights_ = carver.take<float>(tokens_max * a.heads);
    importance_ = carver.take<float>(tokens_max);
    logits_ = carver.take<float>(kHeadRows * model.logits_stride());
    for (ThreadBuffers& t : threads_) {
      t.clock = carver.take<OperatorClock>(1);
      t.row = carver.take<float>(widest_);
      t.ordered = carver.take<float>(widest_);
      t.floats = carver.take<float>(own);
      t.blocks = carver.take<A8Block>(own / 32);
      t.turned = carver.take<float>(widest_);
      t.tables = carver.take<A8Table>(planes ? own / 32 : 0);
      t.expanded = carver.take<uint8_t>(planes ? linear_scratch_bytes(widest_) : 0);
      t.heads = carver.take<float>((group + 1) * a.head_dim);
      t.partial_o = carver.take<float>(kAttentionColumnsMax * a.head_dim);
      t.total_o = carver.take<float>(kAttentionColumnsMax * a.head_dim);
      t.partial_ml = carver.take<float>(4 * kAttentionColumnsMax);
      t.first_scores = carver.take<float>(kAttentionColumnsMax);
      t.scratch = carver.take<float>(attention_scratch_floats(kAttentionColumnsMax, a.head_dim));
    }
    return carver.used();
  };
  buffers_ = Pages(carve(nullptr));
  buffers_.advise_huge();
  carve(buffers_.data());
}

void Graph::run(const StepBatch& batch, const std::vector<int32_t>& tokens, RowSink& sink, StepCounters& counters,
                const StepTaps& taps) noexcept {
  batch_ = &batch;
  tokens_ = &tokens;
  sink_ = &sink;
  counters_ = &counters;
  const uint64_t start = now_ns();
  taps_ = taps;
  stages_.build(batch, model_.spec, team_.size());
  count_work(counters);

  for (ThreadBuffers& t : threads_) *t.clock = {.last = read_ticks(), .ticks = {}};
  const auto program = [this](size_t thread, size_t position) noexcept { body(thread, position); };
  team_.run_with_entries(program);
  counters.total_ns = now_ns() - start;
  share_time(counters);
}

void Graph::count_work(StepCounters& counters) const noexcept {
  const size_t rows = batch_->rows.size();
  for (const Stage& stage : stages_.all()) {
    const size_t layers = stage.end_layer - stage.first_layer;
    counters.kv_bytes += stage.plan.positions_read * model_.kv.bytes_per_token() * layers / model_.spec.layers;
    counters.fp32_macs += stage.plan.macs * layers;
    for (size_t i = stage.first_layer; i < stage.end_layer; ++i) {
      const LayerWeights& layer = model_.weights.layers[i];
      for (const Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) {
        count_rows(*linear, stage.columns(), counters);
        counters.weight_bytes += linear->bytes();
      }
    }
  }
  const Linear& head = model_.weights.head;
  counters.weight_bytes += head.bytes() * divide_up(rows, kHeadRows);
  for (size_t first = 0; first < rows; first += kHeadRows) {
    count_rows(head, std::min(kHeadRows, rows - first), counters);
  }
}

/// The step's time by operator, from the ticks of all threads.
void Graph::share_time(StepCounters& counters) const noexcept {
  uint64_t ticks[kOperatorCount] = {};
  uint64_t all = 0;
  for (const ThreadBuffers& t : threads_) {
    for (size_t i = 0; i < kOperatorCount; ++i) {
      ticks[i] += t.clock->ticks[i];
      all += t.clock->ticks[i];
    }
  }
  for (size_t i = 0; all > 0 && i < kOperatorCount; ++i) {
    const double share = static_cast<double>(ticks[i]) / static_cast<double>(all);
    counters.operator_ns[i] = static_cast<uint64_t>(share * static_cast<double>(counters.total_ns) + 0.5);
  }
}

void Graph::body(size_t thread, size_t from) noexcept {
  mark(Operator::wait, thread);  // until the thread was awake
  threads_[thread].from = from;
  if (reaches(0, thread)) {
    embed(thread);
    mark(Operator::embed, thread);
    entry(1, thread);
  }
  for (Stage& stage : stages_.all()) {
    threads_[thread].stage = &stage;
    for (size_t i = stage.first_layer; i < stage.end_layer; ++i) {
      for (size_t p = 0; p < kParts; ++p) {
        const size_t here = 1 + 2 * (i * kParts + p);
        const auto which = static_cast<Part>(p);
        if (!reaches(here + 1, thread) || (which == Part::store && stage.plan.decode_only)) continue;
        threads_[thread].here = here;
        part(which, i, stage, thread);
        entry(here + 2, thread);
      }
      // The stream is next written behind a barrier that thread 0 hasn't reached yet.
      if (thread == 0 && taps_.hidden != nullptr) give_hidden(i);
    }
  }
  head(thread);
}

void Graph::give_hidden(size_t layer) const noexcept {
  const size_t count = tokens_->size() * model_.spec.hidden;
  std::memcpy(taps_.hidden + layer * count, x_, count * sizeof(float));
}

void Graph::embed(size_t thread) noexcept {
  constexpr size_t kGrain = 8;
  const size_t hidden = model_.spec.hidden;
  const size_t columns = tokens_->size();
  for (size_t i; (i = team_.claim(thread, columns, kGrain)) < columns;) {
    for (size_t t = i; t < std::min(i + kGrain, columns); ++t) {
      float* x = x_ + t * hidden;
      unpack_row(model_.weights.embedding, static_cast<size_t>((*tokens_)[t]), x);
      if (!model_.stream.empty()) model_.kernels->rotate(model_.stream.view(), x, threads_[thread].turned);
    }
  }
}

void Graph::part(Part which, size_t layer, Stage& stage, size_t thread) noexcept {
  switch (which) {
    case Part::qkv:
      if (layer == stage.first_layer && !stage.windows.empty() && reaches(threads_[thread].here, thread)) {
        begin_stage(stage, thread);
      }
      return project_in(layer, stage.columns(), thread);
    case Part::store:
      rotate_and_store(layer, stage, thread);
      return mark(Operator::rope, thread);
    case Part::attend:
      return attend_all(layer, stage, thread);
    case Part::output:
      return project_out(layer, stage, thread);
    case Part::gate_up:
    case Part::down:
      return feed(which, layer, stage.columns(), thread);
  }
}

void Graph::project_in(size_t layer, size_t columns, size_t thread) noexcept {
  const ArchitectureSpec& a = model_.spec;
  const LayerWeights& w = model_.weights.layers[layer];
  const auto normed = [&](size_t t, float* out) {
    model_.kernels->rmsnorm(x_ + t * a.hidden, w.attention_norm.data(), a.hidden, a.rms_eps, out);
    if (!model_.normed.empty()) model_.kernels->rotate(model_.normed.view(), out, threads_[thread].turned);
  };
  const Input input = prepare(w.qkv, columns, thread, Operator::norm, normed);
  linear(w.qkv, input, columns, qkv_, model_.qkv_width(), false, thread);
  prefetch(w.output, columns, thread);
  mark(Operator::qkv, thread);
}

void Graph::attend_all(size_t layer, Stage& stage, size_t thread) noexcept {
  const size_t items = stage.plan.items.size();
  for (size_t i; (i = team_.claim(thread, items, 1)) < items;) attend(layer, stage, stage.plan.items[i], thread);
  mark(Operator::attention, thread);
  if (!weighs(layer)) return;
  barrier(thread);
  sum_importance(layer, stage, thread);
}

void Graph::project_out(size_t layer, const Stage& stage, size_t thread) noexcept {
  const ArchitectureSpec& a = model_.spec;
  const LayerWeights& w = model_.weights.layers[layer];
  const AttentionPlan& plan = stage.plan;
  const size_t width = a.heads * a.head_dim;
  if (thread == 0) count_short_rows(w, stage.tables.positions);
  const auto attended = [&](size_t t, float* out) {
    if (plan.first_partial[static_cast<size_t>(plan.token_sequence[t])] >= 0) {
      merge_splits(plan, t, out);
    } else {
      std::memcpy(out, attention_ + t * width, width * sizeof(float));
    }
  };
  const size_t columns = stage.columns();
  const Input input = prepare(w.output, columns, thread, Operator::attention, attended);
  linear(w.output, input, columns, x_, a.hidden, true, thread);
  prefetch(w.gate_up, columns, thread);
  mark(Operator::attention_output, thread);
}

void Graph::feed(Part half, size_t layer, size_t columns, size_t thread) noexcept {
  const ArchitectureSpec& a = model_.spec;
  const KernelTable& k = *model_.kernels;
  const Weights& weights = model_.weights;
  const LayerWeights& w = weights.layers[layer];
  if (half == Part::gate_up) {
    const auto normed = [&](size_t t, float* out) {
      k.rmsnorm(x_ + t * a.hidden, w.ffn_norm.data(), a.hidden, a.rms_eps, out);
      if (!model_.normed.empty()) k.rotate(model_.normed.view(), out, threads_[thread].turned);
    };
    const Input input = prepare(w.gate_up, columns, thread, Operator::norm, normed);
    linear(w.gate_up, input, columns, gate_up_, 2 * a.ffn, false, thread);
    prefetch(w.down, columns, thread);
    return mark(Operator::gate_up, thread);
  }
  const auto gated = [&](size_t t, float* out) {
    const float* gate = gate_up_ + t * 2 * a.ffn;
    k.silu_mul(gate, gate + a.ffn, a.ffn, out);
    if (!model_.gated.empty()) k.rotate(model_.gated.view(), out, threads_[thread].turned);
  };
  linear(w.down, prepare(w.down, columns, thread, Operator::activation, gated), columns, x_, a.hidden, true, thread);
  prefetch(layer + 1 < a.layers ? weights.layers[layer + 1].qkv : weights.head, columns, thread);
  mark(Operator::down, thread);
}

void Graph::head(size_t thread) noexcept {
  const ArchitectureSpec& a = model_.spec;
  const KernelTable& k = *model_.kernels;
  const Weights& w = model_.weights;
  const std::span<const int32_t> wanted = stages_.rows();
  const size_t rows = wanted.size();
  size_t here = 1 + 2 * kParts * a.layers;
  for (size_t first = 0; first < rows; first += kHeadRows, here += 3) {
    const size_t count = std::min(kHeadRows, rows - first);
    const auto normed = [&](size_t i, float* out) {
      const float* x = x_ + static_cast<size_t>(wanted[first + i]) * a.hidden;
      if (!model_.stream.empty()) {
        std::memcpy(out, x, a.hidden * sizeof(float));
        k.rotate(model_.stream.inverse(), out, threads_[thread].turned);
        x = out;
      }
      k.rmsnorm(x, w.output_norm.data(), a.hidden, a.rms_eps, out);
    };
    if (reaches(here + 1, thread)) {
      threads_[thread].here = here;
      const Input input = prepare(w.head, count, thread, Operator::norm, normed);
      linear(w.head, input, count, logits_, model_.logits_stride(), false, thread);
      mark(Operator::head, thread);
      entry(here + 2, thread);
    }
    if (!reaches(here + 2, thread)) continue;
    for (size_t i; (i = team_.claim(thread, count, 1)) < count;) {
      sink_->row(first + i, logits_ + i * model_.logits_stride(), thread);
    }
    mark(Operator::sampling, thread);
    entry(here + 3, thread);
  }
}

void Graph::mark(Operator operation, size_t thread) noexcept {
  OperatorClock& clock = *threads_[thread].clock;
  const uint64_t now = read_ticks();
  clock.ticks[static_cast<size_t>(operation)] += now - clock.last;
  clock.last = now;
}

void Graph::barrier(size_t thread) noexcept {
  team_.barrier(thread);
  mark(Operator::wait, thread);
}

void Graph::entry(size_t position, size_t thread) noexcept {
  team_.entry(thread, position);
  mark(Operator::wait, thread);
}

}  // namespace nibble
