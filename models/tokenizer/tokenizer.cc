#include "models/tokenizer/tokenizer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_replace.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/tokenizer/plain_model.h"
#include "models/tokenizer/sentencepiece_wrapper.h"
#include "models/tokenizer/text_splitter.h"
#include "models/tokenizer/token_finder.h"

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

}  // namespace

struct Tokenizer::Impl {
  EncoderPair whole;
  EncoderPair plain;  // without special pieces; its first is null if the model has none to hide
  FoundTokens found;
  absl::flat_hash_map<int32_t, AddedToken> added;
  absl::flat_hash_map<std::string, int32_t> added_ids;
  int32_t size = 0;

  const SentencePieceModel& model() const { return *whole.first->model; }
  bool has_piece(const AddedToken& token) const {
    return token.id < model().size() && model().piece(token.id) == token.text;
  }
  void add(const AddedToken& token);
  // Adds a special token that has no id yet with the next one below `most_ids`.
  void add_if_missing(const std::string& text, int64_t most_ids);
  void add_special_pieces(const PlainModel& plain_model, std::span<const std::string> named);
  std::string text_of(int32_t id) const;
  Vocabulary make_vocabulary() const;
};

void Tokenizer::Impl::add(const AddedToken& token) {
  (token.special || is_marker(token.text) ? found.special : found.ordinary).add(token);
  found.raw.add(token);
  size = std::max(size, token.id + 1);
  added_ids[token.text] = token.id;
  if (!has_piece(token)) added[token.id] = token;
}

void Tokenizer::Impl::add_if_missing(const std::string& text, int64_t most_ids) {
  if (added_ids.contains(text) || model().piece_id(text) >= 0) return;
  AddedToken token;
  token.id = model().size() + static_cast<int32_t>(added.size());
  token.text = text;
  token.special = true;
  if (token.id < most_ids && !added.contains(token.id)) add(token);
}

void Tokenizer::Impl::add_special_pieces(const PlainModel& plain_model,
                                         std::span<const std::string> named) {
  const absl::flat_hash_set<std::string> names(named.begin(), named.end());
  for (const auto& [text, id] : plain_model.special) {
    AddedToken token;
    token.id = id;
    token.text = text;
    token.special = true;
    found.special.add(token);
    if (names.contains(text)) found.raw.add(token);
  }
}

std::string Tokenizer::Impl::text_of(int32_t id) const {
  const auto token = added.find(id);
  if (token != added.end()) return token->second.special ? "" : token->second.text;
  return id < model().size() ? bytes_of(model(), id) : "";
}

