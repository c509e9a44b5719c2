#include "models/tokenizer/sentencepiece/sentencepiece_tokenizer.h"

#include <algorithm>
#include <charconv>
#include <mutex>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_replace.h"
#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/base/reserve_sparingly.h"
#include "models/tokenizer/json/utf8.h"
#include "models/tokenizer/sentencepiece/encoder.h"
#include "models/tokenizer/sentencepiece/plain_model.h"
#include "models/tokenizer/sentencepiece/text_splitter.h"
#include "models/tokenizer/sentencepiece/token_finder.h"
#include "models/tokenizer/sentencepiece/token_search.h"
#include "models/tokenizer/sentencepiece/wrapper.h"

namespace deltaserve {
namespace {

// Longer texts are encoded in parts of about this size, at which sentencepiece is fastest.
constexpr size_t kPartBytes = 8192;
// Parts that cannot be cut to this size are not given to the library if that can be avoided. For a
// part of this size it takes some 3 MiB and little time.
constexpr size_t kLongPartBytes = size_t{16} << 10;
// The number of tokens that are decoded at once. The library holds some 200 bytes for each.
constexpr size_t kDecodedAtOnce = 1024;

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

// Decodes ids that follow others: the library drops spaces only at the beginning of a text, so it
// is given a piece to begin with.
class Continuation {
 public:
  explicit Continuation(const SentencePieceModel& model) {
    for (int32_t id = 0; id < model.size() && first_text_.empty(); ++id) {
      first_ = id;
      first_text_ = model.decode({id});
    }
  }

  std::string decode(const SentencePieceModel& model, std::vector<int32_t> ids) const {
    if (first_text_.empty()) return model.decode(ids);  // no id begins a text
    ids.insert(ids.begin(), first_);
    return model.decode(ids).substr(first_text_.size());
  }

 private:
  int32_t first_ = 0;
  std::string first_text_;
};

// Encodes a text of any length.
class Encoder {
 public:
  Encoder(std::string bytes, std::unique_ptr<SentencePieceModel> model)
      : bytes_(std::move(bytes)), model_(std::move(model)), splitter_(bytes_, *model_) {}

  const SentencePieceModel& model() const { return *model_; }
  const TextSplitter& splitter() const { return splitter_; }

