#include "models/tokenizer/tokenizer.h"

#include <algorithm>
#include <bitset>
#include <charconv>
#include <functional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_replace.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/tokenizer/json/json_tokenizer.h"
#include "models/tokenizer/json/utf8.h"
#include "models/tokenizer/proto_fields.h"
#include "models/tokenizer/sentencepiece_wrapper.h"
#include "models/tokenizer/text_splitter.h"

namespace deltaserve {
namespace {

// Longer texts are encoded in parts of about this size, at which sentencepiece is fastest.
constexpr size_t kPartBytes = 8192;

// Returns the byte of a piece such as "<0x0A>".
std::string byte_of(std::string_view piece) {
  unsigned value = 0;
  if (piece.size() == 6) std::from_chars(piece.data() + 3, piece.data() + 5, value, 16);
  return std::string(1, static_cast<char>(value));
}

std::string bytes_of(const SentencePieceModel& model, int32_t id) {
  switch (model.kind(id)) {
    case PieceKind::kText: return absl::StrReplaceAll(model.piece(id), {{"\xe2\x96\x81", " "}});
    case PieceKind::kByte: return byte_of(model.piece(id));
    case PieceKind::kUnknown: return " \xe2\x81\x87 ";  // U+2047, as the library decodes it
    case PieceKind::kControl: return "";
    case PieceKind::kUnused: return "";
  }
  return "";
}

Vocabulary make_vocabulary(const SentencePieceModel& model) {
  std::vector<std::string> bytes(static_cast<size_t>(model.size()));
  for (int32_t id = 0; id < model.size(); ++id) {
    bytes[static_cast<size_t>(id)] = bytes_of(model, id);
  }
  return Vocabulary(std::move(bytes));
}

// Encodes a text of any length.
struct Encoder {
  std::unique_ptr<SentencePieceModel> model;
  TextSplitter splitter;

  void encode(std::string_view text, std::vector<int32_t>* ids) const {
    for (const std::string_view part : splitter.split(text, kPartBytes)) {
      const std::vector<int32_t> more = model->encode(part);
      ids->insert(ids->end(), more.begin(), more.end());
    }
  }
};

absl::StatusOr<std::unique_ptr<const Encoder>> make_encoder(const std::string& bytes,
                                                            const std::string& path) {
  std::string error;
  std::unique_ptr<SentencePieceModel> model = SentencePieceModel::parse(bytes, &error);
  if (model == nullptr) {
    return invalid_argument(path, " is not a sentencepiece model: ", error);
  }
  const TextSplitter splitter(bytes, *model);
  return std::unique_ptr<const Encoder>(new Encoder{std::move(model), splitter});
}

// Finds special pieces in a text.
class SpecialPieces {
 public:
  void add(const std::string& piece, int32_t id) {
    if (piece.empty()) return;
    ids_[piece] = id;
    first_bytes_.set(static_cast<unsigned char>(piece[0]));
    const auto place =
        std::lower_bound(sizes_.begin(), sizes_.end(), piece.size(), std::greater<>());
    if (place == sizes_.end() || *place != piece.size()) sizes_.insert(place, piece.size());
  }

  // Returns the longest piece with which `text` begins; -1 if there is none. `*size` receives its
  // size.
  int32_t match(std::string_view text, size_t* size) const {
    if (text.empty() || !first_bytes_.test(static_cast<unsigned char>(text[0]))) return -1;
    for (const size_t candidate : sizes_) {
      if (candidate > text.size()) continue;
      const auto found = ids_.find(as_piece(text.substr(0, candidate)));
      if (found == ids_.end()) continue;
      *size = candidate;
      return found->second;
    }
    return -1;
  }

