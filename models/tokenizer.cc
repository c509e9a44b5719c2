#include "models/tokenizer.h"

#include <charconv>

#include "absl/strings/str_replace.h"
#include "models/file.h"
#include "models/limits.h"
#include "models/sentencepiece_wrapper.h"
#include "models/text.h"
#include "models/text_splitter.h"

namespace deltaserve {
namespace {

// Longer texts are encoded in parts; around here sentencepiece is at its fastest.
constexpr size_t kPartBytes = 8192;

// The byte of a piece such as "<0x0A>".
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

}  // namespace

struct Tokenizer::Impl {
  std::unique_ptr<SentencePieceModel> model;
  TextSplitter splitter;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)), vocabulary_(make_vocabulary(*impl_->model)) {}

Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::string& path) {
  const absl::StatusOr<std::string> bytes = read_file(path, limits::kTokenizerBytes);
  if (!bytes.ok()) return bytes.status();
  std::string error;
  std::unique_ptr<SentencePieceModel> model = SentencePieceModel::parse(*bytes, &error);
  if (model == nullptr) {
    return invalid_argument(path, " is not a sentencepiece model: ", error);
  }
  if (model->size() > limits::kVocabSize.max) {
    return invalid_argument(path, " has ", model->size(), " pieces, more than the ",
                            limits::kVocabSize.max, " allowed");
  }
  const TextSplitter splitter(*bytes, *model);
  auto impl = std::make_unique<Impl>(Impl{std::move(model), splitter});
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  for (const std::string_view part : impl_->splitter.split(text, kPartBytes)) {
    const std::vector<int32_t> more = impl_->model->encode(part);
    ids.insert(ids.end(), more.begin(), more.end());
  }
  return ids;
}

std::string Tokenizer::decode(const std::vector<int32_t>& tokens) const {
  std::vector<int32_t> known;
  known.reserve(tokens.size());
  for (const int32_t token : tokens) {
    if (token >= 0 && token < size()) known.push_back(token);
  }
  return impl_->model->decode(known);
}

int32_t Tokenizer::size() const {
  return impl_->model->size();
}

int32_t Tokenizer::piece_id(std::string_view piece) const {
  return impl_->model->piece_id(piece);
}

std::string Tokenizer::piece(int32_t id) const {
  return id >= 0 && id < size() ? impl_->model->piece(id) : std::string();
}

}  // namespace deltaserve
