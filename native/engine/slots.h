#pragma once
#include <cstdint>

#include "pruning.h"
#include "sampler_state.h"
#include "shared_mask.h"

namespace nibble {

/// What the engine keeps of a sequence between steps: its sampler, and the token it sampled last.
struct Slot {
  bool open = false;
  SamplerState sampler;
  /// Tokens generated so far: the position of the next draw.
  uint32_t generated = 0;
  /// Written by the engine thread, read by the next step in place of −1.
  int32_t sampled = 0;
  /// What is dropped of its prompt.
  Pruning pruning;
  /// Where the mask of the next token is written; empty: tokens are sampled without one.
  SharedMask mask;
  /// Engine thread: the last sample was left out for want of its mask, so `sampled` isn't the token before −1.
  bool left_out = false;
  /// Engine thread: this step's input of the slot refers to a token that was left out.
  bool is_void = false;
  /// Submission side: number of the last submitted step that samples for this slot, and that contains it; 0 = none.
  uint64_t sampling_step = 0;
  uint64_t last_step = 0;
};

}  // namespace nibble
