// The normalizers of tokenizer.json, which change a text before it is split.
#pragma once
#include <boost/json/value.hpp>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/tokenizer/json/part_reader.h"

namespace deltaserve::tokenizer_json {

// Changes valid UTF-8 text; null: nothing is changed. Safe from any thread at once. Returns
// RESOURCE_EXHAUSTED if the result became too long, or an expression took too many steps.
using Normalizer = std::function<absl::Status(std::string* text)>;

// Reads a normalizer; errors go to the reader's status.
Normalizer read_normalizer(PartReader part);

// Returns whether a normalizer, which was read before, can normalise a text in two parts that are
// cut between two ASCII letters or digits, or between two ideographs.
bool normalizes_locally(PartReader part);

class Pattern;
// Puts `replacement` wherever `pattern` matches.
absl::Status replace_all(const Pattern& pattern, std::string_view replacement, std::string* text);

// Reads {"String": ...} or {"Regex": ...} under the key "pattern"; null after an error.
std::shared_ptr<const Pattern> read_pattern(PartReader* part);

// Checks the size of a normalised text. Returns RESOURCE_EXHAUSTED if `bytes` is far more than the
// `before` bytes of the text that it was made from.
absl::Status check_growth(size_t before, size_t bytes);

}  // namespace deltaserve::tokenizer_json
