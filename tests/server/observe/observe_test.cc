// Tests what the server tells about itself: metrics and the log.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "server/observe/log.h"
#include "server/observe/metrics.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

std::string page_of(const Metrics& metrics, const EngineStats& engine = {}) {
  ServerState state;
  state.version = "1.2.3";
  state.model_name = "a\"b\\c";
  state.state_bytes = 1024;
  state.engine = engine;
  return metrics_page(metrics, state);
}

bool has_line(const std::string& page, const std::string& line) {
  return page.find("\n" + line + "\n") != std::string::npos;
}

TEST(Metrics, HistogramsCumulate) {
  static constexpr double kBounds[] = {1, 2, 4};
  Histogram histogram(kBounds);
  for (const double value : {0.5, 1.0, 3.0, 100.0}) histogram.observe(value);
  histogram.observe(2, 3);
  MetricsPage page;
  page.histogram("h", "Help.", histogram, "x=\"y\"");
  EXPECT_EQ(page.take(),
            "# HELP h Help.\n# TYPE h histogram\n"
            "h_bucket{x=\"y\",le=\"1\"} 2\nh_bucket{x=\"y\",le=\"2\"} 5\n"
            "h_bucket{x=\"y\",le=\"4\"} 6\nh_bucket{x=\"y\",le=\"+Inf\"} 7\n"
            "h_sum{x=\"y\"} 110.5\nh_count{x=\"y\"} 7\n");
}

TEST(Metrics, FamiliesCountByLabels) {
  CounterFamily family({"route", "code"});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 1000; ++j) family.add({"/a", j % 2 == 0 ? "200" : "400"});
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto values = family.values();
  ASSERT_EQ(values.size(), 2u);
  EXPECT_EQ(values[0].first, "route=\"/a\",code=\"200\"");
  EXPECT_EQ(values[0].second, 2000u);
}

TEST(Metrics, ThePageHasTheCacheOfGrammars) {
  ServerState state;
  state.grammars = {.hits = 7, .misses = 4, .evictions = 1, .grammars = 3, .bytes = 4096};
  const std::string page = metrics_page(Metrics(), state);
  for (const char* line :
       {"deltaserve_grammar_cache_hits_total 7", "deltaserve_grammar_cache_misses_total 4",
        "deltaserve_grammar_cache_evictions_total 1", "deltaserve_grammar_cache_entries 3",
        "deltaserve_grammar_bytes 4096"}) {
    EXPECT_TRUE(has_line(page, line)) << line;
  }
}

TEST(Metrics, ThePageHasPrefixReuse) {
  Metrics metrics;
  metrics.read_aheads.add({"finished"}, 2);
  EngineStats engine;
  engine.prompt_tokens = 1000;
  engine.prefix_hits = 3;
  engine.prefix_misses_new = 1;
  engine.prefix_misses_not_kept = 7;
  engine.prefix_misses_bypassed = 9;
  engine.prefix_reused_tokens = 640;
  engine.prefix_replayed_tokens = 32;
  engine.prefix_evictions = 4;
  engine.snapshots = 5;
  engine.snapshot_slots = 6;
  engine.snapshot_slots_in_use = 4;
  engine.host_snapshots = 1;
  engine.host_snapshot_slots = 2;
  engine.read_ahead_tokens = 100;
  const std::string page = page_of(metrics, engine);
  const std::string model = "model_name=\"a\\\"b\\\\c\"";
  for (const std::string& line : {
           std::string("deltaserve_prefix_hits_total 3"),
           std::string("deltaserve_prefix_misses_total{reason=\"new\"} 1"),
           std::string("deltaserve_prefix_misses_total{reason=\"not_kept\"} 7"),
           std::string("deltaserve_prefix_misses_total{reason=\"prompt_logprobs\"} 9"),
           std::string("deltaserve_prefix_reused_tokens_total 640"),
           std::string("deltaserve_prefix_replayed_tokens_total 32"),
           std::string("deltaserve_prefix_evictions_total 4"),
           std::string("deltaserve_snapshots 5"),
           std::string("deltaserve_prefix_cache_bytes 4096"),
           std::string("deltaserve_prefix_cache_limit_bytes 6144"),
           std::string("deltaserve_prefix_cache_host_bytes 1024"),
           std::string("deltaserve_prefix_cache_host_limit_bytes 2048"),
           std::string("deltaserve_read_ahead_tokens_total 100"),
           std::string("deltaserve_read_aheads_total{result=\"finished\"} 2"),
           "vllm:cache_config_info{block_size=\"64\",num_gpu_blocks=\"384\"," + model + "} 1",
           "vllm:prefix_cache_queries_total{" + model + "} 1640",
           "vllm:prefix_cache_hits_total{" + model + "} 640",
       }) {
    EXPECT_TRUE(has_line(page, line)) << line << "\n" << page;
  }
}

