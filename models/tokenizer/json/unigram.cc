// The unigram language model: of all ways to cut a piece, the one with the highest sum of scores.
#include <algorithm>
#include <boost/json/array.hpp>
#include <limits>
#include <utility>

#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/base/reserve_sparingly.h"
#include "models/tokenizer/json/byte_trie.h"
#include "models/tokenizer/json/piece_model.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

constexpr double kUnknownPenalty = 10;

struct ScoredPiece {
  std::string content;
  double score;
};

class Unigram final : public PieceModel {
 public:
  Unigram(std::vector<ScoredPiece> pieces, int32_t unknown, bool byte_fallback)
      : unknown_(unknown), byte_fallback_(byte_fallback), rows_(pieces.size()) {
    std::vector<std::pair<std::string, int32_t>> entries;
    double lowest = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      vocabulary_.add(pieces[i].content, id);
      entries.emplace_back(pieces[i].content, id);
      scores_.push_back(pieces[i].score);
      longest_ = std::max(longest_, pieces[i].content.size());
      lowest = std::min(lowest, pieces[i].score);
    }
    trie_ = ByteTrie(std::move(entries));
    unknown_score_ = lowest - kUnknownPenalty;
    for (int byte = 0; byte < 256; ++byte) {
      constexpr char kHex[] = "0123456789ABCDEF";
      const std::string token{'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'};
      byte_ids_.push_back(vocabulary_.id(token));
    }
  }

  size_t entries() const override { return rows_; }

  absl::Status encode(std::string_view piece, PieceTrust trust,
                      std::vector<int32_t>* ids) const override {
    if (piece.size() >= kUnknownBit) {
      return absl::ResourceExhaustedError("the text is too long to be cut into pieces");
    }
    std::vector<uint32_t> ways(piece.size() + 1, kNoWay);
    absl::Status status = find_best(piece, trust, &ways);
    if (!status.ok()) return status;
    // The way back from the end is turned around in place: then the entry at the end of a piece
    // says where the next one ends.
    uint32_t after = 0;
    for (auto end = static_cast<uint32_t>(piece.size()); end > 0;) {
      if (status = check_wanted(1); !status.ok()) return status;
      uint32_t begin = begin_of(ways[end]);
      if (is_unknown(ways[end])) {  // neighbouring unknowns are one
        while (begin > 0 && is_unknown(ways[begin])) begin = begin_of(ways[begin]);
      }
      ways[end] = std::exchange(after, end);
      end = begin;
    }
    for (uint32_t begin = 0, end = after; begin < piece.size(); end = ways[begin]) {
      if (status = check_wanted(end - begin); !status.ok()) return status;
      add_part(piece.substr(begin, end - begin), trust, ids);
      begin = end;
    }
    return absl::OkStatus();
  }

 private:
  // The best way to a place: where its last piece begins, and whether that is unknown text.
  static constexpr uint32_t kUnknownBit = 0x80000000u;
  static constexpr uint32_t kNoWay = UINT32_MAX;
  static bool is_unknown(uint32_t way) { return (way & kUnknownBit) != 0; }
  static uint32_t begin_of(uint32_t way) { return way & ~kUnknownBit; }

  // The scores of the best ways to the places ahead, of which a piece reaches only so many.
  class Scores {
   public:
    explicit Scores(size_t longest) : ring_(longest + 1) {}
    double& at(size_t place) { return ring_[place % ring_.size()]; }

   private:
    std::vector<double> ring_;
  };

  static void offer(double score, uint32_t way, size_t end, std::vector<uint32_t>* ways,
                    Scores* scores) {
    if ((*ways)[end] != kNoWay && score <= scores->at(end)) return;
    (*ways)[end] = way;
    scores->at(end) = score;
  }

  absl::Status find_best(std::string_view piece, PieceTrust trust,
                         std::vector<uint32_t>* ways) const {
    Scores scores(longest_);
    for (size_t begin = 0; begin < piece.size();) {
      if (absl::Status status = check_wanted(4); !status.ok()) return status;
      const double here = scores.at(begin);
      const auto way = static_cast<uint32_t>(begin);
      const size_t character = character_bytes(piece[begin]);
      bool is_single = false;  // the character is a piece itself
      uint32_t node = trie_.empty() ? ByteTrie::kNowhere : ByteTrie::kRoot;
      for (size_t end = begin; end < piece.size() && node != ByteTrie::kNowhere;) {
        node = trie_.step(node, piece[end++]);
        const int32_t id = node == ByteTrie::kNowhere ? -1 : trie_.value(node);
        if (id < 0 || (trust == PieceTrust::kPlain && vocabulary_.is_special(id))) continue;
        const uint32_t flag = id == unknown_ ? kUnknownBit : 0;
        offer(here + scores_[static_cast<size_t>(id)], way | flag, end, ways, &scores);
        is_single = is_single || end == begin + character;
      }
      if (!is_single) {
        if (unknown_ < 0) {
          return invalid_argument("the tokenizer has no token for ",
                                  quoted(piece.substr(begin, character)), ", nor an unk_id");
        }
        offer(here + unknown_score_, way | kUnknownBit, begin + character, ways, &scores);
      }
      begin += character;
    }
    return absl::OkStatus();
  }

  // Appends the id of a part, or those of its bytes, or the unknown one.
  void add_part(std::string_view part, PieceTrust trust, std::vector<int32_t>* ids) const {
    const int32_t id = vocabulary_.id(part);
    const bool kept = trust == PieceTrust::kTrusted || id < 0 || !vocabulary_.is_special(id);
    reserve_sparingly(ids->size() + part.size(), ids);
    if (id >= 0 && kept) {
      ids->push_back(id);
      return;
    }
    const size_t before = ids->size();
    for (const char byte : part) {
      const int32_t byte_id = byte_fallback_ ? byte_ids_[static_cast<uint8_t>(byte)] : -1;
      if (byte_id < 0) {
        ids->resize(before);
        ids->push_back(unknown_);
        return;
      }
      ids->push_back(byte_id);
    }
  }

  int32_t unknown_;  // -1: there is none
  bool byte_fallback_;
  size_t rows_;
  std::vector<double> scores_;  // by id
  size_t longest_ = 4;          // of all pieces, and of all characters, in bytes
  double unknown_score_ = 0;
  std::vector<int32_t> byte_ids_;
  ByteTrie trie_;
};

}  // namespace

