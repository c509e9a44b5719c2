#include "models/tokenizer/sentencepiece/model_flags.h"

#include "models/tokenizer/sentencepiece/proto_fields.h"

namespace deltaserve {
namespace {

bool read_trainer(std::string_view message, ModelFlags* flags) {
  ProtoFields field(message);
  while (field.next()) {
    if (field.is_integer(3) && field.enumerator() >= 1 && field.enumerator() <= 4) {
      flags->unigram = field.enumerator() == 1;
      flags->bpe = field.enumerator() == 2;
      flags->words = field.enumerator() == 3;
      flags->characters = field.enumerator() == 4;
    }
    if (field.is_integer(35)) flags->byte_fallback = field.integer() != 0;
    if (field.is_integer(24)) flags->suffix_spaces = field.integer() != 0;
  }
  return field.ok();
}

bool read_normalizer(std::string_view message, ModelFlags* flags) {
  ProtoFields field(message);
  while (field.next()) {
    if (field.is_bytes(2)) flags->character_map = field.bytes();
    if (field.is_integer(3)) flags->add_dummy_prefix = field.integer() != 0;
    if (field.is_integer(4)) flags->remove_extra_spaces = field.integer() != 0;
    if (field.is_integer(5)) flags->mark_spaces = field.integer() != 0;
  }
  return field.ok();
}

}  // namespace

std::optional<ModelFlags> read_model_flags(std::string_view model_bytes) {
  ModelFlags flags;
  ProtoFields field(model_bytes);
  while (field.next()) {
    if (field.is_bytes(2) && !read_trainer(field.bytes(), &flags)) return std::nullopt;
    if (field.is_bytes(3) && !read_normalizer(field.bytes(), &flags)) return std::nullopt;
  }
  return field.ok() ? std::optional(flags) : std::nullopt;
}

}  // namespace deltaserve
