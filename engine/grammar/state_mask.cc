#include "engine/grammar/state_mask.h"

#include <algorithm>

#include "engine/grammar/limits.h"
#include "engine/grammar/stack_walker.h"

namespace deltaserve::grammar {
namespace {

// Walks the trie of all tokens with the stacks that each prefix leads to.
class MaskBuilder {
 public:
  MaskBuilder(const Pushdown& grammar, const TokenTable& table, StateId state, uint64_t count,
              uint32_t bottom_depth)
      : grammar_(grammar),
        table_(table),
        state_(state),
        arena_(bottom_depth),
        walker_(grammar, &arena_, StackWalker::Keys::kIgnore),
        empty_(arena_.mark()) {
    plain_.assign(table.depth() + 1, kNoState);
    counts_.assign(table.depth() + 1, count);
    levels_.resize(table.depth() + 1);
    plain_[0] = state;
  }

  StateMask build() {
    const std::span<const TokenTable::Node> nodes = table_.nodes();
    for (uint32_t i = 0; i < nodes.size();) {
      Fate fate = visit_plain(nodes[i]);
      if (fate == Fate::kUnknown) fate = visit(nodes[i]) ? Fate::kAlive : Fate::kDead;
      i = fate == Fate::kAlive ? i + 1 : nodes[i].end;
    }
    group_suffixes();
    store_allowed();
    mask_.reach = std::max(reach_, walker_.reach()) - arena_.depth(StackArena::kBottom);
    return std::move(mask_);
  }

 private:
  static constexpr uint32_t kNoExit = 0;  // exits are at depth 1 or more

  // Says whether tokens under a node can be allowed.
  enum class Fate { kAlive, kDead, kUnknown };

  // The stacks and exits after the first d bytes of a path.
  struct Level {
    size_t stacks_begin = 0;  // in stacks_
    size_t stacks_end = 0;
    StackArena::Mark frames{};
    bool exits_here = false;          // the rule may end after these bytes
    uint32_t last_exit = kNoExit;     // depth of the last exit that is still useful
    uint32_t earlier_exit = kNoExit;  // with exits_here: the exit before it
    bool touched_key = false;
  };

  // Handles the common case, in which only a state of the rule itself matters before and after the
  // node's byte.
  Fate visit_plain(const TokenTable::Node& node) {
    const StateId above = plain_[node.depth - 1];
    plain_[node.depth] = kNoState;
    if (above == kNoState || !grammar_.calls(above).empty()) return Fate::kUnknown;
    const StateId here = grammar_.next(above, node.byte);
    if (here == kNoState) return Fate::kDead;
    if (!is_plain_end(here)) return Fate::kUnknown;
    if (counts() &&
        !grammar_.memory().arrive_counting(here, counts_[node.depth - 1], &counts_[node.depth])) {
      return Fate::kDead;
    }
    const uint32_t depth = arena_.depth(StackArena::kBottom) + 1 + grammar_.need(here);
    if (depth > grammar_limits::kStackDepth) return Fate::kUnknown;
    reach_ = std::max(reach_, depth);
    plain_[node.depth] = here;
    for (uint32_t i = node.first_token; i < node.past_token; ++i) {
      mask_.tokens.push_back(table_.sorted_tokens()[i]);
    }
    return Fate::kAlive;
  }

  // Returns true if leaving the rule at `state` permits only bytes that may come without leaving
  // it.
  bool is_plain_end(StateId state) const {
    const RuleMemory& memory = grammar_.memory();
    if (memory.kind(state) == RuleMemory::Kind::kFiniteKey) return false;
    if (memory.kind(state) == RuleMemory::Kind::kMembers &&
        (memory.mark(state) != 0 || !memory.always_goes_on(state))) {
      return false;
    }
    if (!grammar_.accepting(state)) return true;
    return grammar_.goes_on(state) && !grammar_.in_unique_key(state) &&
           grammar_.follow(state).none();
  }

  bool counts() const { return grammar_.memory().kind(state_) == RuleMemory::Kind::kCount; }

  // Returns false if no token under `node` can be allowed.
  bool visit(const TokenTable::Node& node) {
    Level& above = levels_[node.depth - 1];
    if (plain_[node.depth - 1] != kNoState) {
      const uint64_t count = counts() ? counts_[node.depth - 1] : 0;
      stacks_.assign(1, {plain_[node.depth - 1], StackArena::kBottom, count});
      above = {.stacks_begin = 0, .stacks_end = 1, .frames = empty_};
    }
    stacks_.resize(above.stacks_end);
    arena_.rewind(above.frames);
    walker_.clear_exits();
    Level& level = levels_[node.depth];
    level = {.stacks_begin = stacks_.size()};
    for (size_t i = above.stacks_begin; i < above.stacks_end; ++i) {
      walker_.step(Stack(stacks_[i]), node.byte, StackArena::kBottom, &stacks_, level.stacks_begin);
    }
    level.stacks_end = stacks_.size();
    level.frames = arena_.mark();
    level.exits_here = !walker_.exits().empty();
    level.touched_key = above.touched_key || walker_.touched_key();
    level.last_exit = above.last_exit;
    if (above.exits_here && !grammar_.follow(state_)[node.byte]) {
      level.last_exit = above.earlier_exit;
    }
    level.earlier_exit = level.last_exit;
    take_tokens(node, level);
    if (level.exits_here) level.last_exit = node.depth;
    return level.stacks_end > level.stacks_begin || level.last_exit != kNoExit;
  }

