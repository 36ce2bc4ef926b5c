#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "../formats/activation_kind.h"
#include "../formats/pack.h"
#include "../formats/weight_format.h"
#include "../status.h"
#include "../threads/team.h"
#include "architecture.h"
#include "pack_file.h"
#include "pages.h"
#include "tender_plan.h"

namespace nibble {

/// A tensor as the file describes it.
struct TensorSpec {
  std::string name;
  uint32_t type;                // GGML type id
  std::vector<uint64_t> shape;  // fastest dimension first: [K, N]
  uint64_t offset;              // absolute, bytes
};

/// One or more matrices that read the same input, their outputs side by side: q, k, v; gate and up. Neighbours of the
/// same format are one segment, hence one sweep over memory.
struct Linear {
  struct Segment {
    PackedView weights;
    size_t output;  // first output column
  };
  std::vector<Segment> segments;
  std::vector<float> bias;  // [outputs] or empty
  size_t inputs = 0;
  size_t outputs = 0;
  ActivationKind activations = ActivationKind::f32;  // of the segments that aren't floats
  size_t activation_group = kTileInputs;             // inputs that share a scale
  int32_t levels = 127;                              // the largest code of a8: kTableLevels of bit planes
  size_t lookup_columns = 0;  // up to so many tokens bit planes are looked up; beyond, multiplied
  float threshold = 0;        // agile: rows whose importance exceeds this get a4
  TenderPlan tender;          // of tender8 and tender4; else empty
  size_t id = SIZE_MAX;       // of a layer's: 4 · layer + 0 qkv, 1 output, 2 gate and up, 3 down

  /// Whether any segment reads the input quantized, and whether any reads it as it is.
  bool reads_codes() const noexcept;
  bool reads_floats() const noexcept;
  /// Whether any segment is bit planes.
  bool has_planes() const noexcept;
  size_t bytes() const noexcept;
  size_t macs() const noexcept { return inputs * outputs; }
};

struct LayerWeights {
  std::vector<float> attention_norm;  // [hidden]
  Linear qkv;                         // hidden → (heads + 2·kv_heads)·head_dim
  std::vector<float> q_norm, k_norm;  // [head_dim] or empty
  Linear output;                      // heads·head_dim → hidden
  std::vector<float> ffn_norm;        // [hidden]
  Linear gate_up;                     // hidden → 2·ffn
  Linear down;                        // ffn → hidden
};

/// How the linear layers of one layer read their inputs.
struct LayerActivations {
  ActivationKind qkv, output, gate_up, down;
};

/// Up to how many tokens of a step matrices of bit planes are looked up, by bits − 1: the kernels of the table
/// otherwise multiply (kernels/kernel_table.h), with the same results.
using LookupColumns = std::array<size_t, 4>;
inline constexpr size_t kLookupColumnsMax = 16;

/// All weights of a model, packed. Immutable after `load` and `choose_activations`.
class Weights {
 public:
  /// Where the packed weights came from. `made` and `unsettled`: packed now; of a file that was changed just before
  /// nothing may be stored.
  enum class PackOrigin { made, unsettled, stored };

  /// Checks every tensor that the architecture needs, then reads and packs them with the team, or reads them as packed
  /// before from `pack_folder` (empty: none).
  /// @param progress called on the calling thread with the share of packed bytes
  Status load(const std::string& path, const ArchitectureSpec& architecture, const std::vector<TensorSpec>& tensors,
              const std::string& pack_folder, Team& team, const std::function<void(float)>& progress);

  std::vector<LayerWeights> layers;
  PackedView embedding;  // [vocab, hidden]
  std::vector<float> output_norm;
  Linear head;                      // hidden → vocab; shares the embedding's tiles when tied
  std::vector<float> rope_factors;  // [rotary/2] or empty

  /// Sets how linear layers read their inputs. `by_layer` has an entry for each layer, `thresholds` too where any is
  /// agile. Fails with model_tensor_shape if matrices that would read the same codes have groups of different sizes,
  /// with native_invalid_argument if thresholds are missing or an input can't be agile: those of qkv and head, which
  /// come before the layer's attention or behind all.
  Status choose_activations(const std::vector<LayerActivations>& by_layer, ActivationKind of_head,
                            const std::vector<float>& thresholds);
  /// Sets when bit planes are looked up; of quantized inputs only.
  void choose_lookups(const LookupColumns& columns) noexcept;
  bool has_planes() const noexcept;
  /// Whether any linear layer is agile.
  bool any_agile() const noexcept;

  PackOrigin pack_origin() const noexcept { return pack_origin_; }
  /// What tells the file from any other (InputFile::identity); empty if it was changed just before.
  const std::string& file_identity() const noexcept { return file_identity_; }
  /// Writes the packed weights into the folder, for the next start. Fails with pack_not_stored.
  Status store(const std::atomic<bool>& stop) const;

  size_t packed_bytes() const noexcept { return arena_.bytes(); }
  /// Bytes of weights that one token's step reads: as packed, and as they stand in the file.
  size_t bytes_per_token() const noexcept;
  size_t file_bytes_per_token() const noexcept { return file_bytes_per_token_; }
  size_t linear_macs_per_token() const noexcept;

 private:
  Pages arena_;
  size_t file_bytes_per_token_ = 0;
  std::string file_identity_;
  PackFile pack_file_;
  PackOrigin pack_origin_ = PackOrigin::made;
};

}  // namespace nibble
