// A tokenizer of markers, to which tests add the pieces of an answer.
#pragma once
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "models/tokenizer/base/tokenizer.h"

namespace deltaserve {

class MarkerTokenizer final : public Tokenizer {
 public:
  // `control`: the markers have no text.
  MarkerTokenizer(std::vector<std::string> markers, bool control)
      : pieces_(std::move(markers)), num_markers_(pieces_.size()), control_(control) {
    vocabulary_ = Vocabulary(control ? std::vector<std::string>(pieces_.size()) : pieces_);
  }

  int32_t add(const std::string& piece) {
    pieces_.push_back(piece);
    return size() - 1;
  }
  // Returns the longest marker with which the text begins, or -1.
  int32_t marker_at(std::string_view text) const {
    int32_t found = -1;
    for (size_t i = 0; i < num_markers_; ++i) {
      const bool longer = found < 0 || pieces_[i].size() > piece(found).size();
      if (text.starts_with(pieces_[i]) && longer) found = static_cast<int32_t>(i);
    }
    return found;
  }
  // Returns where the next control token begins in `text`, from `at` on.
  size_t next_control(const std::string& text, size_t at) const {
    size_t next = text.size();
    for (size_t i = 0; control_ && i < num_markers_; ++i) {
      next = std::min(next, text.find(pieces_[i], at));
    }
    return next;
  }
  std::string bytes_of(int32_t id) const {
    const bool silent = control_ && static_cast<size_t>(id) < num_markers_;
    return silent ? "" : piece(id);
  }

  absl::StatusOr<std::vector<int32_t>> encode(std::string_view) const override { return none(); }
  absl::StatusOr<std::vector<int32_t>> encode_parts(std::span<const TextPart>) const override {
    return none();
  }
  absl::StatusOr<size_t> final_ids(std::string_view) const override { return size_t{0}; }
  absl::StatusOr<size_t> final_ids_as_text(std::string_view) const override { return size_t{0}; }
  absl::StatusOr<std::string> decode(const std::vector<int32_t>&, SpecialTokens) const override {
    return std::string();
  }
  std::string_view kind() const override { return "markers"; }
  int32_t size() const override { return static_cast<int32_t>(pieces_.size()); }
  int32_t num_pieces() const override { return size(); }
  int32_t piece_id(std::string_view piece) const override {
    const auto end = pieces_.begin() + static_cast<std::ptrdiff_t>(num_markers_);
    const auto found = std::find(pieces_.begin(), end, piece);
    return found == end ? -1 : static_cast<int32_t>(found - pieces_.begin());
  }
  std::string piece(int32_t id) const override { return pieces_[static_cast<size_t>(id)]; }
  bool decides_surroundings() const override { return false; }

 private:
  static std::vector<int32_t> none() { return {}; }

  std::vector<std::string> pieces_;
  const size_t num_markers_;
  const bool control_;
};

}  // namespace deltaserve
