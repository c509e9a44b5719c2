// The norm after the last layer, for code that reads hidden states on the host.
#pragma once
#include <vector>

namespace deltaserve {

struct FinalNorm {
  std::vector<float> weight;  // [hidden]
  float eps = 0;
};

}  // namespace deltaserve
