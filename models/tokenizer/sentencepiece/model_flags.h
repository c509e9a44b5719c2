// The fields of sentencepiece_model.proto that affect how a text is cut and merged.
#pragma once
#include <optional>
#include <string_view>

namespace deltaserve {

// The values are the schema's defaults.
struct ModelFlags {
  bool unigram = true;  // one of these four is true
  bool bpe = false;
  bool words = false;
  bool characters = false;
  bool suffix_spaces = false;
  bool byte_fallback = false;
  std::string_view character_map;  // as the library compiles it, in the bytes of the file; or empty
  bool add_dummy_prefix = true;
  bool remove_extra_spaces = true;
  bool mark_spaces = true;

  // Says whether the normalizer works character by character: it has no map of characters, keeps
  // spaces, and spells them as U+2581.
  bool only_marks_spaces() const {
    return character_map.empty() && !remove_extra_spaces && mark_spaces;
  }
};

// Reads the contents of a model file. Returns nullopt if they are malformed.
std::optional<ModelFlags> read_model_flags(std::string_view model_bytes);

}  // namespace deltaserve