 private:
  absl::flat_hash_map<std::string, int32_t> ids_;
  std::bitset<256> first_bytes_;
  std::vector<size_t> sizes_;  // of all pieces, falling
};

// ---- The part of sentencepiece_model.proto that special pieces need

constexpr uint64_t kPiecesField = 1;
constexpr uint64_t kNormalizerField = 3;
constexpr uint64_t kSelfTestField = 4;

struct ProtoPiece {
  std::string text;
  uint64_t type = 1;
};

enum ProtoPieceType : uint64_t {
  kUnknownType = 2,
  kControlType = 3,
  kUserDefinedType = 4,
  kByteType = 6
};

ProtoPiece read_piece(std::string_view message) {
  ProtoPiece piece;
  ProtoFields field(message);
  while (field.next()) {
    if (field.number() == 1) piece.text = field.bytes();
    if (field.number() == 3) piece.type = field.integer();
  }
  return piece;
}

bool puts_space_before(std::string_view model_bytes) {
  bool puts = true;  // the schema's default
  ProtoFields field(model_bytes);
  while (field.next()) {
    if (field.number() != kNormalizerField) continue;
    ProtoFields normalizer(field.bytes());
    while (normalizer.next()) {
      if (normalizer.number() == 3) puts = normalizer.integer() != 0;
    }
  }
  return puts;
}

void append_varint(uint64_t value, std::string* bytes) {
  for (; value >= 0x80; value >>= 7) bytes->push_back(static_cast<char>(value | 0x80));
  bytes->push_back(static_cast<char>(value));
}

// A copy of the model that encodes the text between special pieces.
struct PlainModel {
  SpecialPieces special;
  std::string bytes;  // the model with its special pieces as control pieces, which match no text
  bool is_changed = false;  // some were not control pieces before
};

bool is_marker(std::string_view piece) {
  return piece.size() >= 3 && piece.starts_with('<') && piece.ends_with('>');
}

absl::StatusOr<PlainModel> make_plain_model(std::string_view model_bytes,
                                            std::span<const std::string> special_pieces) {
  const absl::flat_hash_set<std::string> named(special_pieces.begin(), special_pieces.end());
  PlainModel plain;
  int32_t id = 0;
  ProtoFields field(model_bytes);
  while (field.next()) {
    if (field.number() == kSelfTestField) continue;  // its texts may expect special pieces
    if (field.number() != kPiecesField) {
      plain.bytes += field.whole();
      continue;
    }
    const ProtoPiece piece = read_piece(field.bytes());
    const bool is_named =
        std::find(special_pieces.begin(), special_pieces.end(), piece.text) != special_pieces.end();
    const bool is_special = is_named || piece.type == kControlType ||
                            (piece.type == kUserDefinedType && is_marker(piece.text));
    if (is_named && piece.type == kByteType) {
      return invalid_argument("the special piece ", quoted(piece.text), " stands for a byte");
    }
    if (is_special) plain.special.add(piece.text, id);
    ++id;
    if (!is_special || piece.type == kControlType || piece.type == kUnknownType) {
      plain.bytes += field.whole();
      continue;
    }
    plain.is_changed = true;
    std::string changed(field.bytes());
    changed += {"\x18\x03", 2};  // type; the last of several fields is used
    plain.bytes.push_back('\x0a');
    append_varint(changed.size(), &plain.bytes);
    plain.bytes += changed;
  }
  return plain;
}

struct Encoders {
  std::unique_ptr<const Encoder> whole;
  SpecialPieces special;
  // Encodes the text before the first special piece and after one, respectively. If null, the
  // encoder before it is used.
  std::unique_ptr<const Encoder> plain_first;
  std::unique_ptr<const Encoder> plain_next;

  const Encoder& encoder_at(size_t place) const {
    if (place > 0 && plain_next != nullptr) return *plain_next;
    return plain_first != nullptr ? *plain_first : *whole;
  }
};

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(Encoders encoders) : encoders_(std::move(encoders)) {
    vocabulary_ = make_vocabulary(model());
  }

  absl::StatusOr<std::vector<int32_t>> encode(std::string_view text) const override;
  absl::StatusOr<std::vector<int32_t>> encode_parts(std::span<const TextPart> parts) const override;
  absl::StatusOr<size_t> final_ids(std::string_view text) const override;
  absl::StatusOr<std::string> decode(const std::vector<int32_t>& tokens,
                                     SpecialTokens special) const override;
  std::string_view kind() const override { return "sentencepiece"; }
  bool decides_surroundings() const override { return false; }
  int32_t size() const override { return model().size(); }
  int32_t piece_id(std::string_view piece) const override { return model().piece_id(piece); }
  std::string piece(int32_t id) const override {
    return id >= 0 && id < size() ? model().piece(id) : std::string();
  }

 private:
  const SentencePieceModel& model() const { return *encoders_.whole->model; }

  Encoders encoders_;
};

absl::StatusOr<std::vector<int32_t>> SentencePieceTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  encoders_.whole->encode(text, &ids);
  return ids;
}

