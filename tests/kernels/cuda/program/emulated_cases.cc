#include "tests/models/model_cases.h"

namespace deltaserve {

std::vector<ModelCase> model_cases() {
  return golden_cases();
}

}  // namespace deltaserve