Vocabulary Tokenizer::Impl::make_vocabulary() const {
  std::vector<std::string> bytes(static_cast<size_t>(size));
  for (int32_t id = 0; id < size; ++id) bytes[static_cast<size_t>(id)] = text_of(id);
  return Vocabulary(std::move(bytes));
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)), vocabulary_(impl_->make_vocabulary()) {}

Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::string& path,
                                                           const TokenizerSettings& settings,
                                                           int64_t most_ids) {
  const absl::StatusOr<std::string> bytes = read_file(path, limits::kTokenizerBytes);
  if (!bytes.ok()) return bytes.status();
  auto impl = std::make_unique<Impl>();
  const bool only_first_has_space = !settings.legacy && puts_space_before(*bytes);
  absl::StatusOr<EncoderPair> whole = make_encoders(*bytes, only_first_has_space, path);
  if (!whole.ok()) return whole.status();
  impl->whole = *std::move(whole);
  impl->size = impl->model().size();
  if (impl->size > limits::kVocabSize.max) {
    return invalid_argument(path, " has ", impl->size, " pieces, more than the ",
                            limits::kVocabSize.max, " allowed");
  }
  absl::StatusOr<PlainModel> plain = make_plain_model(*bytes, settings.special_tokens);
  if (!plain.ok()) return prefixed(path, plain.status());
  if (plain->is_changed) {
    absl::StatusOr<EncoderPair> encoders = make_encoders(plain->bytes, only_first_has_space, path);
    if (!encoders.ok()) return encoders.status();
    impl->plain = *std::move(encoders);
  }
  impl->add_special_pieces(*plain, settings.special_tokens);
  for (const AddedToken& token : settings.added_tokens) impl->add(token);
  for (const std::string& text : settings.special_tokens_in_order()) {
    impl->add_if_missing(text, most_ids);
  }
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

namespace {

// A text in which tokens are found. Regions [begin, end) of it are trusted.
struct JoinedText {
  std::string text;
  std::vector<std::pair<size_t, size_t>> trusted;

  explicit JoinedText(std::span<const TextPart> parts) {
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
  }
};

// Finds the tokens of a text from its beginning to its end.
class TokenSearch {
 public:
  // In the trusted regions `special` tokens are found, in the whole text `ordinary` ones.
  TokenSearch(const JoinedText& joined, const TokenFinder& special, const TokenFinder& ordinary)
      : joined_(joined), special_(special), ordinary_(ordinary) {}

  // Moves to the next token at or after `*at`, which receives its place. Returns null at the end.
  const AddedToken* next(size_t* at) {
    const size_t size = joined_.text.size();
    for (; *at < size; ++*at) {
      while (region_ < joined_.trusted.size() && joined_.trusted[region_].second <= *at) ++region_;
      const bool more = region_ < joined_.trusted.size();
      if (ordinary_.empty()) {
        if (!more) break;
        *at = std::max(*at, joined_.trusted[region_].first);
      }
      if (const AddedToken* token = match(*at, more)) return token;
    }
    *at = size;
    return nullptr;
  }

 private:
  // Returns the longer of a special and an ordinary token at that place.
  const AddedToken* match(size_t at, bool more) const {
    const bool is_trusted = more && joined_.trusted[region_].first <= at;
    const AddedToken* special =
        is_trusted ? special_.match(joined_.text, at, joined_.trusted[region_].second - at)
                   : nullptr;
    const AddedToken* ordinary = ordinary_.match(joined_.text, at, joined_.text.size() - at);
    if (special == nullptr || ordinary == nullptr) return special == nullptr ? ordinary : special;
    return ordinary->text.size() > special->text.size() ? ordinary : special;
  }

  const JoinedText& joined_;
  const TokenFinder& special_;
  const TokenFinder& ordinary_;
  size_t region_ = 0;
};

// Encodes the tokens that `search` finds and the text between them.
std::vector<int32_t> encode_between(std::string_view text, const EncoderPair& encoders,
                                    TokenSearch search) {
  std::vector<int32_t> ids;
  size_t done = 0;
  bool strip_left = false;
  const auto encode_to = [&](size_t end, bool strip_right) {
    std::string_view part = text.substr(done, end - done);
    if (strip_left) part = without_leading_space(part);
    if (strip_right) part = without_trailing_space(part);
    if (!part.empty()) encoders.at(done).encode(part, &ids);
  };
  size_t at = 0;
  while (const AddedToken* token = search.next(&at)) {
    encode_to(at, token->strip_left);
    ids.push_back(token->id);
    strip_left = token->strip_right;
    done = at += token->text.size();
  }
  encode_to(text.size(), false);
  return ids;
}

}  // namespace

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  const TextPart part{text, false};
  const JoinedText joined({&part, 1});
  return encode_between(joined.text, impl_->whole,
                        TokenSearch(joined, impl_->found.raw, impl_->found.raw));
}

std::vector<int32_t> Tokenizer::encode_as_text(std::string_view text) const {
  const TextPart part{text, false};
  return encode_parts({&part, 1});
}

std::vector<int32_t> Tokenizer::encode_parts(std::span<const TextPart> parts) const {
  const JoinedText joined(parts);
  const EncoderPair& encoders = impl_->plain.first != nullptr ? impl_->plain : impl_->whole;
  return encode_between(joined.text, encoders,
                        TokenSearch(joined, impl_->found.special, impl_->found.ordinary));
}

std::string Tokenizer::decode(const std::vector<int32_t>& tokens) const {
  std::string text;
  std::vector<int32_t> run;  // pieces of the model that follow each other
  const auto end_run = [&] {
    if (!run.empty()) text += impl_->model().decode(run);
    run.clear();
  };
  for (const int32_t token : tokens) {
    if (token < 0 || token >= size()) continue;
    if (impl_->added.contains(token) || token >= impl_->model().size()) {
      end_run();
      text += impl_->text_of(token);
    } else {
      run.push_back(token);
    }
  }
  end_run();
  return text;
}

int32_t Tokenizer::size() const {
  return impl_->size;
}

int32_t Tokenizer::num_pieces() const {
  return impl_->model().size();
}

int32_t Tokenizer::piece_id(std::string_view piece) const {
  const auto added = impl_->added_ids.find(as_piece(piece));
  return added != impl_->added_ids.end() ? added->second : impl_->model().piece_id(piece);
}

std::string Tokenizer::piece(int32_t id) const {
  const auto added = impl_->added.find(id);
  if (added != impl_->added.end()) return added->second.text;
  return id >= 0 && id < impl_->model().size() ? impl_->model().piece(id) : std::string();
}

}  // namespace deltaserve
