#include "models/tokenizer/sentencepiece/wrapper.h"

#include <sentencepiece_processor.h>

#include <exception>

namespace deltaserve {

struct SentencePieceModel::Impl {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::parse(std::string_view bytes,
                                                              std::string* error) {
  try {
    auto impl = std::make_unique<Impl>();
    const auto status = impl->processor.LoadFromSerializedProto(bytes);
    if (status.ok() && impl->processor.GetPieceSize() > 0) {
      return std::unique_ptr<SentencePieceModel>(new SentencePieceModel(std::move(impl)));
    }
    *error = status.ok() ? "it has no pieces" : status.error_message();
  } catch (const std::exception& failure) {
    *error = failure.what();
  }
  return nullptr;
}

std::vector<int32_t> SentencePieceModel::encode(std::string_view text) const {
  std::vector<int> ids;
  impl_->processor.Encode(text, &ids).IgnoreError();  // fails only for a model that did not load
  return ids;
}

std::string SentencePieceModel::decode(const std::vector<int32_t>& ids) const {
  std::string text;
  impl_->processor.Decode(ids, &text).IgnoreError();
  return text;
}

int32_t SentencePieceModel::size() const {
  return impl_->processor.GetPieceSize();
}

std::string SentencePieceModel::piece(int32_t id) const {
  return impl_->processor.IdToPiece(id);
}

PieceKind SentencePieceModel::kind(int32_t id) const {
  const auto& processor = impl_->processor;
  if (processor.IsByte(id)) return PieceKind::kByte;
  if (processor.IsControl(id)) return PieceKind::kControl;
  if (processor.IsUnknown(id)) return PieceKind::kUnknown;
  if (processor.IsUnused(id)) return PieceKind::kUnused;
  return PieceKind::kText;
}

int32_t SentencePieceModel::piece_id(std::string_view piece) const {
  const int id = impl_->processor.PieceToId(piece);  // returns the unknown piece if there is none
  const bool found = id >= 0 && id < size() && impl_->processor.IdToPiece(id) == piece;
  return found ? id : -1;
}

}  // namespace deltaserve
