// deltaserve bench measures the model's speed on this machine, in tokens and in bytes moved, and
// compares it with the bandwidth of plain reads by the same threads. It runs Model without the
// engine.
#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "server/base/processors.h"
#include "server/command_line/parse.h"
#include "server/command_line/values.h"
#include "server/commands/commands.h"
#include "server/commands/model_options.h"

namespace deltaserve {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kGrid = 64;  // prompt pieces begin on it
constexpr size_t kBandwidthBytes = size_t{512} << 20;
constexpr int kBandwidthRepeats = 5;

struct BenchOptions {
  ModelOptions model;
  int64_t prompt = 512;
  int64_t generate = 64;
  std::vector<int> batches = {1};
  std::vector<int64_t> depths = {0};
  int repeat = 3;
  bool json = false;
};

struct Measurement {
  const char* test;
  int batch;
  int64_t depth;  // tokens that each sequence had read before
  int64_t tokens;
  double tokens_per_s;
  uint64_t bytes_per_step;
  double gb_per_s;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Prints results. As JSON, each result has the conditions for which it holds.
class Printer {
 public:
  Printer(const LoadedModel& loaded, const ModelOptions& options, bool json) : json_(json) {
    const std::string& name = loaded.hub_name.empty() ? options.folder : loaded.hub_name;
    setting_ = {{"model", name},
                {"weights", weight_format_name(options.weights)},
                {"state_dtype", state_format_name(options.state_format)},
                {"threads", loaded.threads != nullptr ? loaded.threads->num_threads() : 0},
                {"device", loaded.backend->description()},
                {"cpu", processor_name()}};
  }

  void print(const Measurement& m) const {
    if (json_) {
      boost::json::object row = {{"test", m.test},
                                 {"batch", m.batch},
                                 {"depth", m.depth},
                                 {"tokens", m.tokens},
                                 {"tokens_per_s", m.tokens_per_s},
                                 {"bytes_per_step", m.bytes_per_step},
                                 {"gb_per_s", m.gb_per_s}};
      print_json(std::move(row));
    } else {
      absl::PrintF("%-16s %6d %9d %8d %12.1f %14d %10.2f\n", m.test, m.batch, m.depth, m.tokens,
                   m.tokens_per_s, m.bytes_per_step, m.gb_per_s);
    }
    std::fflush(stdout);
  }

  void print_json(boost::json::object row) const {
    for (const auto& [key, value] : setting_) row[key] = value;
    absl::PrintF("%s\n", boost::json::serialize(row));
  }

 private:
  const bool json_;
  boost::json::object setting_;
};

// Returns the bandwidth of reads: the best of several passes over a buffer larger than the caches.
double read_bandwidth_gb(ThreadPool* threads) {
  std::vector<uint64_t> buffer(kBandwidthBytes / sizeof(uint64_t), 1);
  constexpr int64_t kPieces = 256;
  const size_t piece = buffer.size() / kPieces;
  std::vector<uint64_t> sums(kPieces);
  double best = 0;
  for (int i = 0; i < kBandwidthRepeats; ++i) {
    const auto start = Clock::now();
    threads->parallel_for(kPieces, [&](int64_t task, int) {
      const uint64_t* values = buffer.data() + static_cast<size_t>(task) * piece;
      uint64_t lanes[16] = {};  // independent sums, because the additions would otherwise be the
                                // limit
      for (size_t k = 0; k < piece; k += 16) {
        for (size_t lane = 0; lane < 16; ++lane) lanes[lane] += values[k + lane];
      }
      for (const uint64_t lane : lanes) sums[static_cast<size_t>(task)] += lane;
    });
    best = std::max(best, static_cast<double>(kBandwidthBytes) / seconds_since(start) / 1e9);
  }
  // Uses the sums, so that the loop is not optimised away.
  return sums[0] == 0 ? 0 : best;
}

// Runs random token ids through the model, in steps like those of the engine.
class Bench {
 public:
  Bench(LoadedModel* loaded, int64_t step_tokens)
      : model_(loaded->model.get()), backend_(loaded->backend.get()), step_tokens_(step_tokens) {
    vocab_ = static_cast<int32_t>(loaded->folder.config.vocab_size);
  }

