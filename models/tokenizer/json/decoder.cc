#include "models/tokenizer/json/decoder.h"

#include <algorithm>
#include <boost/json/array.hpp>

#include "absl/strings/str_replace.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/base/reserve_sparingly.h"
#include "models/tokenizer/json/byte_alphabet.h"
#include "models/tokenizer/json/expression.h"
#include "models/tokenizer/json/normalizer.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

using Token = TokenList::Token;

// Returns a function that puts change(token), a text, in the place of each token.
template <class Change>
auto changing(Change change) {
  return [change](TokenList* tokens) {
    TokenList out;
    absl::Status status = tokens->for_each([&](const Token& token) {
      out.append(change(token));
      return absl::OkStatus();
    });
    *tokens = std::move(out);
    return status;
  };
}

// Returns a step that changes every token by itself, at any place.
template <class Change>
DecoderStep for_each(Change change) {
  DecoderStep step;
  step.all = changing([change](const Token& token) { return change(token.text); });
  step.middle = change;
  return step;
}

// The bytes that the alphabet of GPT-2 spells; a token with any other character is itself.
std::string bytes_of_spelling(std::string_view token) {
  return bytes_spelled_by(token).value_or(std::string(token));
}

DecoderStep byte_level() {
  DecoderStep step;
  step.all = [](TokenList* tokens) {
    std::string bytes;
    absl::Status status = tokens->for_each([&](const Token& token) {
      const std::string own = bytes_of_spelling(token.text);
      reserve_sparingly(bytes.size() + own.size(), &bytes);
      bytes += own;
      return absl::OkStatus();
    });
    *tokens = TokenList();
    std::string text;
    text.reserve(bytes.size());
    append_repaired(bytes, &text);
    *tokens = TokenList(std::move(text));
    return status;
  };
  step.middle = bytes_of_spelling;
  return step;
}

// Turns runs of byte tokens into text. A run that is not UTF-8 gets a U+FFFD for every byte.
absl::Status decode_byte_runs(TokenList* tokens) {
  TokenList out;
  std::string run;
  const auto end_run = [&] {
    if (is_utf8(run)) {
      if (!run.empty()) out.append(run);
    } else {
      for (size_t i = 0; i < run.size(); ++i) out.append("\xEF\xBF\xBD");
    }
    run.clear();
  };
  absl::Status status = tokens->for_each([&](const Token& token) {
    const int byte = byte_of_token(token.text);
    if (byte >= 0) {
      reserve_sparingly(run.size() + 1, &run);
      run.push_back(static_cast<char>(byte));
    } else {
      end_run();
      out.append(token.text);
    }
    return absl::OkStatus();
  });
  end_run();
  *tokens = std::move(out);
  return status;
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
  step.all = [](TokenList* tokens) {
    *tokens = TokenList(std::move(*tokens).take_text());
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
  step.all = changing([later, cleanup](const Token& token) {
    if (!token.first) return later(token.text);
    return cleanup ? cleaned_up(std::string(token.text)) : std::string(token.text);
  });
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
  step.all = changing(
      [replaced](const Token& token) { return replaced(token.text, token.last ? "" : " "); });
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
  step.all = changing([replaced, drops_first](const Token& token) {
    return replaced(token.text, drops_first && token.first ? "" : " ");
  });
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
  step.all = [change](TokenList* tokens) {
    TokenList out;
    std::string_view before;
    absl::Status status = tokens->for_each([&](const Token& token) {
      const bool is_repeated = !token.first && token.text == before;
      before = token.text;
      if (is_repeated) return absl::OkStatus();
      if (const std::string text = change(std::string(token.text)); !text.empty()) out.append(text);
      return absl::OkStatus();
    });
    *tokens = std::move(out);
    return status;
  };
  step.middle = [change](std::string_view token) { return change(std::string(token)); };
  return step;
}

// Removes `content` from both ends of a token, up to the given numbers of times.
std::string stripped_token(std::string_view token, std::string_view content, int64_t start,
                           int64_t stop) {
  for (; start > 0 && token.starts_with(content); --start) token.remove_prefix(content.size());
  for (; stop > 0 && token.ends_with(content); --stop) token.remove_suffix(content.size());
  return std::string(token);
}

// With `fused` the tokens have been joined to one, whose ends are those of the whole text.
DecoderStep read_strip_step(PartReader* part, bool fused) {
  std::string content;
  append_character(part->character("content"), &content);
  const int64_t start = part->integer("start", limits::kStripCharacters);
  const int64_t stop = part->integer("stop", limits::kStripCharacters);
  DecoderStep step = for_each([content, start, stop](std::string_view token) {
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
  step.all = [pattern, content](TokenList* tokens) {
    TokenList out;
    absl::Status status = tokens->for_each([&](const Token& token) {
      std::string text(token.text);
      absl::Status replaced = replace_all(*pattern, content, &text);
      if (replaced.ok()) out.append(text);
      return replaced;
    });
    *tokens = std::move(out);
    return status;
  };
  step.middle = [pattern, content](std::string_view token) {
    std::string text(token);
    // A part of a character is not text, so expressions cannot be searched in it.
    if (!is_utf8(text) || !replace_all(*pattern, content, &text).ok()) return std::string(token);
    return text;
  };
  return step;
}

struct DecoderList {
  std::vector<DecoderStep> steps;
  size_t parts = 0;
  bool fused = false;
  IllFormed ill_formed = IllFormed::kPart;
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
    list->ill_formed = IllFormed::kByte;
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
  step.all = changing([](const Token& token) {
    return token.first ? std::string(token.text) : str_cat(" ", token.text);
  });
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
  decoder.ill_formed_ = list.ill_formed;
  return decoder;
}

absl::StatusOr<std::string> Decoder::decode(TokenList tokens) const {
  const size_t before = tokens.text().size();
  for (const DecoderStep& step : steps_) {
    absl::Status status = step.all(&tokens);
    if (status.ok()) status = check_growth(before, tokens.text().size());
    if (!status.ok()) return status;
  }
  return std::move(tokens).take_text();
}

std::string Decoder::middle(std::string_view token) const {
  std::string text(token);
  for (const DecoderStep& step : steps_) text = step.middle(text);
  return text;
}

}  // namespace deltaserve::tokenizer_json
