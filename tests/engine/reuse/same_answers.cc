// Asks one engine many random requests, several at a time, whose prompts grow, branch, repeat and
// change, and compares every token and log-probability, bit for bit, with a cold engine that is
// asked one request at a time. Prompts continue from kept states, answers are cut off, choices
// outnumber slots, few states can be kept, and slots are filled with NaN before they are used.
//
//   same_answers [--requests N] [--seed S] MODEL_FOLDER...
//
// Every model gets N requests (default 100). Prints one line for each model; exit code 1 if any
// answer differs.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/loop/engine.h"
#include "engine/loop/model_runner.h"
#include "kernels/base/thread_pool.h"
#include "models/model.h"
#include "tests/models/test_backend.h"

namespace deltaserve {
namespace {

constexpr int kSlots = 3;
constexpr int kSnapshots = 3;
constexpr int kHostSnapshots = 6;
constexpr int kTogether = 6;  // requests in the engine at a time
constexpr size_t kLongestPrompt = 900;

// Runs one sequence at a time and keeps nothing.
class ColdRunner final : public StepRunner {
 public:
  explicit ColdRunner(StepRunner* inner) : inner_(*inner) {}

  int max_rows() const override { return inner_.max_rows(); }
  int max_sequences() const override { return 1; }
  int max_snapshots() const override { return 0; }
  int32_t vocab_size() const override { return inner_.vocab_size(); }
  const FinalNorm& final_norm() const override { return inner_.final_norm(); }
  int steps_ahead() const override { return inner_.steps_ahead(); }
  Ticket forward(const Step& step) override { return inner_.forward(step); }
  void draw(Ticket ticket, std::span<const Draw> draws) override { inner_.draw(ticket, draws); }
  void wait(Ticket ticket, std::span<DrawResult> results) override { inner_.wait(ticket, results); }
  void copy_slot(int from, int to) override { inner_.copy_slot(from, to); }

 private:
  StepRunner& inner_;
};

// Allows a third of the tokens, which depends on the tokens before, and ends after some.
class RandomConstraint final : public TokenConstraint {
 public:
  RandomConstraint(uint32_t seed, int length) : hash_(seed), left_(length) {}

  void allowed(std::span<uint32_t> words) const override {
    std::mt19937 random(hash_);
    for (uint32_t& word : words)
      word = finished() ? 0 : static_cast<uint32_t>(random() & (random() | random()));
  }
  void accept(int32_t token) override {
    hash_ = hash_ * 31 + static_cast<uint32_t>(token);
    --left_;
  }
  bool finished() const override { return left_ <= 0; }
  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<RandomConstraint>(*this);
  }

 private:
  uint32_t hash_;
  int left_;
};

// Requests of a few conversations that go on.
class Requests {
 public:
  Requests(uint32_t seed, int32_t vocab, bool has_text)
      : random_(seed), vocab_(vocab), has_text_(has_text) {}

  GenerateRequest next() {
    GenerateRequest r;
    r.prompt = next_prompt();
    r.max_tokens = below(4) == 0 ? 0 : 1 + below(12);
    r.logprobs = below(3) - 1;
    r.sampling.seed = static_cast<uint64_t>(below(5));
    r.sampling.temperature = below(2) == 0 ? 0.0f : 1.0f;
    r.sampling.top_p = below(3) == 0 ? 0.9f : 1.0f;
    r.sampling.repetition_penalty = below(3) == 0 ? 1.3f : 1.0f;
    r.sampling.frequency_penalty = below(4) == 0 ? 0.5f : 0.0f;
    r.ignore_eos = below(2) == 0;
    r.priority = below(3);
    if (below(6) == 0) r.prompt_logprobs = below(3);
    if (below(8) == 0) r.reuse.salt = "salt";
    if (below(8) == 0) r.reuse.owner = {1};
    for (int i = below(3); i > 0; --i) {
      r.reuse.marks.push_back(
          {below(static_cast<int>(r.prompt.size())), static_cast<SnapshotKind>(below(6))});
    }
    if (below(5) == 0) {
      r.constraint = std::make_unique<RandomConstraint>(below(1000), 1 + below(10));
    }
    if (has_text_ && below(5) == 0) r.stop = {std::string(1, static_cast<char>('a' + below(26)))};
    return r;
  }

