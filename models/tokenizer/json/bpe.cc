// Byte pair encoding.
#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <optional>

#include "models/base/cancellation.h"
#include "models/base/text.h"
#include "models/tokenizer/json/bpe_merges.h"
#include "models/tokenizer/json/byte_alphabet.h"
#include "models/tokenizer/json/piece_model.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

// Pieces longer than this are not looked up as a whole unless the file demands it.
constexpr size_t kWholeBytes = 64;
constexpr char32_t kTableEnd = 0x10000;
constexpr int32_t kUnknown = -1;
constexpr int32_t kAsBytes = -2;  // the character has no token, but each of its bytes has one

struct BpeOptions {
  bool bytes = false;
  bool byte_fallback = false;
  bool fuse_unknown = false;
  bool ignore_merges = false;
  std::string prefix;  // of all characters of a piece but the first
  std::string suffix;  // of the last character of a piece
  std::optional<std::string> unknown;

  bool has_affixes() const { return !prefix.empty() || !suffix.empty(); }
};

// Writes the symbols of a piece; unknown characters wait, because neighbours may become one token.
class SymbolRow {
 public:
  SymbolRow(int32_t unknown, bool fuse, std::vector<int32_t>* row)
      : unknown_(unknown), fuse_(fuse), row_(row) {}

  void add(int32_t id) {
    flush();
    row_->push_back(id);
  }
  // The reference puts bytes before an unknown that waits.
  void add_byte(int32_t id) { row_->push_back(id); }
  void add_unknown() {
    if (!fuse_) flush();
    waits_ = true;
  }
  void flush() {
    if (waits_) row_->push_back(unknown_);
    waits_ = false;
  }

 private:
  int32_t unknown_;
  bool fuse_;
  std::vector<int32_t>* row_;
  bool waits_ = false;
};

class Bpe final : public PieceModel {
 public:
  Bpe(BpeOptions options, ModelVocabulary vocabulary, size_t merges)
      : options_(std::move(options)), merges_(merges) {
    vocabulary_ = std::move(vocabulary);
    unknown_ = options_.unknown ? vocabulary_.id(*options_.unknown) : -1;
    for (int byte = 0; byte < 256; ++byte) {
      constexpr char kHex[] = "0123456789ABCDEF";
      const std::string token{'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'};
      byte_ids_[static_cast<size_t>(byte)] = vocabulary_.id(token);
    }
    for (int32_t id = 0; id < vocabulary_.end(); ++id) {
      const std::string_view content = vocabulary_.content(id);
      if (content.empty() || character_bytes(content[0]) != content.size()) continue;
      const char32_t code = character_at(content, 0).code;
      if (code < kTableEnd) table_[code] = vocabulary_.id(content);
    }
  }

  // Adds the merge of the next rank; one clause if a part or the whole is no entry.
  absl::Status add_merge(std::string_view left, std::string_view right) {
    if (right.size() < options_.prefix.size()) {
      return invalid_argument("has ", quoted(right), ", which is shorter than the prefix");
    }
    const std::string whole = str_cat(left, right.substr(options_.prefix.size()));
    const int32_t ids[] = {vocabulary_.id(left), vocabulary_.id(right), vocabulary_.id(whole)};
    for (const std::string_view part : {left, right, std::string_view(whole)}) {
      if (vocabulary_.id(part) < 0) {
        return invalid_argument("has ", quoted(part), ", which is not in the vocabulary");
      }
    }
    merges_.add(ids[0], ids[1], ids[2]);
    if (!options_.has_affixes()) add_neighbours(left, right);
    return absl::OkStatus();
  }

  void finish() override {
    if (!options_.has_affixes()) merges_.know_neighbours();
    for (int32_t id = 0; id < vocabulary_.end(); ++id) {
      if (vocabulary_.has(id)) add_whole(id);
    }
  }

  absl::Status encode(std::string_view piece, PieceTrust trust,
                      std::vector<int32_t>* ids) const override {
    const bool plain = trust == PieceTrust::kPlain;
    if (options_.ignore_merges || piece.size() <= kWholeBytes) {
      const auto whole = wholes_.find(as_piece(piece));
      if (whole != wholes_.end() && !(plain && vocabulary_.is_special(whole->second))) {
        ids->push_back(whole->second);
        return absl::OkStatus();
      }
    }
    static const std::vector<bool> kNothing;
    return merge(piece, plain ? vocabulary_.special_bits() : kNothing, ids);
  }

