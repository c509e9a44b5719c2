// The norm behind the last layer, for whoever reads hidden states on the host.
#pragma once
#include <vector>

namespace deltaserve {

struct FinalNorm {
  std::vector<float> weight;  // [hidden]
  float eps = 0;
};

}  // namespace deltaserve
