// Makes the report of `deltaserve inspect`.
#pragma once
#include <string>

#include "absl/status/statusor.h"
#include "kernels/program/state_layout.h"
#include "models/model.h"

namespace deltaserve {

// Returns a description of the model in `folder` and its costs, as aligned text that ends with a
// newline. It reads the folder like the server and checks every tensor's name and shape, so that it
// fails with the error that serving would give.
absl::StatusOr<std::string> describe_model(const std::string& folder,
                                           const ModelFolderOptions& options = {});

// Returns the part of this text about the memory of one sequence.
std::string describe_state(const StateLayout& layout);

}  // namespace deltaserve
