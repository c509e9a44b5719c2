#include <algorithm>

#include "tests/models/model_cases.h"

namespace deltaserve {

// The emulation takes its time: these have every part of a state, and together every rule's form.
std::vector<ModelCase> model_cases() {
  const std::vector<std::string> names = {"layers_differ", "delta_net",
                                          "qdelta",        "kda_ccq",
                                          "mamba2",        "linear_attn",
                                          "gla_ccq",       "gated_deltanet_ccq_full",
                                          "gdn2",          "precond_gated_deltanet_ccq_centered"};
  std::vector<ModelCase> cases = golden_cases();
  std::erase_if(cases, [&](const ModelCase& c) {
    return std::find(names.begin(), names.end(), folder_name(c.folder)) == names.end();
  });
  return cases;
}

}  // namespace deltaserve
