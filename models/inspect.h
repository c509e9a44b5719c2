// The report of `deltaserve inspect`.
#pragma once
#include <string>

#include "absl/status/statusor.h"

namespace deltaserve {

// What the model in `folder` is and what it costs, as aligned text that ends with a newline. Reads
// the folder as the server would and checks every tensor's name and shape, so that an error here is
// the error that serving it would give.
absl::StatusOr<std::string> describe_model(const std::string& folder);

}  // namespace deltaserve
