#include "reconstruct.h"

#include <cmath>
#include <memory>

namespace nibble {
namespace {

struct LearnedGain {
  std::vector<float> values, start, gradient, means, squares;

  void open(const std::vector<float>& first) {
    values = start = first;
    gradient.assign(first.size(), 0);
    means = squares = gradient;
  }
  void update(const Adam& adam) noexcept {
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] += std::abs(start[i]) * adam.change(gradient[i], means[i], squares[i]);
    }
    gradient.assign(gradient.size(), 0);
  }
};

Status check(const ReconstructRequest& r) {
  const auto refuse = [](const char* what) { return Status::failure(ErrorCode::native_invalid_argument, what); };
  const BlockShape& s = r.shape;
  const bool is_shape = s.hidden % 32 == 0 && s.ffn % 32 == 0 && s.query_width() % 32 == 0 && s.qkv_width() % 32 == 0 &&
                        s.head_dim % 16 == 0 && s.head_dim <= 256 && s.hidden > 0 && s.ffn > 0 && s.kv_heads > 0 &&
                        s.heads % s.kv_heads == 0 && s.query_width() > 0;
  if (!is_shape) return refuse("Reconstruction takes widths that are multiples of 32.");
  if (s.tokens == 0 || s.tokens % 32 != 0) return refuse("A window must be a multiple of 32 tokens.");
  if (r.windows == 0 || r.step_windows == 0) return refuse("There must be a window.");
  if (r.rope.dimensions == 0 || r.rope.dimensions % 2 != 0 || r.rope.dimensions > s.head_dim) {
    return refuse("RoPE must have an even number of dimensions of a head.");
  }
  for (const auto* gains : {&r.gains, &r.learned_gains}) {
    if ((*gains)[0].size() != s.hidden || (*gains)[1].size() != s.hidden) return refuse("Gains must be of the width.");
  }
  if (!r.qkv_bias.empty() && r.qkv_bias.size() != s.qkv_width()) return refuse("A bias isn't as wide as its outputs.");
  for (size_t m = 0; m < kBlockMatrices; ++m) {
    const ActivationKind kind = r.rounding.activations[m];
    const bool is_known = kind == ActivationKind::f32 || kind == ActivationKind::a8 || kind == ActivationKind::a4;
    const size_t group = r.rounding.groups[m];
    if (!is_known || (group != 32 && group != 64 && group != 128) || s.inputs(m) % group != 0) {
      return refuse("Activations must be f32, a8 or a4, in groups of 32, 64 or 128.");
    }
  }
  return Status::success();
}

/// A float block beside a quantized one that learns.
class Reconstruction {
 public:
  explicit Reconstruction(const ReconstructRequest& request) : request_(request), team_(request.threads, false) {}

  Status open(bool with_gradients) {
    const BlockShape& shape = request_.shape;
    if (Status status = RopeTable::build(request_.rope, shape.tokens, request_.rope_factors, rope_); !status.ok()) {
      return status;
    }
    if (!rotations_.open(request_.rotation, shape)) {
      return Status::failure(ErrorCode::native_invalid_argument, "A width has no rotation.");
    }
    block_ = std::make_unique<Block>(shape, rope_, rotations_, request_.threads);
    out_ = Floats(shape.tokens * shape.hidden);
    for (size_t m = 0; m < kBlockMatrices; ++m) {
      if (Status status = matrices_[m].open(request_.matrices[m], with_gradients); !status.ok()) return status;
    }
    for (size_t i = 0; i < gains_.size(); ++i) gains_[i].open(request_.learned_gains[i]);
    return Status::success();
  }

