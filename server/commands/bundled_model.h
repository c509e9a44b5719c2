// Finds the small model that is installed with the program.
#pragma once
#include <string>

#include "absl/status/statusor.h"

namespace deltaserve {

inline constexpr char kBundledModel[] = "bundled";

// Returns whether `text` means the bundled model. A folder of the same name in the working folder
// comes first.
bool names_bundled_model(const std::string& text);

// Returns the folder of the bundled model, which is at a fixed place relative to the executable.
// Returns NOT_FOUND if it was not installed.
absl::StatusOr<std::string> bundled_model_folder();

}  // namespace deltaserve