absl::StatusOr<std::vector<int32_t>> SentencePieceTokenizer::encode_parts(
    std::span<const TextPart> parts) const {
  std::string text;
  std::vector<std::pair<size_t, size_t>> trusted;  // [begin, end) in the text
  for (const TextPart& part : parts) {
    const size_t begin = text.size();
    text += part.text;
    if (!part.trusted || part.text.empty()) continue;
    if (!trusted.empty() && trusted.back().second == begin) {
      trusted.back().second = text.size();
    } else {
      trusted.emplace_back(begin, text.size());
    }
  }
  std::vector<int32_t> ids;
  size_t done = 0;
  const auto encode_to = [&](size_t end) {
    if (end > done)
      encoders_.encoder_at(done).encode(std::string_view(text).substr(done, end - done), &ids);
  };
  for (const auto& [begin, end] : trusted) {
    for (size_t i = begin; i < end;) {
      size_t size = 0;
      const int32_t id = encoders_.special.match(std::string_view(text).substr(i, end - i), &size);
      if (id < 0) {
        ++i;
        continue;
      }
      encode_to(i);
      ids.push_back(id);
      done = i += size;
    }
  }
  encode_to(text.size());
  return ids;
}

absl::StatusOr<size_t> SentencePieceTokenizer::final_ids(std::string_view text) const {
  std::vector<int32_t> ids;
  encoders_.whole->encode(text.substr(0, encoders_.whole->splitter.last_cut(text)), &ids);
  return ids.size();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> load_sentencepiece(
    const std::string& bytes, const std::string& path,
    std::span<const std::string> special_pieces) {
  auto whole = make_encoder(bytes, path);
  if (!whole.ok()) return whole.status();
  const int32_t pieces = (*whole)->model->size();
  if (pieces > limits::kVocabSize.max) {
    return invalid_argument(path, " has ", pieces, " pieces, more than the ",
                            limits::kVocabSize.max, " allowed");
  }
  Encoders encoders;
  encoders.whole = *std::move(whole);
  absl::StatusOr<PlainModel> plain = make_plain_model(bytes, special_pieces);
  if (!plain.ok()) return prefixed(path, plain.status());
  encoders.special = std::move(plain->special);
  if (plain->is_changed) {
    auto encoder = make_encoder(plain->bytes, path);
    if (!encoder.ok()) return encoder.status();
    encoders.plain_first = *std::move(encoder);
  }
  if (puts_space_before(bytes)) {
    // Adds another normalizer message; the fields of several are merged.
    plain->bytes += std::string_view("\x1a\x02\x18\x00", 4);
    auto encoder = make_encoder(plain->bytes, path);
    if (!encoder.ok()) return encoder.status();
    encoders.plain_next = *std::move(encoder);
  }
  return std::make_unique<SentencePieceTokenizer>(std::move(encoders));
}

absl::StatusOr<std::string> SentencePieceTokenizer::decode(const std::vector<int32_t>& tokens,
                                                           SpecialTokens special) const {
  std::string text;
  std::vector<int32_t> run;  // tokens between control pieces that are kept
  const auto end_run = [&] {
    if (text.empty()) {
      text = model().decode(run);
    } else {
      // The model takes the space of a text's first piece away, but this is no beginning.
      std::string bytes;
      for (const int32_t token : run) bytes += vocabulary_.bytes(token);
      tokenizer_json::append_repaired(bytes, &text);
    }
    run.clear();
  };
  for (const int32_t token : tokens) {
    if (token < 0 || token >= size()) continue;
    const bool is_control = model().kind(token) == PieceKind::kControl;
    if (!is_control) {
      run.push_back(token);
    } else if (special == SpecialTokens::kKeep) {
      end_run();
      text += model().piece(token);
    }
  }
  end_run();
  return text;
}

// Whether a file is JSON: a sentencepiece model begins with a byte of a field's tag.
bool is_json(std::string_view bytes) {
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && bytes[first] == '{';
}

}  // namespace

void surround(const Tokenizer& tokenizer, int32_t bos, std::vector<int32_t>* ids) {
  const std::vector<int32_t>& before = tokenizer.ids_before();
  const std::vector<int32_t>& after = tokenizer.ids_after();
  ids->insert(ids->begin(), before.begin(), before.end());
  if (bos >= 0) ids->insert(ids->begin(), bos);
  ids->insert(ids->end(), after.begin(), after.end());
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::load(
    const std::string& path, std::span<const std::string> special_pieces) {
  const absl::StatusOr<std::string> bytes = read_file(path, limits::kTokenizerBytes);
  if (!bytes.ok()) return bytes.status();
  return is_json(*bytes) ? load_json_tokenizer(*bytes, path, special_pieces)
                         : load_sentencepiece(*bytes, path, special_pieces);
}

}  // namespace deltaserve