  // Ids are final up to the last two neighbours that cannot merge; an unknown symbol may still be
  // fused.
  absl::Status encode_open(std::string_view piece, PieceTrust trust,
                           std::vector<int32_t>* ids) const override {
    if (options_.has_affixes() || piece.size() <= longest_whole_) return absl::OkStatus();
    std::vector<int32_t> row;
    absl::Status status = write_row(piece, &row);
    if (!status.ok()) return status;
    size_t end = row.size();
    while (end > 0) {
      --end;
      if (end > 0 && row[end - 1] != unknown_ && row[end] != unknown_ &&
          merges_.are_separate(row[end - 1], row[end])) {
        break;
      }
    }
    static const std::vector<bool> kNothing;
    const bool plain = trust == PieceTrust::kPlain;
    return merges_.merge({row.data(), end}, plain ? vocabulary_.special_bits() : kNothing, ids);
  }

 private:
  static std::string text_of(char32_t code) {
    std::string text;
    append_character(code, &text);
    return text;
  }

  // Returns the entry of a character with its affixes; if there is none, how the character is
  // spelled otherwise.
  int32_t look_up(std::string_view spelling) const {
    const int32_t id = vocabulary_.id(spelling);
    if (id >= 0) return id;
    if (!options_.byte_fallback) return kUnknown;
    for (const char byte : spelling) {
      if (byte_ids_[static_cast<uint8_t>(byte)] < 0) return kUnknown;
    }
    return kAsBytes;
  }

  absl::Status add_symbol(int32_t id, std::string_view spelling, SymbolRow* row) const {
    if (id >= 0) {
      row->add(id);
    } else if (id == kAsBytes) {
      for (const char byte : spelling) row->add_byte(byte_ids_[static_cast<uint8_t>(byte)]);
    } else if (options_.unknown) {
      if (unknown_ < 0) {
        return invalid_argument("the tokenizer has no token for ", quoted(spelling),
                                ", nor its unk_token ", quoted(*options_.unknown));
      }
      row->add_unknown();
    }
    return absl::OkStatus();
  }

  absl::Status write_row(std::string_view piece, std::vector<int32_t>* ids) const {
    SymbolRow row(unknown_, options_.fuse_unknown, ids);
    for (size_t i = 0; i < piece.size();) {
      const Character c =
          options_.bytes ? Character{static_cast<uint8_t>(piece[i]), 1} : character_at(piece, i);
      const char32_t code = options_.bytes ? spelled_byte(static_cast<uint8_t>(c.code)) : c.code;
      const bool last = i + c.bytes == piece.size();
      absl::Status status;
      if (options_.has_affixes()) {
        const std::string spelling =
            str_cat(i > 0 ? options_.prefix : "", text_of(code), last ? options_.suffix : "");
        status = add_symbol(look_up(spelling), spelling, &row);
      } else if (code < kTableEnd && table_[code] >= 0) {
        row.add(table_[code]);
      } else {
        const std::string spelling = text_of(code);
        status = add_symbol(look_up(spelling), spelling, &row);
      }
      if (status.ok()) status = check_wanted(c.bytes);
      if (!status.ok()) return status;
      i += c.bytes;
    }
    row.flush();
    return absl::OkStatus();
  }

  absl::Status merge(std::string_view piece, const std::vector<bool>& banned,
                     std::vector<int32_t>* ids) const {
    std::vector<int32_t> row;
    row.reserve(options_.bytes ? piece.size() : character_count(piece));
    absl::Status status = write_row(piece, &row);
    return status.ok() ? merges_.merge(row, banned, ids) : status;
  }

  // Returns the symbols that a part of a merge may begin or end with: a character, a byte, or the
  // unknown token.
  std::vector<int32_t> edges(std::string_view part, bool front) const {
    std::vector<int32_t> ids;
    const auto add = [&](std::string_view edge) {
      if (const int32_t id = vocabulary_.id(edge); id >= 0) ids.push_back(id);
    };
    if (part.empty()) return ids;
    const Character c = front ? character_at(part, 0) : character_before(part, part.size());
    add(text_of(c.code));
    constexpr size_t kByteToken = 6;
    if (part.size() >= kByteToken) {
      const std::string_view edge = part.substr(front ? 0 : part.size() - kByteToken, kByteToken);
      if (byte_of_token(edge) >= 0) add(edge);
    }
    const std::string_view unknown = options_.unknown ? *options_.unknown : std::string_view();
    const bool is_edge = front ? part.starts_with(unknown) : part.ends_with(unknown);
    if (!unknown.empty() && is_edge) add(unknown);
    return ids;
  }