  /// The float states of all windows go through the float block.
  void run_float() {
    const BlockShape& shape = request_.shape;
    std::array<Floats, kBlockMatrices> tiles;
    for (size_t m = 0; m < kBlockMatrices; ++m) tiles[m] = Floats(shape.rows(m) * shape.inputs(m));
    BlockWeights weights;
    for (size_t m = 0; m < kBlockMatrices; ++m) weights.tiles[m] = tiles[m].data();
    weights.qkv_bias = bias();
    weights.gains = {request_.gains[0].data(), request_.gains[1].data()};
    BlockRounding rounding;
    rounding.activations.fill(ActivationKind::f32);
    team_.run([&](size_t thread) noexcept {
      const Crew crew{team_, thread};
      for (size_t m = 0; m < kBlockMatrices; ++m) {
        const size_t inputs = shape.inputs(m);
        crew.each(shape.rows(m) / kTileRows, 1,
                  [&](size_t tile) { pack_rows(request_.matrices[m].weights, inputs, inputs, tile, tiles[m].data()); });
      }
      for (size_t w = 0; w < request_.windows; ++w) {
        float* states = request_.float_states + w * window_floats();
        block_->forward(crew, weights, rounding, states, states);
      }
    });
  }

  /// The quantized states of all windows go through the quantized block as it is.
  void run_quantized() noexcept {
    team_.run([&](size_t thread) noexcept {
      const Crew crew{team_, thread};
      refresh(crew);
      for (size_t w = 0; w < request_.windows; ++w) {
        float* states = request_.states + w * window_floats();
        block_->forward(crew, weights(), request_.rounding, states, states);
      }
    });
  }

  /// Mean error of the windows that aren't learned from.
  double held_error() noexcept {
    double sum = 0;
    team_.run([&](size_t thread) noexcept {
      const Crew crew{team_, thread};
      refresh(crew);
      for (size_t w = learned_windows(); w < request_.windows; ++w) {
        block_->forward(crew, weights(), request_.rounding, request_.states + w * window_floats(), out_.data());
        if (thread == 0) sum += window_error(w);
        team_.barrier(thread);
      }
    });
    return sum / static_cast<double>((request_.windows - learned_windows()) * request_.shape.tokens);
  }

  void learn() noexcept {
    team_.run([&](size_t thread) noexcept {
      const Crew crew{team_, thread};
      for (size_t step = 0; step < request_.steps; ++step) {
        refresh(crew);
        for (size_t i = 0; i < request_.step_windows; ++i) {
          const size_t w = (step * request_.step_windows + i) % learned_windows();
          const float* x = request_.states + w * window_floats();
          block_->forward(crew, weights(), request_.rounding, x, out_.data());
          differ(crew, w);
          block_->backward(crew, weights(), x, out_.data(), gradients());
        }
        const auto adam = [&](double rate) { return Adam(static_cast<float>(rate), step, request_.steps); };
        for (LearnedMatrix& m : matrices_) m.update(crew, adam(request_.weight_rate), adam(request_.level_rate));
        if (thread == 0) {
          for (LearnedGain& gain : gains_) gain.update(adam(request_.gain_rate));
        }
        team_.barrier(thread);
      }
    });
  }

  void give(ReconstructResult& result) const {
    for (size_t m = 0; m < kBlockMatrices; ++m) {
      if (matrices_[m].learns()) result.blocks[m] = matrices_[m].encode();
    }
    for (size_t i = 0; i < gains_.size(); ++i) result.gains[i] = gains_[i].values;
  }

  void probe(const std::vector<float>& d_out, BlockGradientsResult& result) {
    BlockGradients wanted;
    for (size_t m = 0; m < kBlockMatrices; ++m) {
      result.matrices[m].assign(request_.shape.rows(m) * request_.shape.inputs(m), 0);
      wanted.matrices[m] = result.matrices[m].data();
    }
    for (size_t i = 0; i < gains_.size(); ++i) {
      result.gains[i].assign(request_.shape.hidden, 0);
      wanted.gains[i] = result.gains[i].data();
    }
    team_.run([&](size_t thread) noexcept {
      const Crew crew{team_, thread};
      refresh(crew);
      block_->forward(crew, weights(), request_.rounding, request_.states, out_.data());
      block_->backward(crew, weights(), request_.states, d_out.data(), wanted);
    });
    result.out.assign(out_.data(), out_.data() + window_floats());
  }

