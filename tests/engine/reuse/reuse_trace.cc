// Computes how much of the prompts of agents is reused, by the rules of the prefix index alone: no
// model runs. A seeded generator makes conversations that grow, are edited near their end,
// regenerate an answer, branch, get a changed time stamp in their system prompt and further tools;
// many run at once. Compares the index with room for few states with one that keeps every grid
// point.
//
//   reuse_trace [--snapshots 64] [--requests 2000] [--conversations 12] [--seed 1] [--least 0]
//               [--pause 1] [--vocabulary N] [--write FILE]
//
// Prints one line; exit code 1 where the share of the most that could be reused is below --least.
// Two seconds pass between prompts on average, times --pause.
// --write also writes the prompts, so that servers can be asked the same (tests/bench/trace.py):
// a line of JSON for each, {"request": 0, "prompt": [token ids], "answer": [token ids]}. The ids
// are below --vocabulary, which changes neither the lengths nor the order of the prompts.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/reuse/keep_points.h"
#include "engine/reuse/prefix_index.h"
#include "kernels/mixer/delta_rule.h"

namespace deltaserve {
namespace {

using Time = PrefixIndex::Time;

struct Options {
  int snapshots = 64;
  int requests = 2000;
  int conversations = 12;
  int vocabulary = 1 << 30;
  uint32_t seed = 1;
  double least = 0;
  double pause = 1;
  std::string write;  // a file; empty = none
};

struct TracedPrompt {
  std::vector<int32_t> tokens;
  std::vector<PrefixMark> marks;
  std::vector<int32_t> read_ahead;  // what the server expects next after the answer
  double at = 0;                    // seconds
};

// Makes the prompts. Texts are random tokens, so two texts never begin alike by chance.
class Agents {
 public:
  explicit Agents(const Options& options)
      : random_(options.seed),
        vocabulary_(options.vocabulary),
        talks_(static_cast<size_t>(options.conversations)) {
    tools_ = text(1500);
  }

  TracedPrompt next() {
    now_ += 0.1 + below(40) / 10.0;
    Talk& talk = talks_[static_cast<size_t>(below(static_cast<int>(talks_.size())))];
    if (talk.messages.empty() || below(60) == 0) begin(&talk);
    change(&talk);
    talk.messages.push_back(text(20 + below(400)));  // the user's message or a tool's result
    TracedPrompt prompt = render(talk);
    const std::vector<int32_t> answer = text(30 + below(300));
    talk.messages.push_back(answer);
    prompt.read_ahead = render(talk).tokens;
    prompt.at = now_;
    return prompt;
  }

 private:
  struct Talk {
    std::vector<int32_t> system;
    std::vector<std::vector<int32_t>> messages;
  };

  void begin(Talk* talk) {
    talk->system = tools_;  // shared by all
    const std::vector<int32_t> own = text(200);
    talk->system.insert(talk->system.end(), own.begin(), own.end());
    talk->messages.clear();
  }

  // Changes a conversation between two prompts, as users and agents do.
  void change(Talk* talk) {
    const size_t messages = talk->messages.size();
    const int kind = below(100);
    if (kind < 8 && messages >= 2) {
      talk->messages.resize(messages - 2);  // edits the last message, or regenerates the answer
    } else if (kind < 14 && messages >= 6) {
      talk->messages.resize(messages / 2 / 2 * 2);  // goes back
    } else if (kind < 16) {
      talk->system.back() = below(vocabulary_);  // a time stamp at the end of the system prompt
    } else if (kind < 18) {
      const std::vector<int32_t> tool = text(150);
      talk->system.insert(talk->system.end(), tool.begin(), tool.end());
    } else if (kind < 21) {
      talks_[static_cast<size_t>(below(static_cast<int>(talks_.size())))] = *talk;  // branches
    }
  }

  TracedPrompt render(const Talk& talk) const {
    TracedPrompt prompt;
    prompt.tokens = talk.system;
    prompt.marks.push_back({static_cast<int64_t>(prompt.tokens.size()), SnapshotKind::kBoundary});
    for (const auto& message : talk.messages) {
      prompt.tokens.insert(prompt.tokens.end(), message.begin(), message.end());
    }
    prompt.marks.push_back({static_cast<int64_t>(prompt.tokens.size()), SnapshotKind::kBoundary});
    return prompt;
  }

  std::vector<int32_t> text(int tokens) {
    std::vector<int32_t> text(static_cast<size_t>(tokens));
    for (int32_t& token : text) token = below(vocabulary_);
    return text;
  }
  int below(int bound) { return static_cast<int>(random_() % static_cast<uint32_t>(bound)); }