  int below(int bound) { return static_cast<int>(random_() % static_cast<uint32_t>(bound)); }

 private:
  // A beginning of an earlier prompt, with something appended.
  std::vector<int32_t> next_prompt() {
    std::vector<int32_t> prompt;
    if (!earlier_.empty() && below(6) != 0) {
      prompt = earlier_[static_cast<size_t>(below(static_cast<int>(earlier_.size())))];
    }
    if (!prompt.empty() && below(3) == 0) {
      prompt.resize(1 + static_cast<size_t>(below(static_cast<int>(prompt.size()))));
    }
    if (prompt.size() > kLongestPrompt) prompt.resize(kLongestPrompt / 2);
    const int more = prompt.empty() ? 100 + below(200) : below(4) == 0 ? 0 : 1 + below(160);
    for (int i = 0; i < more; ++i) prompt.push_back(below(vocab_));
    earlier_.push_back(prompt);
    if (earlier_.size() > 12) earlier_.erase(earlier_.begin() + below(6));
    return prompt;
  }

  std::mt19937 random_;
  const int32_t vocab_;
  const bool has_text_;
  std::vector<std::vector<int32_t>> earlier_;
};

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<TokenLogprob> logprobs, prompt_logprobs;
  std::string text;
  FinishReason finish = FinishReason::kNone;
  int64_t read = 0, reused = 0;
};

Answer answer_of(TokenStream& stream) {
  Answer answer;
  while (std::optional<TokenUpdate> update = stream.wait()) {
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(answer.tokens, update->tokens);
    append(answer.logprobs, update->logprobs);
    append(answer.prompt_logprobs, update->prompt_logprobs);
    answer.text += update->text;
    answer.finish = update->finish;
    answer.read = update->prompt_tokens_read;
    answer.reused = update->prompt_tokens_reused;
  }
  return answer;
}

bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, sizeof(float)) == 0;
}

bool same(const std::vector<TokenLogprob>& a, const std::vector<TokenLogprob>& b) {
  const auto same_entry = [](const TokenLogprob& x, const TokenLogprob& y) {
    return x.token == y.token && same_bits(x.logprob, y.logprob) &&
           std::equal(x.top.begin(), x.top.end(), y.top.begin(), y.top.end(),
                      [](const auto& p, const auto& q) {
                        return p.first == q.first && same_bits(p.second, q.second);
                      });
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_entry);
}

bool same(const Answer& a, const Answer& b) {
  return a.tokens == b.tokens && a.text == b.text && a.finish == b.finish &&
         same(a.logprobs, b.logprobs) && same(a.prompt_logprobs, b.prompt_logprobs);
}

struct Totals {
  int64_t answers = 0;
  int64_t different = 0;
  int64_t prompt_tokens = 0;
  int64_t reused = 0;
  int64_t loaded = 0;  // states from the host's memory
};

class Comparison {
 public:
  Comparison(Model* model, const Vocabulary* vocabulary)
      : vocabulary_(vocabulary), runner_(model, /*poison_slots=*/true), cold_(&runner_) {
    options_.eos_token_ids = model->config().eos_token_ids;
  }

  Totals run(int num_requests, uint32_t seed) {
    Requests requests(seed, runner_.vocab_size(), !vocabulary_->empty());
    Totals totals;
    totals.loaded = ask_together(num_requests, requests);
    Engine engine(&cold_, vocabulary_, options_);
    for (const Asked& asked : asked_) compare(engine, asked, &totals);
    return totals;
  }

 private:
  struct Asked {
    GenerateRequest request;  // for one choice
    Answer answer;
  };