 private:
  size_t window_floats() const noexcept { return request_.shape.tokens * request_.shape.hidden; }
  size_t learned_windows() const noexcept {
    const size_t held = std::max<size_t>(1, request_.windows / 16);
    return request_.windows > held ? request_.windows - held : 1;
  }
  const float* bias() const noexcept { return request_.qkv_bias.empty() ? nullptr : request_.qkv_bias.data(); }

  void refresh(const Crew& crew) noexcept {
    for (LearnedMatrix& m : matrices_) m.refresh(crew);
  }
  BlockWeights weights() const noexcept {
    BlockWeights w;
    for (size_t m = 0; m < kBlockMatrices; ++m) {
      w.tiles[m] = matrices_[m].tiles();
      w.transposed[m] = matrices_[m].transposed();
    }
    w.qkv_bias = bias();
    w.gains = {gains_[0].values.data(), gains_[1].values.data()};
    return w;
  }
  BlockGradients gradients() noexcept {
    BlockGradients g;
    for (size_t m = 0; m < kBlockMatrices; ++m) g.matrices[m] = matrices_[m].gradient();
    g.gains = {gains_[0].gradient.data(), gains_[1].gradient.data()};
    return g;
  }

  /// out_ ← the error's gradient. Each token counts as much as any: the largest ones are a thousand times the others.
  void differ(const Crew& crew, size_t window) noexcept {
    const size_t n = request_.shape.hidden;
    crew.each(request_.shape.tokens, 8, [&](size_t t) {
      const float* wanted = request_.float_states + window * window_floats() + t * n;
      float* out = &out_[t * n];
      float energy = 0;
      for (size_t i = 0; i < n; ++i) energy += wanted[i] * wanted[i];
      const float factor = energy > 0 ? 1.0f / energy : 0.0f;
      for (size_t i = 0; i < n; ++i) out[i] = (out[i] - wanted[i]) * factor;
    });
  }
  double window_error(size_t window) const noexcept {
    const size_t n = request_.shape.hidden;
    double sum = 0;
    for (size_t t = 0; t < request_.shape.tokens; ++t) {
      const float* wanted = request_.float_states + window * window_floats() + t * n;
      double error = 0;
      double energy = 0;
      for (size_t i = 0; i < n; ++i) {
        const double difference = static_cast<double>(out_[t * n + i]) - static_cast<double>(wanted[i]);
        error += difference * difference;
        energy += static_cast<double>(wanted[i]) * static_cast<double>(wanted[i]);
      }
      if (energy > 0) sum += error / energy;
    }
    return sum;
  }

  const ReconstructRequest& request_;
  Team team_;
  RopeTable rope_;
  BlockRotations rotations_;
  std::unique_ptr<Block> block_;
  std::array<LearnedMatrix, kBlockMatrices> matrices_;
  std::array<LearnedGain, 2> gains_;
  Floats out_;  // [tokens][hidden] of one window; then its gradient
};

}  // namespace

Status reconstruct_block(const ReconstructRequest& request, ReconstructResult& result) {
  if (Status status = check(request); !status.ok()) return status;
  result.gains = request.learned_gains;
  const bool learns = request.steps > 0;
  auto work = std::make_unique<Reconstruction>(request);
  if (Status status = work->open(learns); !status.ok()) return status;
  work->run_float();
  if (learns) {
    result.error_before = work->held_error();
    work->learn();
    result.error_after = work->held_error();
    if (result.error_after < result.error_before) {
      work->give(result);
    } else {
      work = std::make_unique<Reconstruction>(request);
      if (Status status = work->open(false); !status.ok()) return status;
    }
  }
  work->run_quantized();
  return Status::success();
}

Status block_gradients(const ReconstructRequest& request, const std::vector<float>& d_out,
                       BlockGradientsResult& result) {
  if (Status status = check(request); !status.ok()) return status;
  if (d_out.size() != request.shape.tokens * request.shape.hidden) {
    return Status::failure(ErrorCode::native_invalid_argument, "The gradient isn't as large as the outputs.");
  }
  Reconstruction work(request);
  if (Status status = work.open(true); !status.ok()) return status;
  work.probe(d_out, result);
  return Status::success();
}

}  // namespace nibble
