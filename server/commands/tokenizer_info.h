// Describes a model's tokenizer for GET /tokenizer_info.
#pragma once
#include <string>

#include "models/model.h"

namespace deltaserve {

// Returns the folder's tokenizer_config.json as one JSON object, with the class of the tokenizer
// and the chat template that is used; empty without a tokenizer.
std::string tokenizer_info(const ModelFolder& folder);

}  // namespace deltaserve