TEST(Metrics, ThePageHasOurNamesAndTheAliases) {
  Metrics metrics;
  metrics.queue_full.add();
  metrics.http_responses.add({"/v1/models", "200"});
  EngineStats engine;
  engine.waiting = 3;
  engine.running = 1;
  engine.slots = 4;
  engine.prompt_tokens = 11;
  engine.generated_tokens = 22;
  engine.finished_stop = 5;
  engine.cancelled = 2;
  engine.deadline_exceeded = 1;
  const std::string page = page_of(metrics, engine);
  const std::string model = "model_name=\"a\\\"b\\\\c\"";
  for (const std::string& line : {
           std::string("deltaserve_requests_waiting 3"),
           std::string("deltaserve_slot_utilization_ratio 0.25"),
           std::string("deltaserve_sequence_state_bytes 1024"),
           std::string("deltaserve_prompt_tokens_total 11"),
           std::string("deltaserve_queue_full_total 1"),
           std::string("deltaserve_requests_finished_total{reason=\"stop\"} 5"),
           std::string("deltaserve_requests_finished_total{reason=\"deadline\"} 1"),
           std::string("deltaserve_http_responses_total{route=\"/v1/models\",code=\"200\"} 1"),
           "vllm:num_requests_waiting{" + model + "} 3",
           "vllm:num_requests_running{" + model + "} 1",
           "vllm:kv_cache_usage_perc{" + model + "} 0.25",
           "vllm:generation_tokens_total{" + model + "} 22",
           "vllm:request_success_total{finished_reason=\"abort\"," + model + "} 3",
           "vllm:cache_config_info{block_size=\"64\",num_gpu_blocks=\"0\"," + model + "} 1",
       }) {
    EXPECT_TRUE(has_line(page, line)) << line << "\n" << page;
  }
  EXPECT_TRUE(has_line(page, "deltaserve_build_info{version=\"1.2.3\",model=\"a\\\"b\\\\c\"} 1"));
}

TEST(Metrics, ARequestIsFollowed) {
  Metrics metrics;
  const auto start = RequestMetrics::Clock::now() - std::chrono::seconds(2);
  RequestMetrics request(&metrics, start);
  TokenUpdate update;
  request.on_update(update);  // the prompt goes on
  EXPECT_LT(request.time_to_first_token(), 0);
  update.tokens_generated = 1;
  request.on_update(update);
  EXPECT_GE(request.time_to_first_token(), 2);
  update.tokens_generated = 4;
  update.finish = FinishReason::kLength;
  update.queue_seconds = 0.5;
  update.decode_seconds = 0.25;
  EXPECT_EQ(request.decode_time(), 0);
  request.on_update(update);
  EXPECT_EQ(request.decode_time(), 0.25);
  EXPECT_EQ(request.finish(), FinishReason::kLength);
  const std::string page = page_of(metrics);
  for (const char* line : {"deltaserve_time_to_first_token_seconds_count 1",
                           "deltaserve_inter_token_latency_seconds_count 3",
                           "deltaserve_e2e_request_latency_seconds_count 1",
                           "deltaserve_request_queue_time_seconds_sum 0.5"}) {
    EXPECT_TRUE(has_line(page, line)) << line;
  }
  // Requests that did not end well say nothing about latency.
  RequestMetrics cancelled(&metrics, start);
  update.finish = FinishReason::kCancelled;
  cancelled.on_update(update);
  EXPECT_TRUE(has_line(page_of(metrics), "deltaserve_e2e_request_latency_seconds_count 1"));
}

class LogTest : public testing::Test {
 protected:
  // Returns what `write` logs.
  template <class Write>
  std::string logged(LogFormat format, LogLevel least, Write write) {
    std::FILE* file = std::tmpfile();
    {
      Logger log(format, least, fileno(file));
      write(log);
    }
    std::rewind(file);
    std::string text;
    for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) {
      text.push_back(static_cast<char>(c));
    }
    std::fclose(file);
    return text;
  }
};

