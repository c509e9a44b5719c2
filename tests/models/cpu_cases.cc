#include "tests/models/model_cases.h"

namespace deltaserve {

std::vector<ModelCase> model_cases() {
  std::vector<ModelCase> cases = golden_cases();
  for (const std::string& folder : golden_folders()) {
    for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
      cases.push_back({folder, format});
    }
  }
  for (const WeightFormat format : {WeightFormat::kAuto, WeightFormat::kF32, WeightFormat::kBf16,
                                    WeightFormat::kInt8, WeightFormat::kInt4}) {
    cases.push_back({DELTASERVE_BUNDLED_MODEL, format});
  }
  for (const WeightFormat format : {WeightFormat::kAuto, WeightFormat::kInt8}) {
    for (const StateFormat states : rounding_state_formats()) {
      cases.push_back({DELTASERVE_BUNDLED_MODEL, format, states});
    }
  }
  return cases;
}

}  // namespace deltaserve
