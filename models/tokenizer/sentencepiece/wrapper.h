// A sentencepiece model with an interface of plain types. The library's header declares names
// inside namespace absl, so no file may include both it and Abseil: wrapper.cc
// includes the library's, all others this one.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

enum class PieceKind : uint8_t { kText, kByte, kControl, kUnknown, kUnused };

// Thread safety: const methods may be called from any thread at once.
class SentencePieceModel {
 public:
  // Parses `bytes`, the contents of a model file. Returns null with a reason in `*error` on
  // failure.
  static std::unique_ptr<SentencePieceModel> parse(std::string_view bytes, std::string* error);
  ~SentencePieceModel();

  std::vector<int32_t> encode(std::string_view text) const;
  // Returns the text of tokens. Every id must be in [0, size()).
  std::string decode(const std::vector<int32_t>& ids) const;

  int32_t size() const;
  std::string piece(int32_t id) const;             // id in [0, size())
  PieceKind kind(int32_t id) const;                // id in [0, size())
  int32_t piece_id(std::string_view piece) const;  // -1 = none

 private:
  struct Impl;
  explicit SentencePieceModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace deltaserve
