// Rewrites a sentencepiece model for the text between special pieces. Private to models/tokenizer/.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace deltaserve {

struct PlainModel {
  std::vector<std::pair<std::string, int32_t>> special;  // the special pieces and their ids
  std::string bytes;  // the model with its special pieces as control pieces, which match no text
  bool is_changed = false;  // some were not control pieces before
};

// Special pieces are all control pieces, the user-defined pieces that look like a marker, and
// `special_pieces`. INVALID_ARGUMENT if one of them represents a byte.
absl::StatusOr<PlainModel> make_plain_model(std::string_view model_bytes,
                                            std::span<const std::string> special_pieces);

// Returns true if the model begins every text with a space of its own.
bool puts_space_before(std::string_view model_bytes);
// Returns the model without such a space.
std::string without_space_before(std::string_view model_bytes);

}  // namespace deltaserve
