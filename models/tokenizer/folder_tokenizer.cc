#include "models/tokenizer/folder_tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <random>

#include "absl/strings/str_replace.h"
#include "models/base/text.h"
#include "models/tokenizer/json/utf8.h"
#include "models/tokenizer/load_tokenizer.h"

namespace deltaserve {
namespace {

constexpr int kProbeTexts = 10'000;

// Files of tokenizers that have to be converted before they can be read.
constexpr std::string_view kOtherKinds[] = {"tekken.json", "vocab.json", "merges.txt",
                                            "tokenizer.model.v", "rwkv_vocab_"};

absl::Status refuse_other_kinds(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    for (const std::string_view kind : kOtherKinds) {
      if (name.starts_with(kind)) names.push_back(name);
    }
  }
  if (names.empty()) return absl::OkStatus();
  return invalid_argument(folder, " has its tokenizer in ",
                          *std::min_element(names.begin(), names.end()),
                          ", which is not read: add a tokenizer.json or tokenizer.model");
}

// Returns a character of any plane that is no surrogate.
char32_t random_character(std::minstd_rand* random) {
  const auto below = [random](uint32_t end) { return static_cast<char32_t>((*random)() % end); };
  const uint32_t kind = below(8);
  const char32_t code = kind < 4 ? 0x20 + below(0x5F) : kind < 6 ? below(0x3000) : below(0x110000);
  return code >= 0xD800 && code < 0xE000 ? U' ' : code;
}

std::string random_text(const std::vector<std::string>& pieces, std::minstd_rand* random) {
  std::string text;
  for (size_t i = (*random)() % 8 + 1; i > 0; --i) {
    if ((*random)() % 3 != 0 && !pieces.empty()) {
      text += pieces[(*random)() % pieces.size()];
    } else {
      tokenizer_json::append_character(random_character(random), &text);
    }
  }
  return text;
}

// Returns the texts of all pieces that can occur in the encoding of a text.
std::vector<std::string> piece_texts(const Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    if (tokenizer.vocabulary().bytes(id).empty()) continue;
    std::string text = absl::StrReplaceAll(tokenizer.piece(id), {{"\xe2\x96\x81", " "}});
    if (!text.empty() && tokenizer_json::is_utf8(text)) texts.push_back(std::move(text));
  }
  return texts;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> load_if_there(const std::string& path,
                                                         const TokenizerSettings& settings) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = load_tokenizer(path, settings);
  if (absl::IsNotFound(tokenizer.status())) return std::unique_ptr<Tokenizer>();
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> find(const std::string& folder,
                                                const TokenizerSettings& settings,
                                                std::vector<std::string>* warnings) {
  auto model = load_if_there(str_cat(folder, "/tokenizer.model"), settings);
  if (!model.ok()) return model.status();
  auto json = load_if_there(str_cat(folder, "/tokenizer.json"), settings);
  if (*model == nullptr) {
    if (!json.ok() || *json != nullptr) return json;
    const absl::Status status = refuse_other_kinds(folder);
    if (!status.ok()) return status;
    return std::unique_ptr<Tokenizer>();
  }
  if (!json.ok()) {
    warnings->push_back(str_cat("tokenizer.model is used, because ", json.status().message()));
    return model;
  }
  if (*json == nullptr) return model;
  const std::string text = text_that_differs(**model, **json);
  if (text.empty()) return model;
  warnings->push_back(
      str_cat("tokenizer.json is used, because tokenizer.model gives other ids, for "
              "instance to ",
              text, "; --tokenizer FILE chooses"));
  return json;
}

}  // namespace

std::string text_that_differs(const Tokenizer& a, const Tokenizer& b) {
  const auto differs = [&](const std::string& text) {
    const auto ids = a.encode(text);
    const auto others = b.encode(text);
    return !ids.ok() || !others.ok() || *ids != *others;
  };
  const std::vector<std::string> pieces = piece_texts(a);
  for (const std::string& piece : pieces) {
    if (differs(piece)) return quoted(piece);
  }
  std::minstd_rand random(1);
  for (int i = 0; i < kProbeTexts; ++i) {
    const std::string text = random_text(pieces, &random);
    if (differs(text)) return quoted(text);
  }
  return "";
}

absl::StatusOr<std::unique_ptr<Tokenizer>> open_folder_tokenizer(
    const std::string& folder, const std::string& file, const TokenizerSettings& settings,
    std::vector<std::string>* warnings) {
  auto tokenizer = file.empty() ? find(folder, settings, warnings) : load_tokenizer(file, settings);
  if (!tokenizer.ok() || *tokenizer == nullptr) return tokenizer;
  for (const std::string& warning : (*tokenizer)->warnings()) {
    warnings->push_back(str_cat((*tokenizer)->kind(), ": ", warning));
  }
  return tokenizer;
}

}  // namespace deltaserve
