#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "architecture.h"
#include "step.h"

namespace nibble {

/// Attention of neighbouring queries of one sequence over one KV head: all splits in order, or (`partial` ≥ 0) one
/// split whose result is merged with its siblings' later.
struct AttentionItem {
  int32_t sequence;
  int32_t kv_head;
  int32_t first_token;  // in the step
  int32_t queries;
  int32_t first_position;
  int32_t first_split;
  int32_t splits;
  int32_t partial;      // index of the partial result, or −1
  bool owns_new_token;  // decode: this item rotates and stores the new key and value
};

/// How the attention of a step is cut into items, the same in every layer of a stage.
struct AttentionPlan {
  std::vector<AttentionItem> items;
  /// [S] first partial of the sequence (then [kv_head][split]), or −1 if its items hold all splits.
  std::vector<int32_t> first_partial;
  std::vector<int32_t> split_count;         // [S]
  std::vector<int32_t> token_sequence;      // [T]
  std::vector<float> partial_o;             // [partials][group · head_dim]
  std::vector<float> partial_m, partial_l;  // [partials][group]
  bool decode_only = false;                 // every sequence brings one token
  uint64_t positions_read = 0;              // keys and values of all KV heads, per layer
  uint64_t macs = 0;                        // per layer, causal

  void build(const StageTables& stage, const ArchitectureSpec& spec, size_t threads);

 private:
  void add_items(const StageTables& stage, const ArchitectureSpec& spec, size_t sequence, int32_t tile);
};

}  // namespace nibble
