#pragma once
#include <cstdint>
#include <vector>

#include "sampler_state.h"

namespace nibble {

/// What the engine keeps of a sequence between steps: its sampler, and the token it sampled last.
struct Slot {
  bool open = false;
  SamplerState sampler;
  /// Tokens generated so far: the position of the next draw.
  uint32_t generated = 0;
  /// Written by the engine thread, read by the next step in place of −1.
  int32_t sampled = 0;
  /// Submission side: number of the last submitted step that samples for this slot, and that contains it; 0 = none.
  uint64_t sampling_step = 0;
  uint64_t last_step = 0;
};

}  // namespace nibble