TEST_F(LogTest, LinesOfText) {
  const std::string text = logged(LogFormat::kText, LogLevel::kInfo, [](Logger& log) {
    log.write(LogLevel::kDebug, "hidden");
    log.write(LogLevel::kInfo, "request",
              LogFields()
                  .text("id", "a b\"\n\x1b[1m")
                  .text("plain", "/v1/models")
                  .integer("status", 200)
                  .seconds_as_ms("total_ms", 0.0015)
                  .boolean("closed", true));
  });
  EXPECT_EQ(text.find("hidden"), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_NE(text.find("Z info request id=\"a b\\\"\\n\\u001b[1m\" plain=/v1/models status=200 "
                      "total_ms=1.500 closed=true\n"),
            std::string::npos)
      << text;
}

TEST_F(LogTest, LinesOfJson) {
  const std::string text = logged(LogFormat::kJson, LogLevel::kDebug, [](Logger& log) {
    for (int i = 0; i < 1000; ++i) {
      log.write(
          LogLevel::kWarning, "event",
          LogFields().text("text", "\xff\"\n").integer("i", i).json("metadata", "{\"a\":\"b\"}"));
    }
  });
  std::istringstream lines(text);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const json::value value = json::parse(line);
    EXPECT_EQ(value.at("level").as_string(), "warning");
    EXPECT_EQ(value.at("i").as_int64(), count);
    EXPECT_EQ(value.at("metadata").at("a").as_string(), "b");
  }
  EXPECT_EQ(count, 1000);
}

TEST_F(LogTest, AReaderThatStallsDelaysNobody) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  {
    Logger log(LogFormat::kText, LogLevel::kInfo, ends[1]);
    const std::string value(2000, 'x');
    for (size_t i = 0; i < 2 * Logger::kMaxQueuedLines; ++i) {
      log.write(LogLevel::kInfo, "event", LogFields().text("value", value));
    }
  }  // ends although nobody has read anything
  close(ends[0]);
  close(ends[1]);
}

// A limit on the size of files stands for a full disk.
class FullDisk {
 public:
  FullDisk() {
    getrlimit(RLIMIT_FSIZE, &before_);
    old_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~FullDisk() {
    set(before_.rlim_cur);
    std::signal(SIGXFSZ, old_);
  }
  void set(rlim_t bytes) {
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }

 private:
  rlimit before_{};
  void (*old_)(int);
};

std::string read_whole(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void wait_for(const std::function<bool()>& condition) {
  for (int i = 0; i < 1000 && !condition(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_TRUE(condition());
}

TEST_F(LogTest, AFullDiskLosesLinesOnlyWhileItIsFull) {
  const std::string path = testing::TempDir() + "deltaserve-full-disk.log";
  std::filesystem::remove(path);
  FullDisk disk;
  auto log = Logger::open(LogFormat::kText, LogLevel::kInfo, path);
  ASSERT_TRUE(log.ok()) << log.status();
  (*log)->write(LogLevel::kInfo, "first");
  wait_for([&] { return !read_whole(path).empty(); });
  disk.set(std::filesystem::file_size(path) + 10);  // a part of the next line fits
  (*log)->write(LogLevel::kInfo, "second");
  (*log)->write(LogLevel::kInfo, "third");
  wait_for([&] { return (*log)->lost_lines() == 2; });
  disk.set(RLIM_INFINITY);
  (*log)->write(LogLevel::kInfo, "fourth");
  wait_for([&] { return read_whole(path).find("count=2") != std::string::npos; });
  const std::string text = read_whole(path);
  EXPECT_NE(text.find(" info first\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("third"), std::string::npos) << text;
  EXPECT_NE(text.find(" info fourth\n"), std::string::npos) << text;
  EXPECT_NE(text.find(" warning log_lines_dropped count=2\n"), std::string::npos) << text;
  std::filesystem::remove(path);
}

TEST_F(LogTest, ARenamedFileIsOpenedAnew) {
  const std::string path = testing::TempDir() + "deltaserve-rotated.log";
  std::filesystem::remove(path);
  auto log = Logger::open(LogFormat::kText, LogLevel::kInfo, path);
  ASSERT_TRUE(log.ok()) << log.status();
  (*log)->write(LogLevel::kInfo, "old");
  wait_for([&] { return !read_whole(path).empty(); });
  std::filesystem::rename(path, path + ".1");
  (*log)->reopen();
  (*log)->write(LogLevel::kInfo, "new");
  wait_for([&] { return std::filesystem::exists(path) && !read_whole(path).empty(); });
  EXPECT_NE(read_whole(path).find(" new\n"), std::string::npos);
  EXPECT_EQ(read_whole(path + ".1").find(" new\n"), std::string::npos);
  EXPECT_FALSE(Logger::open(LogFormat::kText, LogLevel::kInfo, "/nonexistent/log").ok());
  std::filesystem::remove(path);
  std::filesystem::remove(path + ".1");
}

TEST_F(LogTest, LongValuesAreCut) {
  const std::string text = logged(LogFormat::kText, LogLevel::kInfo, [](Logger& log) {
    log.write(LogLevel::kInfo, "event", LogFields().text("v", std::string(1 << 20, 'x')));
  });
  EXPECT_LT(text.size(), Logger::kValueBytes + 200);
}

}  // namespace
}  // namespace deltaserve
