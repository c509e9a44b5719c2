#include "models/tokenizer/json/decoder.h"

#include <algorithm>
#include <boost/json/array.hpp>

#include "absl/strings/str_replace.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/json/byte_alphabet.h"
#include "models/tokenizer/json/expression.h"
#include "models/tokenizer/json/normalizer.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

using Tokens = std::vector<std::string>;

// Returns a step that changes every token by itself, wherever it stands.
template <class Change>
DecoderStep for_each(Change change) {
  DecoderStep step;
  step.all = [change](Tokens* tokens) {
    for (std::string& token : *tokens) token = change(token);
    return absl::OkStatus();
  };
  step.middle = [change](std::string_view token) { return change(std::string(token)); };
  return step;
}

std::string joined(const Tokens& tokens, std::string_view separator = "") {
  std::string text;
  for (const std::string& token : tokens) {
    if (!separator.empty() && &token != tokens.data()) text += separator;
    text += token;
  }
  return text;
}

// The bytes that the alphabet of GPT-2 spells; a token with any other character is itself.
std::string bytes_of_spelling(std::string_view token) {
  return bytes_spelled_by(token).value_or(std::string(token));
}

DecoderStep byte_level() {
  DecoderStep step;
  step.all = [](Tokens* tokens) {
    std::string bytes;
    for (const std::string& token : *tokens) bytes += bytes_of_spelling(token);
    std::string text;
    append_repaired(bytes, &text);
    *tokens = {std::move(text)};
    return absl::OkStatus();
  };
  step.middle = bytes_of_spelling;
  return step;
}

// Turns runs of byte tokens into text. A run that is not UTF-8 gets a U+FFFD for every byte.
absl::Status decode_byte_runs(Tokens* tokens) {
  Tokens out;
  std::string run;
  const auto end_run = [&] {
    if (run.empty()) return;
    if (is_utf8(run)) {
      out.push_back(std::move(run));
    } else {
      for (size_t i = 0; i < run.size(); ++i) out.push_back("\xEF\xBF\xBD");
    }
    run.clear();
  };
  for (std::string& token : *tokens) {
    const int byte = byte_of_token(token);
    if (byte >= 0) {
      run.push_back(static_cast<char>(byte));
    } else {
      end_run();
      out.push_back(std::move(token));
    }
  }
  end_run();
  *tokens = std::move(out);
  return absl::OkStatus();
}

DecoderStep byte_fallback() {
  DecoderStep step;
  step.all = decode_byte_runs;
  step.middle = [](std::string_view token) {
    const int byte = byte_of_token(token);
    return byte < 0 ? std::string(token) : std::string(1, static_cast<char>(byte));
  };
  return step;
}

DecoderStep fuse() {
  DecoderStep step;
  step.all = [](Tokens* tokens) {
    *tokens = {joined(*tokens)};
    return absl::OkStatus();
  };
  step.middle = [](std::string_view token) { return std::string(token); };
  return step;
}

std::string cleaned_up(std::string text) {
  const std::pair<const char*, const char*> kChanges[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& change : kChanges) absl::StrReplaceAll({{change.first, change.second}}, &text);
  return text;
}

DecoderStep read_word_piece_step(PartReader* part) {
  const std::string prefix = part->text("prefix");
  const bool cleanup = part->boolean("cleanup");
  const auto later = [prefix, cleanup](std::string_view token) {
    std::string text =
        token.starts_with(prefix) ? std::string(token.substr(prefix.size())) : str_cat(" ", token);
    return cleanup ? cleaned_up(std::move(text)) : text;
  };
  DecoderStep step;
  step.all = [later, cleanup](Tokens* tokens) {
    for (std::string& token : *tokens) {
      if (&token != tokens->data()) {
        token = later(token);
      } else if (cleanup) {
        token = cleaned_up(std::move(token));
      }
    }
    return absl::OkStatus();
  };
  step.middle = later;
  return step;
}

DecoderStep read_bpe_step(PartReader* part) {
  const std::string suffix = part->text("suffix");
  if (suffix.empty()) part->fail("suffix", "must not be empty");
  const auto replaced = [suffix](std::string_view token, std::string_view with) {
    return absl::StrReplaceAll(as_piece(token), {{suffix, as_piece(with)}});
  };
  DecoderStep step;
  step.all = [replaced](Tokens* tokens) {
    for (std::string& token : *tokens) {
      token = replaced(token, &token == &tokens->back() ? "" : " ");
    }
    return absl::OkStatus();
  };
  step.middle = [replaced](std::string_view token) { return replaced(token, " "); };
  return step;
}

DecoderStep read_metaspace_step(PartReader* part) {
  std::string mark;
  append_character(part->character("replacement"), &mark);
  const std::optional<std::string> scheme = part->optional_text("prepend_scheme");
  if (scheme && scheme != "always" && scheme != "first" && scheme != "never") {
    part->fail("prepend_scheme", str_cat(quoted(*scheme), " is not supported"));
  }
  const bool drops_first = scheme != "never";
  const auto replaced = [mark](std::string_view token, std::string_view with) {
    return absl::StrReplaceAll(as_piece(token), {{mark, as_piece(with)}});
  };
  DecoderStep step;
  step.all = [replaced, drops_first](Tokens* tokens) {
    for (std::string& token : *tokens) {
      token = replaced(token, drops_first && &token == tokens->data() ? "" : " ");
    }
    return absl::OkStatus();
  };
  step.middle = [replaced](std::string_view token) { return replaced(token, " "); };
  return step;
}