  // Appends the ids. Returns RESOURCE_EXHAUSTED if a part of the text cannot be cut and is too
  // long.
  absl::Status encode(std::string_view text, std::vector<int32_t>* ids) const {
    for (const std::string_view part : splitter_.split(text, kPartBytes)) {
      absl::Status status = check_wanted(1);
      if (status.ok()) status = encode_part(part, ids);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status encode_part(std::string_view part, std::vector<int32_t>* ids) const {
    if (part.size() > kLongPartBytes) {
      // Most servers never see such a text, so its encoder is made for the first one.
      std::call_once(long_parts_made_,
                     [this] { long_parts_ = SentencePieceEncoder::make(bytes_, *model_); });
      if (long_parts_ != nullptr) return long_parts_->encode(part, ids);
    }
    if (part.size() > limits::kUncutTextBytes) {
      return absl::ResourceExhaustedError(str_cat("the tokenizer can encode at most ",
                                                  limits::kUncutTextBytes, " bytes at once, and ",
                                                  part.size(), " of the text cannot be cut"));
    }
    const std::vector<int32_t> more = model_->encode(part);
    reserve_sparingly(ids->size() + more.size(), ids);
    ids->insert(ids->end(), more.begin(), more.end());
    return check_wanted(part.size());
  }

  const std::string bytes_;  // of the model's file
  const std::unique_ptr<SentencePieceModel> model_;
  const TextSplitter splitter_;
  mutable std::once_flag long_parts_made_;
  // Is null if only the library can encode such texts (SentencePieceEncoder::make).
  mutable std::unique_ptr<const SentencePieceEncoder> long_parts_;
};

absl::StatusOr<std::unique_ptr<const Encoder>> make_encoder(const std::string& bytes,
                                                            const std::string& path) {
  std::string error;
  std::unique_ptr<SentencePieceModel> model = SentencePieceModel::parse(bytes, &error);
  if (model == nullptr) {
    return invalid_argument(path, " is not a sentencepiece model: ", error);
  }
  return std::make_unique<const Encoder>(bytes, std::move(model));
}

// Encoders for the text at the beginning and for that after a special token, which may begin
// without the model's space.
struct EncoderPair {
  std::unique_ptr<const Encoder> first;
  std::unique_ptr<const Encoder> next;  // null: as the first

  const Encoder& at(size_t place) const { return place > 0 && next != nullptr ? *next : *first; }
};

absl::StatusOr<EncoderPair> make_encoders(const std::string& bytes, bool only_first_has_space,
                                          const std::string& path) {
  EncoderPair pair;
  auto first = make_encoder(bytes, path);
  if (!first.ok()) return first.status();
  pair.first = *std::move(first);
  if (!only_first_has_space) return pair;
  auto next = make_encoder(without_space_before(bytes), path);
  if (!next.ok()) return next.status();
  pair.next = *std::move(next);
  return pair;
}

// The tokens that are not found by the model of pieces.
struct FoundTokens {
  TokenFinder special;   // in trusted text: special ones, and those that look like a marker
  TokenFinder ordinary;  // the other added ones, in every text
  TokenFinder raw;       // in raw prompts: every token that the folder's files name
};

// These are the parts of a tokenizer.
struct SentencePieceParts {
  EncoderPair whole;
  EncoderPair plain;  // without special pieces; its first is null if the model has none to hide
  FoundTokens found;
  absl::flat_hash_map<int32_t, AddedToken> added;  // those that are no pieces of the model
  absl::flat_hash_map<std::string, int32_t> added_ids;
  absl::flat_hash_set<int32_t> named_pieces;  // pieces of any kind that the files call special
  int32_t size = 0;

  const SentencePieceModel& model() const { return whole.first->model(); }
  const EncoderPair& encoders_of_parts() const { return plain.first != nullptr ? plain : whole; }
  bool has_piece(const AddedToken& token) const {
    return token.id < model().size() && model().piece(token.id) == token.text;
  }
  void add(const AddedToken& token);
  // Adds a special token that has no id yet with the next one below `most_ids`.
  void add_if_missing(const std::string& text, int64_t most_ids);
  void add_special_pieces(const PlainModel& plain_model, std::span<const std::string> named);
  // Says whether the token marks structure and has no text when it is generated.
  bool is_silent(int32_t id) const;
  std::string text_of(int32_t id) const;
  std::string name_of(int32_t id) const;  // as the file spells it
  Vocabulary make_vocabulary() const;
};

void SentencePieceParts::add(const AddedToken& token) {
  (token.special || is_marker(token.text) ? found.special : found.ordinary).add(token);
  found.raw.add(token);
  size = std::max(size, token.id + 1);
  added_ids[token.text] = token.id;
  if (!has_piece(token)) {
    added[token.id] = token;
  } else if (token.special) {
    named_pieces.insert(token.id);
  }
}

void SentencePieceParts::add_if_missing(const std::string& text, int64_t most_ids) {
  if (added_ids.contains(text) || model().piece_id(text) >= 0) return;
  AddedToken token;
  token.id = model().size() + static_cast<int32_t>(added.size());
  token.text = text;
  token.special = true;
  if (token.id < most_ids && !added.contains(token.id)) add(token);
}

void SentencePieceParts::add_special_pieces(const PlainModel& plain_model,
                                            std::span<const std::string> named) {
  const absl::flat_hash_set<std::string> names(named.begin(), named.end());
  for (const auto& [text, id] : plain_model.special) {
    AddedToken token;
    token.id = id;
    token.text = text;
    token.special = true;
    found.special.add(token);
    if (!names.contains(text)) continue;
    found.raw.add(token);
    named_pieces.insert(id);
  }
}

bool SentencePieceParts::is_silent(int32_t id) const {
  const auto token = added.find(id);
  if (token != added.end()) return token->second.special;
  return id < model().size() &&
         (model().kind(id) == PieceKind::kControl || named_pieces.contains(id));
}

std::string SentencePieceParts::text_of(int32_t id) const {
  if (is_silent(id)) return "";
  const auto token = added.find(id);
  if (token != added.end()) return token->second.text;
  return id < model().size() ? bytes_of(model(), id) : "";
}

std::string SentencePieceParts::name_of(int32_t id) const {
  const auto token = added.find(id);
  return token != added.end() ? token->second.text : model().piece(id);
}

Vocabulary SentencePieceParts::make_vocabulary() const {
  std::vector<std::string> bytes(static_cast<size_t>(size));
  std::map<int32_t, std::string> names;
  for (int32_t id = 0; id < size; ++id) {
    bytes[static_cast<size_t>(id)] = text_of(id);
    if (is_silent(id)) names[id] = name_of(id);
  }
  return Vocabulary(std::move(bytes), std::move(names), IllFormed::kByte);
}

// Encodes the text between the tokens of a text.
class Between {
 public:
  Between(std::string_view text, const EncoderPair& encoders) : text_(text), encoders_(encoders) {}

  // Takes the next token, which is found at that place.
  void take(const AddedToken& token, size_t at) {
    encode_to(at, token.strip_left);
    ids_.push_back(token.id);
    strip_left_ = token.strip_right;
    done_ = at + token.text.size();
  }
  // Encodes the text after the last token.
  void take_rest() { encode_to(text_.size(), false); }
  // Encodes the part of that text which later text after `end` cannot change.
  void take_rest_that_goes_on(size_t end) {
    if (end <= done_) return;
    const std::string_view rest = text_.substr(done_, end - done_);
    const size_t cut = encoders_.at(done_).splitter().last_cut(rest);
    encode_to(done_ + cut, false);
  }
  // Returns the ids, or the first error.
  absl::StatusOr<std::vector<int32_t>> ids() && {
    if (!status_.ok()) return status_;
    return std::move(ids_);
  }

 private:
  void encode_to(size_t end, bool strip_right) {
    std::string_view part = text_.substr(done_, end - done_);
    if (strip_left_) part = without_leading_space(part);
    if (strip_right) part = without_trailing_space(part);
    if (!part.empty() && status_.ok()) status_ = encoders_.at(done_).encode(part, &ids_);
  }

  std::string_view text_;
  const EncoderPair& encoders_;
  std::vector<int32_t> ids_;
  absl::Status status_;
  size_t done_ = 0;
  bool strip_left_ = false;
};

absl::StatusOr<std::vector<int32_t>> encode_between(std::string_view text,
                                                    const EncoderPair& encoders,
                                                    TokenSearch search) {
  Between between(text, encoders);
  size_t at = 0;
  while (const AddedToken* token = search.next(&at)) {
    between.take(*token, at);
    at += token->text.size();
  }
  between.take_rest();
  return std::move(between).ids();
}

// Counts the ids that later text cannot change; `finder` finds the tokens of the text.
absl::StatusOr<size_t> count_final(std::string_view text, const EncoderPair& encoders,
                                   const TokenFinder& finder) {
  const TextPart part{text, false};
  const JoinedText joined({&part, 1});
  TokenSearch search(joined, finder, finder);
  Between between(joined.text, encoders);
  const size_t settled = finder.settled(text);
  size_t at = 0;
  for (const AddedToken* token = search.next(&at); token != nullptr && at < settled;
       token = search.next(&at)) {
    between.take(*token, at);
    at += token->text.size();
  }
  between.take_rest_that_goes_on(settled);
  const absl::StatusOr<std::vector<int32_t>> ids = std::move(between).ids();
  if (!ids.ok()) return ids.status();
  return ids->size();
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(SentencePieceParts parts)
      : parts_(std::move(parts)), continuation_(parts_.model()) {
    vocabulary_ = parts_.make_vocabulary();
  }

  absl::StatusOr<std::vector<int32_t>> encode(std::string_view text) const override {
    const TextPart part{text, false};
    const JoinedText joined({&part, 1});
    return encode_between(joined.text, parts_.whole,
                          TokenSearch(joined, parts_.found.raw, parts_.found.raw));
  }
  absl::StatusOr<std::vector<int32_t>> encode_parts(
      std::span<const TextPart> parts) const override {
    const JoinedText joined(parts);
    return encode_between(joined.text, parts_.encoders_of_parts(),
                          TokenSearch(joined, parts_.found.special, parts_.found.ordinary));
  }
  absl::StatusOr<size_t> final_ids(std::string_view text) const override {
    return count_final(text, parts_.whole, parts_.found.raw);
  }
  absl::StatusOr<size_t> final_ids_as_text(std::string_view text) const override {
    return count_final(text, parts_.encoders_of_parts(), parts_.found.ordinary);
  }
  absl::StatusOr<std::string> decode(const std::vector<int32_t>& tokens,
                                     SpecialTokens special) const override;

  std::string_view kind() const override { return "sentencepiece"; }
  bool decides_surroundings() const override { return false; }
  int32_t size() const override { return parts_.size; }
  int32_t num_pieces() const override { return model().size(); }
  int32_t piece_id(std::string_view piece) const override {
    const auto added = parts_.added_ids.find(as_piece(piece));
    return added != parts_.added_ids.end() ? added->second : model().piece_id(piece);
  }
  std::string piece(int32_t id) const override {
    const auto added = parts_.added.find(id);
    if (added != parts_.added.end()) return added->second.text;
    return id >= 0 && id < model().size() ? model().piece(id) : std::string();
  }

 private:
  const SentencePieceModel& model() const { return parts_.model(); }
  bool is_piece(int32_t id) const { return id < model().size() && !parts_.added.contains(id); }
  absl::Status append_pieces(std::vector<int32_t> pieces, std::string* text) const;
  bool may_begin_text(int32_t token) const;

  SentencePieceParts parts_;
  const Continuation continuation_;
};

// Appends the text of pieces that follow each other.
absl::Status SentencePieceTokenizer::append_pieces(std::vector<int32_t> pieces,
                                                   std::string* text) const {
  const size_t count = pieces.size();
  if (text->empty()) {
    *text = model().decode(pieces);
  } else {
    const std::string more = continuation_.decode(model(), std::move(pieces));
    reserve_sparingly(text->size() + more.size(), text);
    *text += more;
  }
  return check_wanted(count * 8);
}

// Returns whether the bytes of a piece do not continue a character.
bool SentencePieceTokenizer::may_begin_text(int32_t token) const {
  const std::string_view bytes = vocabulary_.bytes(token);
  return bytes.empty() || (static_cast<uint8_t>(bytes[0]) & 0xC0) != 0x80;
}

absl::StatusOr<std::string> SentencePieceTokenizer::decode(const std::vector<int32_t>& tokens,
                                                           SpecialTokens special) const {
  std::string text;
  std::vector<int32_t> run;  // pieces between tokens that the model does not decode
  absl::Status status;
  for (const int32_t token : tokens) {
    if (token < 0 || token >= size()) continue;
    const bool is_silent = parts_.is_silent(token);
    if (is_silent && special == SpecialTokens::kSkip) continue;
    const bool is_in_run = !is_silent && is_piece(token);
    // A character has at most four bytes, so after a full run and as many bytes again that begin
    // none, none is open.
    const bool is_full =
        run.size() >= kDecodedAtOnce && (may_begin_text(token) || run.size() >= 2 * kDecodedAtOnce);
    if (!is_in_run || is_full) {
      if (status = append_pieces(std::exchange(run, {}), &text); !status.ok()) return status;
    }
    if (is_in_run) {
      run.push_back(token);
    } else {
      text += piece(token);
    }
    if (text.size() > limits::kDecodedBytes) return text_too_long();
  }
  if (status = append_pieces(std::move(run), &text); !status.ok()) return status;
  if (text.size() > limits::kDecodedBytes) return text_too_long();
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> load_sentencepiece_tokenizer(
    const std::string& file, const std::string& path, const TokenizerSettings& settings) {
  const bool no_space = !settings.legacy && !settings.add_prefix_space;
  const std::string bytes = no_space ? without_space_before(file) : file;
  const bool only_first_has_space = !settings.legacy && puts_space_before(bytes);
  absl::StatusOr<EncoderPair> whole = make_encoders(bytes, only_first_has_space, path);
  if (!whole.ok()) return whole.status();
  SentencePieceParts parts;
  parts.whole = *std::move(whole);
  parts.size = parts.model().size();
  if (parts.size > limits::kVocabSize.max) {
    return invalid_argument(path, " has ", parts.size, " pieces, more than the ",
                            limits::kVocabSize.max, " allowed");
  }
  for (int32_t id = 0; id < parts.model().size(); ++id) {
    if (!tokenizer_json::is_utf8(parts.model().piece(id))) {
      return invalid_argument(path, " has a piece that is not UTF-8, with the id ", id);
    }
  }
  absl::StatusOr<PlainModel> plain = make_plain_model(bytes, settings.special_tokens);
  if (!plain.ok()) return prefixed(path, plain.status());
  if (plain->is_changed) {
    absl::StatusOr<EncoderPair> encoders = make_encoders(plain->bytes, only_first_has_space, path);
    if (!encoders.ok()) return encoders.status();
    parts.plain = *std::move(encoders);
  }
  parts.add_special_pieces(*plain, settings.special_tokens);
  for (const AddedToken& token : settings.added_tokens) parts.add(token);
  for (const std::string& text : settings.special_tokens_in_order()) {
    parts.add_if_missing(text, settings.most_ids);
  }
  return std::make_unique<SentencePieceTokenizer>(std::move(parts));
}

}  // namespace deltaserve
