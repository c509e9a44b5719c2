#include "models/tokenizer/sentencepiece/unigram.h"

#include <algorithm>
#include <cfloat>
#include <set>
#include <string>
#include <utility>

#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/base/reserve_sparingly.h"
#include "models/tokenizer/json/byte_trie.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve {
namespace {

using tokenizer_json::ByteTrie;

constexpr float kUnknownPenalty = 10;
constexpr double kUserDefinedMalus = 0.1;  // per piece; it keeps long pieces before short ones
constexpr size_t kSettleBytes = 16384;     // after this many bytes, the certain ids are written

class Unigram final : public SentencePieceEncoder {
 public:
  Unigram(const SentencePieces& pieces, SentencePieceNormalizer normalizer)
      : normalizer_(std::move(normalizer)), unknown_(pieces) {
    std::vector<std::pair<std::string, int32_t>> entries;
    float lowest = FLT_MAX;
    float highest = FLT_MIN;  // the library's lower bound of the highest score is above 0
    for (size_t id = 0; id < pieces.pieces.size(); ++id) {
      const ScoredPiece& piece = pieces.pieces[id];
      if (piece.type == PieceType::kNormal) {
        lowest = std::min(lowest, piece.score);
        highest = std::max(highest, piece.score);
      }
      lengths_.push_back(static_cast<uint32_t>(piece.text.size()));
      const bool is_found =
          piece.type == PieceType::kNormal || piece.type == PieceType::kUserDefined;
      if (is_found) entries.emplace_back(piece.text, static_cast<int32_t>(id));
      if (is_found) longest_ = std::max(longest_, piece.text.size());
    }
    for (const ScoredPiece& piece : pieces.pieces) {
      const bool is_own = piece.type == PieceType::kUserDefined;
      const float bonus = static_cast<float>(piece.text.size()) * highest;
      scores_.push_back(is_own ? bonus - kUserDefinedMalus : piece.score);
    }
    trie_ = ByteTrie(std::move(entries));
    unknown_score_ = lowest - kUnknownPenalty;
  }

  absl::Status encode(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  class Walk;

  SentencePieceNormalizer normalizer_;
  UnknownText unknown_;
  ByteTrie trie_;
  std::vector<double> scores_;     // by id
  std::vector<uint32_t> lengths_;  // by id, in bytes
  size_t longest_ = 4;             // of all pieces, and of all characters
  float unknown_score_ = 0;
};

// Walks along a text. Places count from the last one up to which ids were written.
class Unigram::Walk {
 public:
  Walk(const Unigram& model, std::string_view text, std::vector<int32_t>* ids)
      : model_(model),
        most_bytes_(text.size() * 2 + limits::kTextGrowthBytes),
        text_(model.normalizer_, text),
        ids_(model.unknown_, ids),
        scores_(model.longest_ + 1) {}

  absl::Status run() {
    for (;;) {
      absl::Status status = text_.fill(at_ + model_.longest_);
      if (status.ok()) status = check_wanted(4);
      if (!status.ok()) return status;
      if (at_ >= text_.ahead().size()) break;
      take_character();
      if (at_ < settle_at_) continue;
      settle();
      if (!status_.ok()) return status_;
      if (at_ > most_bytes_) {
        return absl::ResourceExhaustedError(
            "the text becomes far longer when it is normalized, and it cannot be cut then");
      }
    }
    return write_to(at_);
  }

 private:
  // The last step of the best way to a place: a piece, or an unknown character with its length.
  static constexpr int32_t kNoWay = INT32_MIN;

  size_t bytes_of(int32_t way) const {
    return way < 0 ? static_cast<size_t>(-way) : model_.lengths_[static_cast<size_t>(way)];
  }
  float& score_at(size_t place) { return scores_[(written_ + place) % scores_.size()]; }