DecoderStep read_ctc_step(PartReader* part) {
  const std::string pad = part->text("pad_token");
  const std::string delimiter = part->text("word_delimiter_token");
  const bool cleanup = part->boolean("cleanup");
  if (pad.empty()) part->fail("pad_token", "must not be empty");
  if (delimiter.empty()) part->fail("word_delimiter_token", "must not be empty");
  const auto change = [pad, delimiter, cleanup](std::string token) {
    absl::StrReplaceAll({{pad, ""}}, &token);
    if (!cleanup) return token;
    token = cleaned_up(std::move(token));
    absl::StrReplaceAll({{delimiter, " "}}, &token);
    return token;
  };
  DecoderStep step;
  step.all = [change](Tokens* tokens) {
    tokens->erase(std::unique(tokens->begin(), tokens->end()), tokens->end());
    for (std::string& token : *tokens) token = change(std::move(token));
    std::erase(*tokens, "");
    return absl::OkStatus();
  };
  step.middle = [change](std::string_view token) { return change(std::string(token)); };
  return step;
}

// Removes `content` up to so many times from both ends of a token.
std::string stripped_token(std::string_view token, std::string_view content, int64_t start,
                           int64_t stop) {
  for (; start > 0 && token.starts_with(content); --start) token.remove_prefix(content.size());
  for (; stop > 0 && token.ends_with(content); --stop) token.remove_suffix(content.size());
  return std::string(token);
}

// `fused`: the tokens are one already, whose ends are those of the whole text.
DecoderStep read_strip_step(PartReader* part, bool fused) {
  std::string content;
  append_character(part->character("content"), &content);
  const int64_t start = part->integer("start", limits::kStripCharacters);
  const int64_t stop = part->integer("stop", limits::kStripCharacters);
  DecoderStep step = for_each([content, start, stop](const std::string& token) {
    return stripped_token(token, content, start, stop);
  });
  if (fused) step.middle = [](std::string_view token) { return std::string(token); };
  return step;
}

DecoderStep read_replace_step(PartReader* part) {
  std::shared_ptr<const Pattern> pattern = read_pattern(part);
  const std::string content = part->text("content");
  if (content.size() > limits::kReplacementBytes) {
    part->fail("content", str_cat("has more than ", limits::kReplacementBytes, " bytes"));
  }
  if (pattern == nullptr) return fuse();
  DecoderStep step;
  step.all = [pattern, content](Tokens* tokens) {
    for (std::string& token : *tokens) {
      absl::Status status = replace_all(*pattern, content, &token);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  };
  step.middle = [pattern, content](std::string_view token) {
    std::string text(token);
    // A part of a character is no text, in which an expression could be looked for.
    if (!is_utf8(text) || !replace_all(*pattern, content, &text).ok()) return std::string(token);
    return text;
  };
  return step;
}

struct DecoderList {
  std::vector<DecoderStep> steps;
  size_t parts = 0;
  bool fused = false;
};

void read_decoder(PartReader part, DecoderList* list) {
  if (++list->parts > limits::kTokenizerParts) part.fail("there are too many decoders");
  if (!part.ok()) return;
  const std::string type = part.text("type");
  std::vector<DecoderStep>& steps = list->steps;
  if (type == "Sequence") {
    size_t index = 0;
    for (const boost::json::value& item : part.list("decoders")) {
      read_decoder(part.item("decoders", index++, item), list);
    }
  } else if (type == "ByteLevel") {
    steps.push_back(byte_level());
    list->fused = true;
  } else if (type == "ByteFallback") {
    steps.push_back(byte_fallback());
  } else if (type == "Fuse") {
    steps.push_back(fuse());
    list->fused = true;
  } else if (type == "WordPiece") {
    steps.push_back(read_word_piece_step(&part));
  } else if (type == "BPEDecoder") {
    steps.push_back(read_bpe_step(&part));
  } else if (type == "Metaspace") {
    steps.push_back(read_metaspace_step(&part));
  } else if (type == "CTC") {
    steps.push_back(read_ctc_step(&part));
  } else if (type == "Strip") {
    steps.push_back(read_strip_step(&part, list->fused));
  } else if (type == "Replace") {
    steps.push_back(read_replace_step(&part));
  } else {
    part.fail("type", str_cat(quoted(type), " is not a decoder that is supported"));
  }
}

DecoderStep join_by_spaces() {
  DecoderStep step;
  step.all = [](Tokens* tokens) {
    *tokens = {joined(*tokens, " ")};
    return absl::OkStatus();
  };
  step.middle = [](std::string_view token) { return str_cat(" ", token); };
  return step;
}

}  // namespace

Decoder::Decoder() : steps_{join_by_spaces()} {}

Decoder Decoder::read(PartReader part) {
  DecoderList list;
  read_decoder(std::move(part), &list);
  Decoder decoder;
  decoder.steps_ = std::move(list.steps);
  return decoder;
}

absl::StatusOr<std::string> Decoder::decode(std::vector<std::string> tokens) const {
  size_t before = 0;
  for (const std::string& token : tokens) before += token.size();
  for (const DecoderStep& step : steps_) {
    const absl::Status status = step.all(&tokens);
    if (!status.ok()) return status;
    size_t after = 0;
    for (const std::string& token : tokens) after += token.size();
    if (const absl::Status grown = check_growth(before, after); !grown.ok()) return grown;
  }
  return joined(tokens);
}

std::string Decoder::middle(std::string_view token) const {
  std::string text(token);
  for (const DecoderStep& step : steps_) text = step.middle(text);
  return text;
}

}  // namespace deltaserve::tokenizer_json
