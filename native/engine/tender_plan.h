#pragma once
// How the input of a layer is put into Tender's groups of channels: what the model file says, checked and arranged for
// the kernels (kernels/tender.h).
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../status.h"

namespace nibble {

inline constexpr size_t kTenderGroupsMax = 24;

/// As they stand in the file, `blk.N.<input>.tender_…`.
struct TenderTensors {
  std::vector<int32_t> order;  // [inputs] channel at each place of the weights' columns
  std::vector<int32_t> sizes;  // [groups] channels of each, multiples of 4
  std::vector<float> scales;  // [chunks] step of the first group; the last chunk serves all later ones. Empty: each row
                              // has the smallest that clips nothing
  std::vector<float> bias;    // [inputs] by channel, or empty
};

class TenderPlan {
 public:
  /// Fails with model_tensor_shape if this is no permutation in whole groups, or a step isn't a step.
  Status build(const std::string& prefix, const TenderTensors& tensors, size_t inputs);

  bool empty() const noexcept { return order.empty(); }
  size_t groups() const noexcept { return ends.size(); }
  /// Whether each row has steps of its own.
  bool own_steps() const noexcept { return scales_.empty(); }
  /// Step of the first group at a position; unless each row has its own.
  float scale(int32_t position) const noexcept;

  std::vector<int32_t> order;     // [inputs]
  std::vector<float> bias;        // [inputs] by place
  std::vector<float> finer;       // [inputs] by place: 2^g
  std::vector<int32_t> weight;    // [inputs] by place: 2^(G−1−g)
  std::vector<uint32_t> ends;     // [groups] in units of 4 inputs
  bool wide[2] = {false, false};  // whether weights of 8, of 4 bits may take the accumulator beyond 32 bits

 private:
  std::vector<float> scales_;
};

}  // namespace nibble