  // Looks at all pieces that begin at the next character.
  void take_character() {
    const std::string_view text = text_.ahead();
    reserve_sparingly(at_ + model_.longest_ + 1, &ways_);
    ways_.resize(at_ + model_.longest_ + 1, kNoWay);
    const float here = score_at(at_);
    const size_t character =
        std::min(tokenizer_json::character_bytes(text[at_]), text.size() - at_);
    bool is_piece = false;  // the character is one itself
    uint32_t node = model_.trie_.empty() ? ByteTrie::kNowhere : ByteTrie::kRoot;
    for (size_t end = at_; end < text.size() && node != ByteTrie::kNowhere;) {
      node = model_.trie_.step(node, text[end++]);
      const int32_t id = node == ByteTrie::kNowhere ? -1 : model_.trie_.value(node);
      if (id < 0) continue;
      offer(end, model_.scores_[static_cast<size_t>(id)] + here, id);
      is_piece = is_piece || end == at_ + character;
    }
    if (!is_piece) {
      offer(at_ + character, model_.unknown_score_ + here, -static_cast<int32_t>(character));
    }
    at_ += character;
  }

  // The library keeps sums in single precision and compares them in double.
  void offer(size_t end, double score, int32_t way) {
    if (ways_[end] != kNoWay && score <= static_cast<double>(score_at(end))) return;
    ways_[end] = way;
    score_at(end) = static_cast<float>(score);
  }

  // Writes the ids up to the last place through which all ways lead.
  void settle() {
    std::set<size_t> places;
    for (size_t end = at_; end < ways_.size(); ++end) {
      if (ways_[end] != kNoWay) places.insert(end);
    }
    while (places.size() > 1) {
      status_ = check_wanted(4);
      if (!status_.ok()) return;
      const auto last = std::prev(places.end());
      const size_t before = *last - bytes_of(ways_[*last]);
      places.erase(last);
      places.insert(before);
    }
    const size_t common = *places.begin();
    if (common > 0) status_ = write_to(common);
    // The next search is delayed, so that a text without such a place is not searched repeatedly.
    settle_at_ = at_ + std::max(kSettleBytes, at_);
  }

  // Writes the ids of the best way to a place, where the next one begins.
  absl::Status write_to(size_t end) {
    if (!status_.ok()) return status_;
    // The way is known from its end, so it is reversed: then each place has the piece that begins
    // there.
    int32_t way = end > 0 ? ways_[end] : 0;
    for (size_t place = end; place > 0;) {
      if (absl::Status status = check_wanted(1); !status.ok()) return status;
      place -= bytes_of(way);
      std::swap(ways_[place], way);
    }
    const std::string_view text = text_.ahead();
    for (size_t place = 0; place < end;) {
      const size_t bytes = bytes_of(ways_[place]);
      if (absl::Status status = check_wanted(bytes); !status.ok()) return status;
      if (ways_[place] < 0) {
        ids_.put_unknown(text.substr(place, bytes));
      } else {
        ids_.put(ways_[place]);
      }
      place += bytes;
    }
    ways_.erase(ways_.begin(), ways_.begin() + static_cast<ptrdiff_t>(end));
    text_.skip(end);
    written_ += end;
    at_ -= end;
    return absl::OkStatus();
  }

  const Unigram& model_;
  const size_t most_bytes_;  // that may wait to be written
  NormalizedText text_;
  IdWriter ids_;
  std::vector<float> scores_;  // of the places ahead, in a ring
  std::vector<int32_t> ways_ = {kNoWay};
  size_t written_ = 0;  // bytes
  size_t at_ = 0;       // where the next character begins
  size_t settle_at_ = kSettleBytes;
  absl::Status status_;
};

absl::Status Unigram::encode(std::string_view text, std::vector<int32_t>* ids) const {
  return Walk(*this, text, ids).run();
}

}  // namespace

std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_unigram(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer) {
  return std::make_unique<const Unigram>(pieces, std::move(normalizer));
}

}  // namespace deltaserve