std::unique_ptr<PieceModel> read_unigram(PartReader* part) {
  std::vector<ScoredPiece> pieces;
  for (const boost::json::value& entry : part->list("vocab")) {
    const boost::json::array* pair = entry.if_array();
    const bool good =
        pair != nullptr && pair->size() == 2 && (*pair)[0].is_string() && (*pair)[1].is_number();
    if (!good) {
      part->fail(str_cat("vocab[", pieces.size(), "]"), "must be [TEXT, SCORE]");
      return nullptr;
    }
    if ((*pair)[0].get_string().size() > limits::kTokenBytes) {
      part->fail("vocab", str_cat("has a token of more than ", limits::kTokenBytes, " bytes"));
      return nullptr;
    }
    pieces.push_back({std::string((*pair)[0].get_string()), (*pair)[1].to_number<double>()});
  }
  if (pieces.size() > static_cast<size_t>(limits::kVocabSize.max)) {
    part->fail("vocab", str_cat("has more than ", limits::kVocabSize.max, " entries"));
  }
  const auto unknown = static_cast<int32_t>(
      part->integer("unk_id", {-1, static_cast<int64_t>(pieces.size()) - 1}, -1));
  const bool byte_fallback = part->boolean("byte_fallback", false);
  if (!part->ok()) return nullptr;
  return std::make_unique<Unigram>(std::move(pieces), unknown, byte_fallback);
}

}  // namespace deltaserve::tokenizer_json