  // Measures prefill: one prompt of `tokens` per sequence, one sequence after the other.
  double prefill_seconds(int batch, int64_t tokens) {
    fill_ids(std::max(tokens, int64_t{1}));
    const auto start = Clock::now();
    for (int slot = 0; slot < batch; ++slot) {
      for (int64_t done = 0; done < tokens;) {
        const int64_t rows = std::min(step_tokens_, tokens - done);
        const Segment segment{RowKind::kPrefill, slot, slot, 0, static_cast<int32_t>(rows), done};
        done += rows;
        draws_.clear();
        if (done == tokens) draws_.push_back(greedy_draw(static_cast<int32_t>(rows) - 1));
        run_step({{ids_.data() + (done - rows), rows}, {&segment, 1}});
      }
    }
    return seconds_since(start);
  }

  // Measures decode: `steps` steps of one row per sequence, going on at `position`.
  double decode_seconds(int batch, int64_t steps, int64_t position) {
    fill_ids(batch);
    std::vector<Segment> segments;
    draws_.clear();
    for (int slot = 0; slot < batch; ++slot) {
      segments.push_back({RowKind::kDecode, slot, slot, slot, 1, position});
      draws_.push_back(greedy_draw(slot));
    }
    const auto start = Clock::now();
    for (int64_t step = 0; step < steps; ++step) {
      run_step({array_of(ids_), array_of(segments)});
      for (int slot = 0; slot < batch; ++slot) {
        ++segments[static_cast<size_t>(slot)].position;
        ids_[static_cast<size_t>(slot)] = results_[static_cast<size_t>(slot)].token;
      }
    }
    return seconds_since(start);
  }

  Measurement measure_prefill(int batch, const BenchOptions& options) {
    const int64_t tokens = options.prompt * batch;
    std::vector<double> times;
    for (int i = 0; i < options.repeat; ++i) {
      times.push_back(prefill_seconds(batch, options.prompt));
    }
    const double seconds = median(times);
    const int64_t steps = batch * ((options.prompt + step_tokens_ - 1) / step_tokens_);
    const uint64_t bytes = static_cast<uint64_t>(backend_->memory().weights);
    return {"prefill",
            batch,
            0,
            tokens,
            static_cast<double>(tokens) / seconds,
            bytes,
            static_cast<double>(bytes) * static_cast<double>(steps) / seconds / 1e9};
  }

  Measurement measure_decode(int batch, int64_t depth, const BenchOptions& options) {
    // Warms up, and starts every slot from a zero state.
    const int64_t read = std::max(depth, int64_t{1});
    prefill_seconds(batch, read);
    std::vector<double> times;
    for (int i = 0; i < options.repeat; ++i) {
      times.push_back(decode_seconds(batch, options.generate, read + i * options.generate));
    }
    const double seconds = median(times);
    const auto steps = static_cast<double>(options.generate);
    const uint64_t bytes = model_->decode_bytes(batch);
    return {"decode",
            batch,
            depth,
            options.generate * batch,
            steps * batch / seconds,
            bytes,
            static_cast<double>(bytes) * steps / seconds / 1e9};
  }

 private:
  static Draw greedy_draw(int32_t row) {
    Draw draw;
    draw.row = row;
    draw.sample = true;
    draw.temperature = 0;
    return draw;
  }

  void fill_ids(int64_t count) {
    std::minstd_rand random(1);
    ids_.resize(static_cast<size_t>(count));
    for (int32_t& id : ids_) id = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab_));
  }

  void run_step(const Step& step) {
    const Ticket ticket = model_->forward(step);
    model_->draw(ticket, array_of(draws_));
    results_.resize(draws_.size());
    model_->wait(ticket, results_.data());
  }

  Model* const model_;
  Backend* const backend_;
  const int64_t step_tokens_;
  int32_t vocab_ = 0;
  std::vector<int32_t> ids_;
  std::vector<Draw> draws_;  // of the step under way
  std::vector<DrawResult> results_;
};

