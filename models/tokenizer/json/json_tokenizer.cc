#include "models/tokenizer/json/json_tokenizer.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <optional>
#include <utility>

#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/json.h"
#include "models/tokenizer/json/added_tokens.h"
#include "models/tokenizer/json/decoder.h"
#include "models/tokenizer/json/normalizer.h"
#include "models/tokenizer/json/part_reader.h"
#include "models/tokenizer/json/piece_model.h"
#include "models/tokenizer/json/post_processor.h"
#include "models/tokenizer/json/pre_tokenizer.h"
#include "models/tokenizer/json/unicode.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve {
namespace {

using tokenizer_json::AddedTokens;
using tokenizer_json::Decoder;
using tokenizer_json::Normalizer;
using tokenizer_json::PartReader;
using tokenizer_json::Piece;
using tokenizer_json::PieceModel;
using tokenizer_json::PieceTrust;
using tokenizer_json::PreTokenizers;

constexpr std::string_view kTopKeys[] = {"version",        "truncation", "padding",
                                         "added_tokens",   "normalizer", "pre_tokenizer",
                                         "post_processor", "decoder",    "model"};

// The parts of a file.
struct Parts {
  std::unique_ptr<PieceModel> model;
  AddedTokens added;
  Normalizer normalizer;  // null: there is none
  bool normalizes_locally = false;
  std::optional<PreTokenizers> splitting;  // nullopt: there is none
  Decoder decoder;
  tokenizer_json::Surroundings around;
};

// The ranges of a text in which control tokens become their ids.
class TrustedRanges {
 public:
  void add(size_t begin, size_t end) {
    if (begin == end) return;
    if (!ranges_.empty() && ranges_.back().second == begin) {
      ranges_.back().second = end;
    } else {
      ranges_.emplace_back(begin, end);
    }
  }
  bool covers(size_t begin, size_t end) const {
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), begin,
                                        [](size_t at, const auto& r) { return at < r.first; });
    return after != ranges_.begin() && end <= std::prev(after)->second;
  }

 private:
  std::vector<std::pair<size_t, size_t>> ranges_;
};

class JsonTokenizer final : public Tokenizer {
 public:
  explicit JsonTokenizer(Parts parts) : parts_(std::move(parts)) {
    size_ = parts_.model->vocabulary().end();
    for (const tokenizer_json::AddedToken& token : parts_.added.tokens())
      size_ = std::max(size_, token.id + 1);
    ids_before_ = parts_.around.before;
    ids_after_ = parts_.around.after;
    warnings_ = parts_.added.warnings();
    std::vector<std::string> bytes(static_cast<size_t>(size_));
    std::map<int32_t, std::string> names;
    for (int32_t id = 0; id < size_; ++id) {
      const tokenizer_json::AddedToken* added = parts_.added.with_id(id);
      const bool silent = added != nullptr ? added->special : !parts_.model->vocabulary().has(id);
      if (!silent) bytes[static_cast<size_t>(id)] = parts_.decoder.middle(content(id));
      if (silent && added != nullptr) names[id] = std::string(content(id));
    }
    vocabulary_ = Vocabulary(std::move(bytes), std::move(names), parts_.decoder.ill_formed());
  }

  absl::StatusOr<std::vector<int32_t>> encode(std::string_view text) const override {
    const TextPart whole{text, /*trusted=*/true};
    return encode_parts({&whole, 1});
  }

  absl::StatusOr<std::vector<int32_t>> encode_parts(
      std::span<const TextPart> parts) const override {
    std::string text;
    TrustedRanges trusted;
    bool all_trusted = true;
    for (const TextPart& part : parts) {
      const size_t begin = text.size();
      tokenizer_json::append_repaired(part.text, &text);
      if (part.trusted) trusted.add(begin, text.size());
      all_trusted = all_trusted && (part.trusted || part.text.empty());
    }
    std::vector<int32_t> ids;
    const absl::Status status =
        all_trusted ? encode_trusted(text, &ids) : encode_mixed(text, trusted, &ids);
    if (!status.ok()) return status;
    return ids;
  }

