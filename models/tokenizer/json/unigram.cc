// The unigram language model: of all ways to cut a piece, the one with the highest sum of scores.
#include <boost/json/array.hpp>
#include <limits>
#include <utility>

#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
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
    std::vector<Node> best(piece.size() + 1);
    absl::Status status = find_best(piece, trust, &best);
    if (!status.ok()) return status;
    // The way back from the end is turned around in place: then the node at the end of a piece says
    // where the next one ends.
    uint32_t after = 0;
    for (auto end = static_cast<uint32_t>(piece.size()); end > 0;) {
      uint32_t begin = best[end].begin;
      if (best[end].id == unknown_) {  // neighbouring unknowns are one
        while (begin > 0 && best[begin].id == unknown_) begin = best[begin].begin;
      }
      best[end].begin = std::exchange(after, end);
      end = begin;
    }
    for (uint32_t begin = 0, end = after; begin < piece.size(); end = best[begin].begin) {
      if (status = check_wanted(end - begin); !status.ok()) return status;
      add_part(piece.substr(begin, end - begin), trust, ids);
      begin = end;
    }
    return absl::OkStatus();
  }

 private:
  struct Node {  // the best way to reach a place
    double score = 0;
    uint32_t begin = kNoBegin;  // where its last piece begins
    int32_t id = 0;
  };
  static constexpr uint32_t kNoBegin = UINT32_MAX;

  static void offer(double score, size_t begin, int32_t id, Node* node) {
    if (node->begin != kNoBegin && score <= node->score) return;
    *node = {score, static_cast<uint32_t>(begin), id};
  }

  absl::Status find_best(std::string_view piece, PieceTrust trust, std::vector<Node>* best) const {
    for (size_t begin = 0; begin < piece.size();) {
      if (absl::Status status = check_wanted(4); !status.ok()) return status;
      const double here = (*best)[begin].score;
      const size_t character = character_bytes(piece[begin]);
      bool is_single = false;  // the character is a piece itself
      uint32_t node = trie_.empty() ? ByteTrie::kNowhere : ByteTrie::kRoot;
      for (size_t end = begin; end < piece.size() && node != ByteTrie::kNowhere;) {
        node = trie_.step(node, piece[end++]);
        const int32_t id = node == ByteTrie::kNowhere ? -1 : trie_.value(node);
        if (id < 0 || (trust == PieceTrust::kPlain && vocabulary_.is_special(id))) continue;
        offer(here + scores_[static_cast<size_t>(id)], begin, id, &(*best)[end]);
        is_single = is_single || end == begin + character;
      }
      if (!is_single) {
        if (unknown_ < 0) {
          return invalid_argument("the tokenizer has no token for ",
                                  quoted(piece.substr(begin, character)), ", nor an unk_id");
        }
        offer(here + unknown_score_, begin, unknown_, &(*best)[begin + character]);
      }
      begin += character;
    }
    return absl::OkStatus();
  }

  // Appends the id of a part, or those of its bytes, or the unknown one.
  void add_part(std::string_view part, PieceTrust trust, std::vector<int32_t>* ids) const {
    const int32_t id = vocabulary_.id(part);
    const bool kept = trust == PieceTrust::kTrusted || id < 0 || !vocabulary_.is_special(id);
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