  // Returns how many states came back from the host's memory.
  int64_t ask_together(int num_requests, Requests& requests) {
    Engine engine(&runner_, vocabulary_, options_);
    for (int i = 0; i < num_requests; i += kTogether) {
      std::vector<std::pair<GenerateRequest, std::vector<std::shared_ptr<TokenStream>>>> together;
      for (int k = 0; k < std::min(kTogether, num_requests - i); ++k) {
        GenerateRequest request = requests.next();
        const int n = requests.below(5) == 0 ? 1 + requests.below(5) : 1;
        auto streams = engine.submit_choices(request.clone(), n);
        if (!streams.ok()) {
          std::fprintf(stderr, "%s\n", streams.status().ToString().c_str());
          std::exit(1);
        }
        if (requests.below(8) == 0) streams->front()->cancel();
        together.emplace_back(std::move(request), *std::move(streams));
      }
      if (requests.below(20) == 0) engine.clear_prefixes({});
      read_ahead(engine, requests);
      for (auto& [request, streams] : together) {
        for (size_t choice = 0; choice < streams.size(); ++choice) {
          GenerateRequest alone = request.clone();
          alone.choice = static_cast<uint32_t>(choice);
          asked_.push_back({std::move(alone), answer_of(*streams[choice])});
        }
      }
    }
    return engine.stats().snapshots_loaded;
  }

  static void read_ahead(Engine& engine, Requests& requests) {
    if (requests.below(2) == 0) return;
    GenerateRequest request = requests.next();
    request.max_tokens = 0;
    request.reuse.read_ahead = true;
    request.constraint = nullptr;
    auto stream = engine.submit(std::move(request));
    if (stream.ok() && requests.below(2) == 0) answer_of(**stream);
  }

  void compare(Engine& engine, const Asked& asked, Totals* totals) const {
    if (asked.answer.finish == FinishReason::kCancelled) return;
    const Answer alone = answer_of(**engine.submit(asked.request.clone()));
    ++totals->answers;
    totals->prompt_tokens += asked.answer.read;
    totals->reused += asked.answer.reused;
    if (same(asked.answer, alone)) return;
    ++totals->different;
    std::printf("  differs: choice %u of a prompt of %zu tokens, %lld of them reused\n",
                asked.request.choice, asked.request.prompt.size(),
                static_cast<long long>(asked.answer.reused));
  }

  const Vocabulary* const vocabulary_;
  ModelRunner runner_;
  ColdRunner cold_;
  EngineOptions options_;
  std::vector<Asked> asked_;
};

Totals run_model(const std::string& folder, int num_requests, uint32_t seed) {
  absl::StatusOr<ModelFolder> opened = open_model_folder(folder);
  ThreadPool threads(2);
  const std::unique_ptr<Backend> backend = make_test_backend(&threads);
  ModelLimits limits;
  limits.max_rows = 256;
  limits.max_sequences = kSlots;
  limits.max_snapshots = kSnapshots;
  limits.max_host_snapshots = kHostSnapshots;
  absl::StatusOr<std::unique_ptr<Model>> model =
      opened.ok() ? Model::load(*opened, backend.get(), limits) : opened.status();
  if (!model.ok()) {
    std::fprintf(stderr, "%s: %s\n", folder.c_str(), model.status().ToString().c_str());
    std::exit(1);
  }
  const Vocabulary none;
  const Vocabulary* vocabulary =
      opened->tokenizer == nullptr ? &none : &opened->tokenizer->vocabulary();
  return Comparison(model->get(), vocabulary).run(num_requests, seed);
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  int num_requests = 100;
  uint32_t seed = 1;
  bool failed = argc < 2;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--requests" && i + 1 < argc) {
      num_requests = std::atoi(argv[++i]);
      continue;
    }
    if (argument == "--seed" && i + 1 < argc) {
      seed = static_cast<uint32_t>(std::atoi(argv[++i]));
      continue;
    }
    const deltaserve::Totals totals = deltaserve::run_model(argument, num_requests, seed);
    std::printf(
        "%s: %lld answers, %lld differ; %lld of %lld prompt tokens reused; %lld states came back "
        "from the host's memory\n",
        argument.c_str(), static_cast<long long>(totals.answers),
        static_cast<long long>(totals.different), static_cast<long long>(totals.reused),
        static_cast<long long>(totals.prompt_tokens), static_cast<long long>(totals.loaded));
    failed = failed || totals.different > 0 || totals.answers == 0 || totals.reused == 0;
    failed = failed || (num_requests >= 100 && totals.loaded == 0);
  }
  return failed ? 1 : 0;
}