  absl::StatusOr<size_t> final_ids(std::string_view text) const override {
    return count_final(text, AddedTokens::Pass::kRaw, PieceTrust::kTrusted);
  }
  absl::StatusOr<size_t> final_ids_as_text(std::string_view text) const override {
    return count_final(text, AddedTokens::Pass::kTemplate, PieceTrust::kPlain);
  }

  absl::StatusOr<std::string> decode(const std::vector<int32_t>& tokens,
                                     SpecialTokens special) const override {
    tokenizer_json::TokenList contents;
    for (const int32_t id : tokens) {
      if (absl::Status status = check_wanted(4); !status.ok()) return status;
      const tokenizer_json::AddedToken* added = parts_.added.with_id(id);
      if (added == nullptr && !parts_.model->vocabulary().has(id)) continue;
      const std::string_view text = content(id);
      if (special == SpecialTokens::kSkip) {
        const tokenizer_json::AddedToken* same = parts_.added.with_content(text);
        if (same != nullptr && same->special) continue;
      }
      contents.append(text);
      if (contents.text().size() > limits::kDecodedBytes) return text_too_long();
    }
    return parts_.decoder.decode(std::move(contents));
  }

  std::string_view kind() const override { return "tokenizer.json"; }
  bool decides_surroundings() const override { return true; }
  int32_t size() const override { return size_; }
  int32_t num_pieces() const override { return parts_.model->vocabulary().end(); }
  int32_t piece_id(std::string_view piece) const override {
    const tokenizer_json::AddedToken* added = parts_.added.with_content(piece);
    return added != nullptr ? added->id : parts_.model->vocabulary().id(piece);
  }
  std::string piece(int32_t id) const override { return std::string(content(id)); }

 private:
  std::string_view content(int32_t id) const {
    const tokenizer_json::AddedToken* added = parts_.added.with_id(id);
    return added != nullptr ? std::string_view(added->shown)
                            : parts_.model->vocabulary().content(id);
  }

  absl::Status encode_trusted(std::string_view text, std::vector<int32_t>* ids) const {
    const auto all = [](const tokenizer_json::AddedToken&, size_t, size_t) { return true; };
    return parts_.added.split(
        text, AddedTokens::Pass::kRaw, all,
        [&](size_t begin, size_t end, const tokenizer_json::AddedToken* token) -> absl::Status {
          if (token == nullptr) {
            return encode_between({text.substr(begin, end - begin), begin == 0},
                                  PieceTrust::kTrusted, ids);
          }
          ids->push_back(token->id);
          return absl::OkStatus();
        });
  }

  absl::Status encode_mixed(std::string_view text, const TrustedRanges& trusted,
                            std::vector<int32_t>* ids) const {
    const auto allowed = [&](const tokenizer_json::AddedToken& token, size_t begin, size_t end) {
      return !parts_.added.is_control(token) || trusted.covers(begin, end);
    };
    return parts_.added.split(
        text, AddedTokens::Pass::kTemplate, allowed,
        [&](size_t begin, size_t end, const tokenizer_json::AddedToken* token) -> absl::Status {
          if (token == nullptr) {
            return encode_between({text.substr(begin, end - begin), begin == 0}, PieceTrust::kPlain,
                                  ids);
          }
          ids->push_back(token->id);
          return absl::OkStatus();
        });
  }

  // Encodes text between tokens of the first pass.
  absl::Status encode_between(Piece piece, PieceTrust trust, std::vector<int32_t>* ids) const {
    std::string normalized;
    if (parts_.normalizer != nullptr) {
      normalized = piece.text;
      absl::Status status = parts_.normalizer(&normalized);
      if (!status.ok()) return status;
      piece.text = normalized;
    }
    const auto allowed = [&](const tokenizer_json::AddedToken& token, size_t, size_t) {
      return trust == PieceTrust::kTrusted || !parts_.added.is_control(token);
    };
    return parts_.added.split(
        piece.text, AddedTokens::Pass::kNormalized, allowed,
        [&](size_t begin, size_t end, const tokenizer_json::AddedToken* token) -> absl::Status {
          if (token == nullptr) {
            return encode_plain(
                {piece.text.substr(begin, end - begin), piece.begins_text && begin == 0}, trust,
                ids);
          }
          ids->push_back(token->id);
          return absl::OkStatus();
        });
  }

