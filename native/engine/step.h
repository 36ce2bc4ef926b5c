#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pruning.h"

namespace nibble {

/// One step over the slot table: arrays as in StepBatch of src/native/contract.ts (one stage).
struct StepBatch {
  std::vector<int32_t> slots;          // [S]
  std::vector<int32_t> seq_start;      // [S+1]
  std::vector<int32_t> tokens;         // [T], −1: what the slot sampled in the step before
  std::vector<int32_t> positions;      // [T]
  std::vector<int32_t> cached_tokens;  // [S]
  std::vector<int32_t> block_start;    // [S+1]
  std::vector<int32_t> blocks;
  std::vector<int32_t> rows;     // [R]
  std::vector<int32_t> targets;  // [R], −1: sample
  bool want_logprobs = false;
  bool want_logits = false;
  bool want_importance = false;
  bool want_hidden = false;
  std::vector<Pruning> pruning;  // [S] of the slots; empty if none of them prunes
  uint32_t top_count = 0;
};

/// Where the tokens of a step stand in the layers of one stage, and the KV blocks of its sequences: as in StepBatch.
struct StageTables {
  std::span<const int32_t> seq_start;
  std::span<const int32_t> positions;
  std::span<const int32_t> block_start;
  std::span<const int32_t> blocks;
};

/// What the threads of a step spend their time on, in the order of OPERATORS of src/native/step-counters.ts.
enum class Operator : uint8_t {
  embed,
  norm,  // RMSNorm and quantization of what the next matrix reads
  qkv,
  rope,  // rotation and storing of keys and values, where that is a phase of its own (a decode does it in `attention`)
  attention,  // with the joining of splits and the quantization of the result
  attention_output,
  gate_up,
  activation,  // SiLU, product and quantization
  down,
  head,
  sampling,
  wait,  // at barriers, and for the step to begin on a thread
};
inline constexpr size_t kOperatorCount = 12;

struct StepCounters {
  uint64_t weight_bytes = 0;
  uint64_t kv_bytes = 0;
  uint64_t int8_macs = 0;
  uint64_t fp32_macs = 0;
  uint64_t short_rows = 0;  // inputs of linear layers, by token, that got 4 bits
  uint64_t total_ns = 0;
  uint64_t operator_ns[kOperatorCount] = {};  // mean over the threads; they sum to total_ns but for rounding
  uint64_t activation_bytes = 0;              // of linear layers: inputs as they were prepared, and outputs
  uint64_t table_lookups = 0;                 // sums of four inputs, looked up by four bits of a plane
};

struct StepResult {
  std::vector<int32_t> tokens;      // [R]
  std::vector<float> logprobs;      // [R], NaN if not wanted
  std::vector<int32_t> top_ids;     // [R·top_count]
  std::vector<float> top_logprobs;  // [R·top_count]
  std::vector<uint8_t> failed;      // [R]
  std::vector<float> logits;        // [R·vocab] if wanted
  std::vector<float> importance;    // [layers·T] if wanted
  std::vector<float> hidden;        // [layers·T·hidden] if wanted
  StepCounters counters;
};

}  // namespace nibble