  std::mt19937 random_;
  int vocabulary_;
  std::vector<Talk> talks_;
  std::vector<int32_t> tools_;
  double now_ = 0;
};

// The most that can be reused: every grid point that was ever computed.
class Unlimited {
 public:
  int64_t reused(const PrefixKeys& keys) const {
    size_t count = keys->size();
    while (count > 0 && !computed_.contains((*keys)[count - 1])) --count;
    return static_cast<int64_t>(count) * kChunkTokens;
  }
  void compute(const PrefixKeys& keys) { computed_.insert(keys->begin(), keys->end()); }

 private:
  std::set<PrefixKey> computed_;
};

int64_t read(PrefixIndex& index, const std::vector<int32_t>& tokens,
             const std::vector<PrefixMark>& marks, bool read_ahead, Time now) {
  const PrefixKeys keys = prefix_keys({}, {}, tokens);
  PrefixIndex::Found found = index.find(keys, now);
  index.see(keys);
  const int64_t begin = found.pin ? found.pin.position() : 0;
  for (const KeepPoint& point :
       keep_points(static_cast<int64_t>(tokens.size()), begin, found.seen, read_ahead, marks)) {
    index.keep(keys, point.position, point.kind, {}, 0, now);
  }
  return begin;
}

void write_ids(std::span<const int32_t> ids, std::ostream& out) {
  const char* separator = "";
  out << '[';
  for (const int32_t id : ids) {
    out << separator << id;
    separator = ",";
  }
  out << ']';
}

void write_line(int request, const TracedPrompt& prompt, std::ostream& out) {
  out << "{\"request\": " << request << ", \"prompt\": ";
  write_ids(prompt.tokens, out);
  out << ", \"answer\": ";
  write_ids(std::span(prompt.read_ahead).subspan(prompt.tokens.size()), out);
  out << "}\n";
}

int run(const Options& options) {
  Agents agents(options);
  PrefixIndex index(0, options.snapshots, 0, size_t{1} << 20);
  std::ofstream file;
  if (!options.write.empty()) file.open(options.write);
  Unlimited unlimited;
  int64_t tokens = 0;
  int64_t reused = 0;
  int64_t most = 0;
  for (int i = 0; i < options.requests; ++i) {
    const TracedPrompt prompt = agents.next();
    if (file.is_open()) write_line(i, prompt, file);
    const Time now{
        std::chrono::milliseconds(static_cast<int64_t>(prompt.at * options.pause * 1000))};
    tokens += static_cast<int64_t>(prompt.tokens.size());
    reused += read(index, prompt.tokens, prompt.marks, false, now);
    read(index, prompt.read_ahead, {}, true, now);
    const PrefixKeys keys = prefix_keys({}, {}, prompt.tokens);
    most += unlimited.reused(keys);
    unlimited.compute(keys);
    unlimited.compute(prefix_keys({}, {}, prompt.read_ahead));
  }
  const double share = static_cast<double>(reused) / static_cast<double>(most);
  std::printf(
      "%d snapshots: %lld of %lld prompt tokens reused (%.3f); without limits %lld (%.3f); "
      "share %.3f; %lld evictions\n",
      options.snapshots, static_cast<long long>(reused), static_cast<long long>(tokens),
      static_cast<double>(reused) / static_cast<double>(tokens), static_cast<long long>(most),
      static_cast<double>(most) / static_cast<double>(tokens), share,
      static_cast<long long>(index.num_evictions()));
  if (!options.write.empty() && !file.flush()) {
    std::fprintf(stderr, "%s: cannot be written\n", options.write.c_str());
    return 2;
  }
  return share >= options.least ? 0 : 1;
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  deltaserve::Options options;
  CLI::App app("How much of the prompts of agents the rules of the prefix index reuse.");
  const CLI::Range positive(1, 1 << 30);
  app.add_option("--snapshots", options.snapshots)->check(positive)->capture_default_str();
  app.add_option("--requests", options.requests)->check(positive)->capture_default_str();
  app.add_option("--conversations", options.conversations)->check(positive)->capture_default_str();
  app.add_option("--vocabulary", options.vocabulary)->check(positive)->capture_default_str();
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--least", options.least, "Exit code 1 below this share of the most that can be")
      ->capture_default_str();
  app.add_option("--pause", options.pause, "Factor of the time between prompts")
      ->capture_default_str();
  app.add_option("--write", options.write, "File that gets the prompts, a line of JSON for each");
  CLI11_PARSE(app, argc, argv);
  return deltaserve::run(options);
}