  absl::Status encode_plain(Piece piece, PieceTrust trust, std::vector<int32_t>* ids) const {
    if (!parts_.splitting) return parts_.model->encode(piece.text, trust, ids);
    return parts_.splitting->split(
        piece, [&](Piece part) { return parts_.model->encode(part.text, trust, ids); });
  }

  // Counts the ids that later text cannot change.
  absl::StatusOr<size_t> count_final(std::string_view text, AddedTokens::Pass pass,
                                     PieceTrust trust) const {
    std::vector<int32_t> ids;
    const absl::Status status = walk_open(
        {text}, pass, trust, &ids, [&](Piece piece) { return encode_between(piece, trust, &ids); },
        [&](Piece piece) { return encode_open(piece, trust, &ids); });
    if (!status.ok()) return status;
    return ids.size();
  }

  // Processes an incomplete text: appends the ids of tokens that are certain, of the complete text
  // between them, and of the certain part of the text after the last one.
  absl::Status walk_open(Piece whole, AddedTokens::Pass pass, PieceTrust trust,
                         std::vector<int32_t>* ids, tokenizer_json::TakePiece complete,
                         tokenizer_json::TakePiece open) const {
    const size_t settled = parts_.added.settled(whole.text, pass);
    size_t waiting = 0;  // text from here to waiting_end is after the last certain token
    size_t waiting_end = 0;
    bool over = false;
    const auto piece_to = [&](size_t end) {
      return Piece{whole.text.substr(waiting, end - waiting), whole.begins_text && waiting == 0};
    };
    const auto allowed = [&](const tokenizer_json::AddedToken& token, size_t, size_t) {
      return trust == PieceTrust::kTrusted || !parts_.added.is_control(token);
    };
    const auto take = [&](size_t begin, size_t end,
                          const tokenizer_json::AddedToken* token) -> absl::Status {
      over = over || (token != nullptr && end > settled);
      if (over) return absl::OkStatus();
      if (token == nullptr) {
        waiting = begin;
        waiting_end = end;
        return absl::OkStatus();
      }
      absl::Status status;
      if (waiting < waiting_end) status = complete(piece_to(waiting_end));
      waiting = waiting_end = end;
      ids->push_back(token->id);
      return status;
    };
    const absl::Status status = parts_.added.split(whole.text, pass, allowed, take);
    const size_t certain = std::min(waiting_end, settled);
    return !status.ok() || waiting >= certain ? status : open(piece_to(certain));
  }

  // Appends the certain ids of an incomplete piece.
  absl::Status encode_open(Piece piece, PieceTrust trust, std::vector<int32_t>* ids) const {
    std::string normalized;
    if (parts_.normalizer != nullptr) {
      if (!parts_.normalizes_locally) return absl::OkStatus();
      normalized = piece.text.substr(0, last_safe_cut(piece.text));
      absl::Status status = parts_.normalizer(&normalized);
      if (!status.ok()) return status;
      piece.text = normalized;
    }
    return walk_open(
        piece, AddedTokens::Pass::kNormalized, trust, ids,
        [&](Piece part) { return encode_plain(part, trust, ids); },
        [&](Piece part) { return encode_open_plain(part, trust, ids); });
  }

  absl::Status encode_open_plain(Piece piece, PieceTrust trust, std::vector<int32_t>* ids) const {
    const auto encode_end = [&](Piece part) {
      return parts_.model->encode_open(part.text, trust, ids);
    };
    if (!parts_.splitting) return encode_end(piece);
    return parts_.splitting->split_open(
        piece, [&](Piece part) { return parts_.model->encode(part.text, trust, ids); }, encode_end);
  }

  // Returns the last place where a text may be cut before it is normalised; 0: there is none.
  static size_t last_safe_cut(std::string_view text) {
    bool safe_behind = false;
    for (size_t at = text.size(); at > 0;) {
      const tokenizer_json::Character c = tokenizer_json::character_before(text, at);
      const bool safe = tokenizer_json::is_letter_or_ideograph(c.code);
      if (safe && safe_behind) return at;
      safe_behind = safe;
      at -= c.bytes;
    }
    return 0;
  }

