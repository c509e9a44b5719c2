#include "engine/grammar/needs.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "engine/grammar/limits.h"

namespace deltaserve::grammar {
namespace {

// Settles states in the order of their needs (Knuth's generalization of Dijkstra's algorithm).
class NeedFinder {
 public:
  NeedFinder(const RuleSet& rules, const RuleNfa& nfa, const std::vector<Dfa>& automata)
      : automata_(automata), parts_(static_cast<uint32_t>(automata.size())) {
    for (uint32_t part = 0; part < parts_; ++part) {
      rule_.push_back(&rules.rules()[nfa.parts[part].rule]);
      base_.push_back(static_cast<uint32_t>(part_of_.size()));
      part_of_.insert(part_of_.end(), automata[part].states.size(), part);
    }
    states_ = static_cast<uint32_t>(part_of_.size());
    need_.assign(states_ + parts_, kUseless);
    readers_.resize(states_);
    sites_.resize(states_ + parts_);
    is_resume_.resize(states_, false);
    must_repeat_.resize(states_ + parts_, false);
    for (uint32_t part = 0; part < parts_; ++part) members_.emplace_back(*rule_[part]);
  }

  std::vector<uint32_t> run() {
    for (uint32_t part = 0; part < parts_; ++part) {
      const std::vector<Dfa::State>& states = automata_[part].states;
      for (uint32_t local = 0; local < states.size(); ++local) {
        add_edges(base_[part] + local, part, states[local]);
        if (states[local].accepting) ready_.push({0, base_[part] + local});
      }
      add_edges(states_ + part, part, states[0]);
    }
    while (!ready_.empty()) {
      const auto [need, id] = ready_.top();
      ready_.pop();
      if (need_[id] != kUseless || need > grammar_limits::kStackDepth - 1) continue;
      if (!settles(id)) continue;
      need_[id] = need;
      if (id < states_) after_state(id, need);
      for (const CallSite& site : sites_[id]) after_site(site);
    }
    return std::move(need_);
  }

 private:
  struct CallSite {
    uint32_t state;
    uint32_t entry;
    uint32_t resume;
  };
  using Ready = std::pair<uint32_t, uint32_t>;  // need and state

  // What is known of the members of one part.
  struct KnownMembers {
    explicit KnownMembers(const Rule& rule) {
      if (!rule.members) return;
      needed = rule.members->count.min;
      required = rule.members->required;
      known.resize(required.size(), false);
      missing = static_cast<size_t>(std::count(required.begin(), required.end(), true));
      is_met = missing == 0 && needed == 0;
    }
    size_t needed = 0;          // members of any kind
    size_t missing = 0;         // required members that are not known yet
    size_t count = 0;           // of known ones
    uint32_t need = 0;          // the largest of theirs
    bool knows_others = false;  // any number of other keys may come
    bool is_met = true;
    std::vector<bool> required;
    std::vector<bool> known;
    std::vector<uint32_t> waiting;  // the start and the entry, once there is a way from them
  };

  uint32_t part_of(uint32_t id) const { return id < states_ ? part_of_[id] : id - states_; }
  bool is_start(uint32_t id) const { return id >= states_ || id == base_[part_of_[id]]; }
  const Dfa::State& state(uint32_t id) const {
    return automata_[part_of_[id]].states[id - base_[part_of_[id]]];
  }

  void add_edges(uint32_t from, uint32_t part, const Dfa::State& edges) {
    for (const Dfa::ByteEdge& edge : edges.bytes) {
      readers_[base_[part] + edge.target].push_back(from);
    }
    for (const Dfa::CallEdge& edge : edges.calls) {
      const CallSite site{from, states_ + edge.rule, base_[part] + edge.target};
      sites_[site.entry].push_back(site);
      sites_[site.resume].push_back(site);
      is_resume_[site.resume] = true;
      must_repeat_[from] =
          must_repeat_[from] ||
          (rule_[part]->count && rule_[part]->count->min > 0 && state(site.resume).mark != 0);
    }
  }

  // Returns false if `id` is the start of a rule whose members are not known yet.
  bool settles(uint32_t id) {
    KnownMembers& members = members_[part_of(id)];
    if (members.is_met || !is_start(id)) return true;
    members.waiting.push_back(id);
    return false;
  }

  void after_state(uint32_t id, uint32_t need) {
    for (const uint32_t reader : readers_[id]) {
      if (!must_repeat_[reader]) ready_.push({need, reader});
    }
    if (!is_resume_[id]) know_member(part_of_[id], state(id).mark, need);
  }

  void after_site(const CallSite& site) {
    if (need_[site.entry] == kUseless) return;
    uint32_t need = need_[site.entry] + 1;
    if (!must_repeat_[site.state]) {
      if (need_[site.resume] == kUseless) return;
      need = std::max(need, need_[site.resume]);
    }
    ready_.push({need, site.state});
    const uint32_t part = part_of(site.state);
    if (rule_[site.entry - states_]->unique_key) {
      members_[part].knows_others = true;
      know_member(part, 0, need);
    } else {
      know_member(part, state(site.resume).mark, need);
    }
  }

  void know_member(uint32_t part, uint32_t mark, uint32_t need) {
    KnownMembers& members = members_[part];
    if (members.is_met) return;
    members.need = std::max(members.need, need);
    if (mark != 0 && !members.known[mark - 1]) {
      members.known[mark - 1] = true;
      ++members.count;
      if (members.required[mark - 1]) --members.missing;
    }
    if (members.missing > 0) return;
    if (members.count < members.needed && !members.knows_others) return;
    members.is_met = true;
    for (const uint32_t id : members.waiting) ready_.push({members.need, id});
  }

  const std::vector<Dfa>& automata_;
  const uint32_t parts_;
  uint32_t states_ = 0;
  std::vector<const Rule*> rule_;  // by part
  std::vector<uint32_t> base_;     // by part: the number of its start
  std::vector<uint32_t> part_of_;  // by state
  std::vector<uint32_t> need_;     // by state, then by part for its entry
  std::vector<bool> is_resume_;    // by state: some call ends there
  std::vector<bool> must_repeat_;  // by state and entry: a call that is counted must come first
  std::vector<std::vector<uint32_t>> readers_;  // by state: those with a byte edge to it
  std::vector<std::vector<CallSite>> sites_;    // by their entry and by their resume
  std::vector<KnownMembers> members_;           // by part
  std::priority_queue<Ready, std::vector<Ready>, std::greater<>> ready_;
};

}  // namespace

std::vector<uint32_t> find_needs(const RuleSet& rules, const RuleNfa& nfa,
                                 const std::vector<Dfa>& automata) {
  return NeedFinder(rules, nfa, automata).run();
}

}  // namespace deltaserve::grammar
