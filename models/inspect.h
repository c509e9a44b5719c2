// Makes the report of `deltaserve inspect`.
#pragma once
#include <string>

#include "absl/status/statusor.h"
#include "models/model.h"

namespace deltaserve {

// Returns a description of the model in `folder` and its costs, as aligned text that ends with a
// newline. It reads the folder like the server and checks every tensor's name and shape, so that it
// fails with the error that serving would give.
absl::StatusOr<std::string> describe_model(const std::string& folder,
                                           const ModelFolderOptions& options = {});

}  // namespace deltaserve