  Parts parts_;
  int32_t size_ = 0;
};

// Reads the model, and the pre-tokenizer, which hands bytes to it where both can.
void read_model(PartReader* file, Parts* parts) {
  const boost::json::value* model = file->find("model");
  if (model == nullptr) return file->fail("model", "is missing");
  PartReader reader = file->member("model", *model);
  const std::string prefix = reader.optional_text("continuing_subword_prefix").value_or("");
  const std::string suffix = reader.optional_text("end_of_word_suffix").value_or("");
  const bool can_keep_bytes =
      tokenizer_json::piece_model_type(reader) == "BPE" && prefix.empty() && suffix.empty();
  if (const boost::json::value* splitting = file->find("pre_tokenizer")) {
    parts->splitting =
        PreTokenizers::read(file->member("pre_tokenizer", *splitting), can_keep_bytes);
  }
  if (!file->ok()) return;
  const bool bytes = parts->splitting && parts->splitting->bytes_kept();
  parts->model = tokenizer_json::read_piece_model(std::move(reader), bytes);
}

void check_top(const boost::json::object& top, PartReader* file) {
  for (const auto& [key, value] : top) {
    const std::string_view name = key;
    if (std::find(std::begin(kTopKeys), std::end(kTopKeys), name) == std::end(kTopKeys)) {
      file->fail(str_cat("the key ", quoted(name), " is not known"));
    }
  }
  const std::optional<std::string> version = file->optional_text("version");
  if (version && version != "1.0") {
    file->fail("version", str_cat("must be \"1.0\", not ", quoted(*version)));
  }
}

void read_parts(PartReader* file, const TokenizerSettings& settings, Parts* parts) {
  read_model(file, parts);
  if (!file->ok()) return;
  if (const boost::json::value* part = file->find("normalizer")) {
    parts->normalizer = tokenizer_json::read_normalizer(file->member("normalizer", *part));
    if (!file->ok()) return;
    parts->normalizes_locally =
        tokenizer_json::normalizes_locally(file->member("normalizer", *part));
  }
  if (const boost::json::value* part = file->find("decoder")) {
    parts->decoder = Decoder::read(file->member("decoder", *part));
  }
  if (const boost::json::value* part = file->find("post_processor")) {
    parts->around = tokenizer_json::read_post_processor(file->member("post_processor", *part));
  }
  parts->added = AddedTokens::read(file, *parts->model, settings.most_ids);
  if (!file->ok()) return;
  parts->added.add_special(settings.special_tokens_in_order(), *parts->model, settings.most_ids);
  parts->added.mark_special(settings.special_tokens);
  for (const tokenizer_json::AddedToken& token : parts->added.tokens()) {
    if (parts->added.is_control(token)) parts->model->vocabulary().mark_special(token.id);
  }
  const absl::Status status = parts->added.finish(parts->normalizer);
  if (!status.ok()) return file->fail(std::string(status.message()));
  parts->model->finish();
  for (const std::vector<int32_t>* ids : {&parts->around.before, &parts->around.after}) {
    for (const int32_t id : *ids) {
      if (parts->added.with_id(id) != nullptr || parts->model->vocabulary().has(id)) continue;
      file->fail("post_processor", str_cat("has the id ", id, ", which no token has"));
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> load_json_tokenizer(std::string_view json,
                                                               const std::string& path,
                                                               const TokenizerSettings& settings) {
  absl::StatusOr<boost::json::object> top = parse_json_object(json, path);
  if (!top.ok()) return top.status();
  const boost::json::value value(*std::move(top));
  absl::Status status;
  PartReader file(value, "", &status);
  check_top(value.get_object(), &file);
  Parts parts;
  if (status.ok()) {
    read_parts(&file, settings, &parts);
  }
  if (!status.ok()) return prefixed(path, status);
  return std::unique_ptr<Tokenizer>(new JsonTokenizer(std::move(parts)));
}

}  // namespace deltaserve
