#pragma once
#include <memory>

#include "../kernels/kernel_table.h"
#include "../kernels/tender.h"
#include "architecture.h"
#include "input_study.h"
#include "kv_pool.h"
#include "rope_table.h"
#include "rotation.h"
#include "weights.h"

namespace nibble {

/// A loaded model and its KV pool. Weights and tables are immutable; the pool is written by steps.
struct Model {
  ArchitectureSpec spec;
  Weights weights;
  RopeTable rope;
  KvPool kv;
  std::unique_ptr<InputStudy> study;  // null unless inputs of linear layers are watched or changed
  /// Of the residual stream or of what the layers' norms give, and of the input of down, where the file's weights are
  /// made for them; else empty. The stream is turned behind the embedding and back before the last norm, so that both
  /// matrices stay as they were.
  Rotation stream, normed, gated;
  const KernelTable* kernels = nullptr;
  const TenderKernels* tender = nullptr;
  AgileChoice agile_choice = AgileChoice::most;
  bool wants_importance = false;  // of each token in each layer: what a later input of the layer is quantized by

  /// Columns of the fused q, k, v output.
  size_t qkv_width() const noexcept { return (spec.heads + 2 * spec.kv_heads) * spec.head_dim; }
  /// Floats of one row of logits in the head's buffer, whole row tiles.
  size_t logits_stride() const noexcept { return row_tiles(spec.vocab) * kTileRows; }
};

}  // namespace nibble
