// The post-processors of tokenizer.json, which put special tokens around the ids of a text.
#pragma once
#include <cstdint>
#include <vector>

#include "models/tokenizer/json/part_reader.h"

namespace deltaserve::tokenizer_json {

struct Surroundings {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
};

// Reads a post-processor; errors go to the reader's status. A template that does not have the text
// exactly once is refused.
Surroundings read_post_processor(PartReader part);

}  // namespace deltaserve::tokenizer_json