// The read bandwidth is measured only on the CPU, where it is the limit.
void print_machine(const LoadedModel& loaded, bool json, const Printer& printer) {
  const double read_gb = loaded.threads != nullptr ? read_bandwidth_gb(loaded.threads.get()) : 0;
  if (json) {
    if (read_gb > 0) printer.print_json({{"test", "read_bandwidth"}, {"gb_per_s", read_gb}});
    return;
  }
  absl::PrintF("%s", loaded.backend->description());
  if (read_gb > 0) absl::PrintF("; reads at %.2f GB/s", read_gb);
  absl::PrintF("\n");
  if (!loaded.why_cpu.empty()) absl::PrintF("device: cpu, because %s\n", loaded.why_cpu);
}

int bench(BenchOptions options) {
  options.model.max_sequences = *std::max_element(options.batches.begin(), options.batches.end());
  absl::StatusOr<LoadedModel> loaded = load_model(options.model);
  if (!loaded.ok()) return report(loaded.status());
  const Printer printer(*loaded, options.model, options.json);
  print_machine(*loaded, options.json, printer);
  if (!options.json) {
    absl::PrintF("%-16s %6s %9s %8s %12s %14s %10s\n", "test", "batch", "depth", "tokens",
                 "tokens/s", "bytes/step", "GB/s");
  }
  // Pieces of a whole number of chunks keep prompts on the grid.
  Bench runner(&*loaded, options.model.step_tokens / kGrid * kGrid);
  for (const int batch : options.batches) {
    if (options.prompt > 0) printer.print(runner.measure_prefill(batch, options));
    for (const int64_t depth : options.depths) {
      if (options.generate == 0) break;
      printer.print(runner.measure_decode(batch, depth, options));
    }
  }
  return 0;
}

}  // namespace

void add_bench_command(CLI::App* app, Run* run) {
  constexpr int64_t kMostTokens = 1 << 24;
  CLI::App* command = add_command(
      app, "bench", "Measure prefill and decode on this machine, in tokens and bytes per second");
  command->footer(
      "The bytes of a decode step are every weight once and every state twice; those of prefill "
      "are the weights of each step. On a CPU, read_bandwidth is the speed at which the same "
      "threads read 512 MiB; it bounds decode. Each figure is the median of the runs, on random "
      "token ids.");
  auto options = std::make_shared<BenchOptions>();
  add_model_options(command, &options->model);
  command->option_defaults()->group("Measurement");
  add_step_tokens_option(command, &options->model);
  command
      ->add_option("--prompt", options->prompt,
                   "Prompt tokens of each sequence; 0 leaves out the prefill test")
      ->transform(whole_number_in(0, kMostTokens))
      ->capture_default_str()
      ->type_name("TOKENS");
  command->add_option("--generate", options->generate, "Decode steps; 0 leaves out the decode test")
      ->transform(whole_number_in(0, kMostTokens))
      ->capture_default_str()
      ->type_name("TOKENS");
  command
      ->add_option("--batch", options->batches,
                   "Sequences that run together, or a list such as 1,8,32")
      ->delimiter(',')
      ->transform(whole_number_in(1, 4096))
      ->default_str("1")
      ->type_name("N");
  command
      ->add_option("--depth", options->depths,
                   "Tokens that every sequence reads before its decode test, or a list such as "
                   "0,65536")
      ->delimiter(',')
      ->transform(whole_number_in(0, kMostTokens))
      ->default_str("0")
      ->type_name("TOKENS");
  command->add_option("--repeat", options->repeat, "Runs of each test; the median is reported")
      ->transform(whole_number_in(1, 1000))
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--json", options->json, "Print one JSON object per line");
  command->callback([command, run, options] {
    require_model(command, &options->model.folder);
    if (options->prompt == 0 && options->generate == 0) {
      throw CLI::ValidationError("--prompt 0 and --generate 0 leave nothing to measure");
    }
    *run = [options] { return bench(*options); };
  });
}

}  // namespace deltaserve