  void take_tokens(const TokenTable::Node& node, const Level& level) {
    const bool allowed = level.stacks_end > level.stacks_begin || level.exits_here;
    for (uint32_t i = node.first_token; i < node.past_token; ++i) {
      const int32_t token = table_.sorted_tokens()[i];
      if (level.touched_key) {
        if (allowed || level.last_exit != kNoExit) mask_.unsure.push_back(token);
      } else if (allowed) {
        mask_.tokens.push_back(token);
      } else {
        for (uint32_t exit = level.last_exit; exit != kNoExit; exit = levels_[exit].earlier_exit) {
          suffixes_.push_back({table_.bytes(token).substr(exit), token});
        }
      }
    }
  }

  void group_suffixes() {
    std::sort(suffixes_.begin(), suffixes_.end(), [](const Dependent& a, const Dependent& b) {
      return a.suffix != b.suffix ? a.suffix < b.suffix : a.token < b.token;
    });
    for (const Dependent& dependent : suffixes_) {
      const auto past = static_cast<uint32_t>(mask_.suffix_tokens.size() + 1);
      if (mask_.suffixes.empty() || mask_.suffixes.back().bytes != dependent.suffix) {
        mask_.suffixes.push_back({dependent.suffix, past - 1, past});
      }
      mask_.suffixes.back().past = past;
      mask_.suffix_tokens.push_back(dependent.token);
    }
  }

  void store_allowed() {
    const size_t words = (static_cast<size_t>(table_.size()) + 31) / 32;
    if (mask_.tokens.size() <= words) return mask_.tokens.shrink_to_fit();
    mask_.words.assign(words, 0);
    for (const int32_t token : mask_.tokens) mask_.words[token / 32] |= 1u << (token % 32);
    mask_.tokens = {};
  }

  struct Dependent {
    std::string_view suffix;
    int32_t token;
  };

  const Pushdown& grammar_;
  const TokenTable& table_;
  const StateId state_;
  StackArena arena_;
  StackWalker walker_;
  const StackArena::Mark empty_;
  std::vector<StateId> plain_;    // by depth: the state, in the common case
  std::vector<uint64_t> counts_;  // by depth: the note of that state, if its rule counts
  std::vector<Level> levels_;     // by depth, for other cases
  std::vector<Stack> stacks_;
  uint32_t reach_ = 0;
  std::vector<Dependent> suffixes_;
  StateMask mask_;
};

}  // namespace

size_t StateMask::bytes() const {
  return sizeof *this + words.size() * sizeof words[0] + tokens.size() * sizeof tokens[0] +
         suffixes.size() * sizeof suffixes[0] + suffix_tokens.size() * sizeof suffix_tokens[0] +
         unsure.size() * sizeof unsure[0];
}

StateMask compute_state_mask(const Pushdown& grammar, const TokenTable& table, StateId state,
                             uint64_t count, uint32_t bottom_depth) {
  return MaskBuilder(grammar, table, state, count, bottom_depth).build();
}

StateMaskCache::StateMaskCache(const Pushdown& grammar, std::shared_ptr<const TokenTable> table,
                               std::shared_ptr<GrammarMemory> memory)
    : grammar_(grammar),
      table_(std::move(table)),
      memory_(std::move(memory)),
      masks_(grammar.states()) {}

StateMaskCache::~StateMaskCache() {
  for (const auto& mask : masks_) delete mask.load();
  if (memory_ != nullptr) memory_->give_back(bytes_);
}

// Counts `bytes`. Returns false if there is no room.
bool StateMaskCache::take(size_t bytes) {
  if (bytes_.fetch_add(bytes) + bytes <= grammar_limits::kMaskCacheBytes) {
    if (memory_ == nullptr || memory_->take(bytes)) return true;
  }
  bytes_ -= bytes;
  return false;
}

void StateMaskCache::give_back(size_t bytes) {
  bytes_ -= bytes;
  if (memory_ != nullptr) memory_->give_back(bytes);
}

const StateMask* StateMaskCache::find(StateId state, uint64_t count) {
  if (count == 0) return masks_[state].load(std::memory_order_acquire);
  const std::lock_guard lock(mutex_);
  const auto found = counted_.find({state, count});
  return found == counted_.end() ? nullptr : found->second.get();
}

const StateMask* StateMaskCache::keep(StateId state, uint64_t count,
                                      std::unique_ptr<StateMask>* mask) {
  const size_t bytes = (*mask)->bytes();
  if (!take(bytes)) return nullptr;
  if (count == 0) {
    const StateMask* found = nullptr;
    if (masks_[state].compare_exchange_strong(found, mask->get())) return mask->release();
    give_back(bytes);  // another thread was faster
    return found;
  }
  const std::lock_guard lock(mutex_);
  const auto [entry, added] = counted_.try_emplace({state, count}, nullptr);
  if (added) {
    entry->second = std::move(*mask);
  } else {
    give_back(bytes);
  }
  return entry->second.get();
}

const StateMask& StateMaskCache::mask(const Stack& stack, uint32_t bottom_depth,
                                      std::unique_ptr<StateMask>* own) {
  const StateId state = stack.state;
  const uint64_t count = grammar_.memory().representative(state, stack.note, table_->depth());
  const StateMask* found = find(state, count);
  if (found == nullptr) {
    *own = std::make_unique<StateMask>(compute_state_mask(grammar_, *table_, state, count, 0));
    found = keep(state, count, own);
    if (found == nullptr) found = own->get();
  }
  // A mask made for an empty stack is valid for all stacks that leave room for its reach.
  if (bottom_depth + found->reach <= grammar_limits::kStackDepth) return *found;
  *own = std::make_unique<StateMask>(
      compute_state_mask(grammar_, *table_, state, count, bottom_depth));
  return **own;
}

}  // namespace deltaserve::grammar