  void add_neighbours(std::string_view left, std::string_view right) {
    for (const int32_t a : edges(left, false)) {
      for (const int32_t b : edges(right, true)) merges_.add_neighbours(a, b);
    }
  }

  // Records an entry that is used if a piece is exactly its content.
  void add_whole(int32_t id) {
    std::string key(vocabulary_.content(id));
    if (vocabulary_.id(key) != id) return;
    if (options_.bytes) {
      std::optional<std::string> bytes = bytes_spelled_by(key);
      if (!bytes) return;
      key = *std::move(bytes);
    }
    if (!options_.ignore_merges) {
      if (key.size() > kWholeBytes) return;
      std::vector<int32_t> merged;
      if (!merge(key, {}, &merged).ok() || merged != std::vector<int32_t>{id}) return;
    }
    wholes_[key] = id;
    if (options_.ignore_merges) longest_whole_ = std::max(longest_whole_, key.size());
  }

  BpeOptions options_;
  BpeMerges merges_;
  int32_t unknown_ = -1;
  std::array<int32_t, 256> byte_ids_{};
  // The entries of the characters below kTableEnd; kUnknown where there is none.
  std::vector<int32_t> table_ = std::vector<int32_t>(kTableEnd, kUnknown);
  absl::flat_hash_map<std::string, int32_t> wholes_;
  size_t longest_whole_ = 0;  // of the entries that are used as a whole even if no merges make them
};

// Reads a merge: ["a", "b"] or "a b".
bool read_merge(const boost::json::value& value, std::string_view* left, std::string_view* right) {
  if (const boost::json::array* pair = value.if_array()) {
    if (pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string()) return false;
    *left = (*pair)[0].get_string();
    *right = (*pair)[1].get_string();
    return true;
  }
  if (!value.is_string()) return false;
  const std::string_view text = value.get_string();
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return false;
  *left = text.substr(0, space);
  *right = text.substr(space + 1);
  return right->find(' ') == std::string_view::npos;
}

bool is_comment(const boost::json::value& merge) {
  return merge.is_string() && std::string_view(merge.get_string()).starts_with("#version");
}

void read_merges(PartReader* part, Bpe* model) {
  size_t index = 0;
  for (const boost::json::value& merge : part->list("merges")) {
    const std::string name = str_cat("merges[", index++, "]");
    if (is_comment(merge)) continue;
    std::string_view left;
    std::string_view right;
    if (!read_merge(merge, &left, &right)) {
      return part->fail(name, "must be two texts, or one with a single space between two parts");
    }
    if (const absl::Status status = model->add_merge(left, right); !status.ok()) {
      return part->fail(name, std::string(status.message()));
    }
  }
}

}  // namespace

std::unique_ptr<PieceModel> read_bpe(PartReader* part, bool bytes) {
  BpeOptions options;
  options.bytes = bytes;
  options.byte_fallback = part->boolean("byte_fallback", false);
  options.fuse_unknown = part->boolean("fuse_unk", false);
  options.ignore_merges = part->boolean("ignore_merges", false);
  options.prefix = part->optional_text("continuing_subword_prefix").value_or("");
  options.suffix = part->optional_text("end_of_word_suffix").value_or("");
  options.unknown = part->optional_text("unk_token");
  const boost::json::value* dropout = part->find("dropout");
  const bool random =
      dropout != nullptr && !(dropout->is_number() && dropout->to_number<double>() == 0);
  if (random) part->fail("dropout", "is not 0: the tokens of a text would be random");
  ModelVocabulary vocabulary;
  vocabulary.read("vocab", part);
  if (!part->ok()) return nullptr;
  auto model =
      std::make_unique<Bpe>(std::move(options), std::move(vocabulary), part->list("merges").size());
  read_merges(part, model.get());
  return part->ok() ? std::move(model) : nullptr;
}

}  // namespace deltaserve::tokenizer_json
