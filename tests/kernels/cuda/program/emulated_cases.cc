#include <algorithm>

#include "tests/models/model_cases.h"

namespace deltaserve {

// The emulation takes its time: together these have every part of a state.
std::vector<ModelCase> model_cases() {
  const std::vector<std::string> names = {"layers_differ", "linear_attn", "gla_ccq",
                                          "precond_gated_deltanet_ccq_centered"};
  std::vector<ModelCase> cases = golden_cases();
  std::erase_if(cases, [&](const ModelCase& c) {
    return std::find(names.begin(), names.end(), folder_name(c.folder)) == names.end();
  });
  return cases;
}

}  // namespace deltaserve
