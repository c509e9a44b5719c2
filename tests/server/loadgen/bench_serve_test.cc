// bench-serve without a server: its reader of streams, its plan, its statistics and reports.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cmath>
#include <random>
#include <set>

#include "models/base/text.h"
#include "server/loadgen/plan.h"
#include "server/loadgen/report.h"
#include "server/loadgen/sse.h"
#include "server/loadgen/stats.h"
#include "server/loadgen/stream.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

const BenchServeLimits kLimits;

using Events = std::vector<std::pair<std::string, std::string>>;

// In pieces of `piece` bytes.
Events parse_sse(std::string_view bytes, size_t piece, size_t max_event_bytes = 1000) {
  Events events;
  SseParser parser(max_event_bytes);
  for (size_t i = 0; i < bytes.size(); i += piece) {
    parser.feed(bytes.substr(i, piece), [&](const SseEvent& event) {
      events.emplace_back(event.type, event.data);
      return true;
    });
  }
  return events;
}

TEST(BenchServeSse, FollowsTheSpecificationHoweverItIsCut) {
  const std::pair<std::string_view, Events> cases[] = {
      {"data: a\n\n", {{"", "a"}}},
      {"data:a\n\ndata:  b\n\n", {{"", "a"}, {"", " b"}}},
      {"data: a\r\n\r\ndata: b\r\rdata: c\n\r\n", {{"", "a"}, {"", "b"}, {"", "c"}}},
      {"data: a\ndata: b\ndata\n\n", {{"", "a\nb\n"}}},
      {"data\n\n", {{"", ""}}},
      {": comment\n\n:\ndata: a\n: inside\n\n", {{"", "a"}}},
      {"event: error\ndata: x\n\ndata: y\n\n", {{"error", "x"}, {"", "y"}}},
      {"event: ping\n\ndata: y\n\n", {{"", "y"}}},  // without data there is no event
      {"id: 1\nretry: 5\ndatas: n\n data: n\ndata: a:b\n\n", {{"", "a:b"}}},
      {"\xef\xbb\xbf"
       "data: a\n\n",
       {{"", "a"}}},
      {"data: a\n\n\xef\xbb\xbf"
       "data: b\n\n",
       {{"", "a"}}},  // a mark only at the beginning
      {"data: not ended\n", {}},
      {"", {}},
  };
  for (const auto& [bytes, expected] : cases) {
    for (size_t piece = 1; piece <= std::max<size_t>(bytes.size(), 1); ++piece) {
      EXPECT_EQ(parse_sse(bytes, piece), expected) << quoted(bytes) << " by " << piece;
    }
  }
}

TEST(BenchServeSse, HoldsNoMoreThanTheLimit) {
  for (const size_t piece : {1, 3, 1000}) {
    EXPECT_EQ(parse_sse("data: 0123456789\n\n", piece, 16), (Events{{"", "0123456789"}}));
    EXPECT_EQ(parse_sse("data: 0123456789\n\n", piece, 15), Events{});
    // Lines without end, and events without end.
    EXPECT_EQ(parse_sse(": 012345678901234567\ndata: a\n\n", piece, 15), Events{});
    EXPECT_EQ(parse_sse("data: 01234\ndata: 01234\ndata: 0\n\ndata: a\n\n", piece, 15), Events{});
    EXPECT_EQ(parse_sse("data\ndata\ndata\ndata\ndata\ndata\ndata\n\n", piece, 8), Events{});
  }
  SseParser parser(4);
  const auto never = [](const SseEvent&) { return false; };
  EXPECT_FALSE(parser.feed("data: a\n\n", never));
  EXPECT_TRUE(parser.too_long());
  EXPECT_FALSE(parser.feed("\n", never));
}

TEST(BenchServeSse, StopsWhenTold) {
  int calls = 0;
  SseParser parser(100);
  const auto once = [&](const SseEvent&) { return ++calls, false; };
  EXPECT_FALSE(parser.feed("data: a\n\ndata: b\n\n", once));
  EXPECT_FALSE(parser.feed("data: c\n\n", once));
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(parser.too_long());
}

std::string event(std::string_view data) {
  return str_cat("data: ", data, "\n\n");
}

constexpr std::string_view kText = R"({"choices":[{"index":0,"text":"a","finish_reason":null}]})";
constexpr std::string_view kUsage =
    R"({"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}})";

TEST(BenchServeStream, TimesEventsWithTokens) {
  CompletionStream stream(8, kLimits);
  const std::string empty = event(R"({"choices":[{"index":0,"text":"","finish_reason":null}]})");
  EXPECT_TRUE(stream.feed(empty, 1));
  EXPECT_TRUE(stream.feed(": keep-alive\n\n", 1.5));
  const std::string first = event(kText);
  EXPECT_TRUE(stream.feed(first.substr(0, 7), 1.75));
  EXPECT_TRUE(stream.feed(first.substr(7), 2));
  EXPECT_TRUE(stream.feed(event(kText) + event(kText), 2.5));  // they came together
  EXPECT_TRUE(stream.feed(event(kUsage), 3));
  EXPECT_TRUE(stream.feed("data: [DONE]\n\n", 4));
  EXPECT_TRUE(stream.feed("anything\n\n", 5));
  stream.finish();
  EXPECT_FALSE(stream.failure()) << stream.failure().message;
  const StreamTimes& times = stream.times();
  EXPECT_EQ(times.first_token, 2);
  EXPECT_EQ(times.last_token, 2.5);
  EXPECT_EQ(times.done, 4);
  EXPECT_EQ(times.events, 3);
  EXPECT_EQ(times.gaps, (std::vector<float>{0.5, 0}));
  EXPECT_EQ(times.prompt_tokens, 5);
  EXPECT_EQ(times.output_tokens, 3);
}

TEST(BenchServeStream, KnowsWhatATokenIs) {
  const std::pair<const char*, bool> cases[] = {
      {R"({"choices":[{"delta":{"role":"assistant","content":""}}]})", false},
      {R"({"choices":[{"delta":{"role":"assistant","content":null}}]})", false},
      {R"({"choices":[{"delta":{"content":"x"}}]})", true},
      {R"({"choices":[{"delta":{"reasoning_content":"x"}}]})", true},
      {R"({"choices":[{"delta":{"reasoning":"x"}}]})", true},
      {R"({"choices":[{"delta":{"tool_calls":[{}]}}]})", true},
      {R"({"choices":[{"delta":{},"finish_reason":"stop"}]})", false},
      {R"({"choices":[{"text":"","token_ids":[7]}]})", true},
      {R"({"choices":[{"text":"","token_ids":[]}]})", false},
      {R"({"choices":[{"text":""},{"text":"x"}]})", true},
      {R"({"choices":[],"usage":null})", false},
      {R"({"choices":[{"text":"x"}],"error":null})", true},
  };
  for (const auto& [chunk, expected] : cases) {
    CompletionStream stream(1, kLimits);
    EXPECT_TRUE(stream.feed(event(chunk), 1)) << chunk << stream.failure().message;
    EXPECT_EQ(stream.times().events, expected) << chunk;
  }
}

TEST(BenchServeStream, NamesWhatIsWrong) {
  struct Case {
    std::string body;
    FailureKind kind;
    std::string_view message;
  };
  const std::string deep(100, '[');
  const Case cases[] = {
      {event(R"({"error":{"message":"no room","code":503}})"), FailureKind::kErrorEvent, "no room"},
      {event(R"({"error":"no room"})"), FailureKind::kErrorEvent, "no room"},
      {event(R"({"error":7})"), FailureKind::kErrorEvent, "without a message"},
      {event(R"({"object":"error","message":"no room"})"), FailureKind::kErrorEvent, "no room"},
      {event(R"({"choices":[],"error":{"message":"late"}})"), FailureKind::kErrorEvent, "late"},
      {"event: error\ndata: oh\n\n", FailureKind::kErrorEvent, "oh"},
      {event("{"), FailureKind::kMalformed, "not a chunk"},
      {event(deep), FailureKind::kMalformed, "not a chunk"},
      {event("[]"), FailureKind::kMalformed, "not a chunk"},
      {event("{}"), FailureKind::kMalformed, "not a chunk"},
      {event(R"({"choices":{}})"), FailureKind::kMalformed, "not a chunk"},
      {event(R"({"choices":[1]})"), FailureKind::kMalformed, "not a chunk"},
      {event(R"({"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":1}})"),
       FailureKind::kMalformed, "not a chunk"},
      {event(R"({"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1e300}})"),
       FailureKind::kMalformed, "not a chunk"},
      {event(R"({"choices":[],"usage":{"prompt_tokens":1}})"), FailureKind::kMalformed,
       "not a chunk"},
      {event(std::string(kLimits.event_bytes, 'x')), FailureKind::kMalformed, "longer than"},
      {"", FailureKind::kCutOff, "[DONE]"},
      {event(kText) + event(kUsage), FailureKind::kCutOff, "[DONE]"},
      {event(kText) + event("[DONE]"), FailureKind::kMalformed, "usage"},
  };
  for (const Case& c : cases) {
    CompletionStream stream(4, kLimits);
    stream.feed(c.body, 1);
    stream.finish();
    EXPECT_EQ(stream.failure().kind, c.kind) << c.body.substr(0, 100);
    EXPECT_NE(stream.failure().message.find(c.message), std::string::npos)
        << stream.failure().message;
    EXPECT_FALSE(stream.feed(event(kText), 2));
  }
}

TEST(BenchServeStream, AServerCannotFillTheMemory) {
  CompletionStream stream(4, kLimits);
  int64_t accepted = 0;
  while (stream.feed(event(kText), 1)) ASSERT_LT(++accepted, 1000);
  EXPECT_EQ(accepted, 8 + kLimits.spare_events);
  EXPECT_EQ(stream.failure().kind, FailureKind::kMalformed);
}

TEST(BenchServeStream, ShowsForeignTextSafely) {
  EXPECT_EQ(shown_message("a\x1b[2J\n\xc3\xa4z", kLimits), "a?[2J ??z");
  const std::string shown = shown_message(std::string(1000, 'x'), kLimits);
  EXPECT_EQ(shown.size(), kLimits.message_bytes + 3);
  EXPECT_EQ(error_message_of(R"({"error":{"message":"why"}})", kLimits), "why");
  EXPECT_EQ(error_message_of(R"({"message":"why"})", kLimits), "why");
  EXPECT_EQ(error_message_of(R"({"detail":"why"})", kLimits), R"({"detail":"why"})");
  EXPECT_EQ(error_message_of("<html>", kLimits), "<html>");
}

TEST(BenchServeStream, ReadsTheListOfModels) {
  const auto ids = model_ids_of(R"({"object":"list","data":[{"id":"a"},{"id":"b"}]})", kLimits);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(*ids, (std::vector<std::string>{"a", "b"}));
  for (const char* wrong : {"", "[]", "{}", R"({"data":[]})", R"({"data":[{}]})",
                            R"({"data":[{"id":1}]})", R"({"data":[7]})", R"({"data":"x"})"}) {
    EXPECT_FALSE(model_ids_of(wrong, kLimits).ok()) << wrong;
  }
}

TEST(BenchServePlan, ReadsUrls) {
  struct Case {
    const char* text;
    const char *host, *port, *authority, *path;
  };
  const Case cases[] = {
      {"http://a", "a", "80", "a", ""},
      {"http://127.0.0.1:8080/", "127.0.0.1", "8080", "127.0.0.1:8080", ""},
      {"http://a/v1", "a", "80", "a", ""},
      {"http://a:1/b/c/v1/", "a", "1", "a:1", "/b/c"},
      {"http://[::1]:65535/x", "::1", "65535", "[::1]:65535", "/x"},
      {"http://[::1]", "::1", "80", "[::1]", ""},
  };
  for (const Case& c : cases) {
    const auto url = parse_server_url(c.text);
    ASSERT_TRUE(url.ok()) << url.status();
    EXPECT_EQ(url->host, c.host) << c.text;
    EXPECT_EQ(url->port, c.port) << c.text;
    EXPECT_EQ(url->authority, c.authority) << c.text;
    EXPECT_EQ(url->path, c.path) << c.text;
  }
  for (const char* wrong :
       {"", "a", "ftp://a", "http://", "http:///x", "http://:80", "http://a:", "http://a:0",
        "http://a:65536", "http://a:8x", "http://a:-1", "http://u@a", "http://a?q", "http://a#f",
        "http://a b", "http://a\r\nX: y", "http://[::1", "http://[::1]8", "http://[]:8"}) {
    EXPECT_FALSE(parse_server_url(wrong).ok()) << wrong;
  }
  EXPECT_NE(parse_server_url("https://a").status().message().find("plain http"),
            absl::string_view::npos);
}

TEST(BenchServePlan, PromptsHaveExactlyTheAskedIds) {
  BenchServeOptions options;
  options.model = "a\"b";
  options.prompt = 50;
  options.generate = 7;
  options.vocab = 20;
  const RequestPlan plan(&options);
  std::set<std::string> bodies;
  std::set<int64_t> seen;
  for (int64_t index = -3; index < 20; ++index) {
    const PlannedRequest planned = plan.request(index);
    const json::value body = json::parse(planned.body);
    EXPECT_EQ(body.at("model").as_string(), options.model);
    EXPECT_EQ(body.at("max_tokens").as_int64(), 7);
    EXPECT_EQ(planned.generate, 7);
    EXPECT_TRUE(body.at("stream").as_bool());
    EXPECT_TRUE(body.at("stream_options").at("include_usage").as_bool());
    EXPECT_TRUE(body.at("ignore_eos").as_bool());
    EXPECT_FALSE(body.as_object().contains("return_token_ids"));
    EXPECT_EQ(body.at("prompt").as_array().size(), 50u);
    for (const json::value& id : body.at("prompt").as_array()) seen.insert(id.as_int64());
    EXPECT_EQ(plan.request(index).body, planned.body);
    bodies.insert(planned.body);
  }
  EXPECT_EQ(bodies.size(), 23u);  // prompts differ, so that no cache helps
  EXPECT_EQ(*seen.begin(), 3);
  EXPECT_EQ(*seen.rbegin(), 19);
  options.seed = 2;
  EXPECT_FALSE(bodies.contains(plan.request(0).body));
}

TEST(BenchServePlan, Spreads) {
  BenchServeOptions options;
  options.prompt = 10;
  options.generate = 8;
  options.prompt_spread = 0.5;
  options.generate_spread = 1;
  const RequestPlan plan(&options);
  std::set<size_t> prompts;
  std::set<int64_t> generates;
  for (int64_t index = 0; index < 1000; ++index) {
    const PlannedRequest planned = plan.request(index);
    prompts.insert(json::parse(planned.body).at("prompt").as_array().size());
    generates.insert(planned.generate);
  }
  EXPECT_EQ(prompts, (std::set<size_t>{5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
  EXPECT_EQ(*generates.begin(), 1);  // none of no tokens
  EXPECT_EQ(*generates.rbegin(), 16);
}

size_t count_words(std::string_view text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), ' ')) + 1;
}

TEST(BenchServePlan, TextIsAsLongAsTheServerCounts) {
  BenchServeOptions options;
  options.text = options.chat = true;
  options.prompt = 110;
  options.ignore_eos = false;
  options.return_token_ids = true;
  RequestPlan plan(&options);
  const auto scale = scale_from(10, 30, 20, 50);  // two tokens a word and ten around
  ASSERT_TRUE(scale.ok());
  plan.set_scale(*scale);
  const json::value body = json::parse(plan.request(0).body);
  const json::value& message = body.at("messages").as_array().at(0);
  EXPECT_EQ(message.at("role").as_string(), "user");
  EXPECT_EQ(count_words(message.at("content").as_string()), 50u);
  EXPECT_FALSE(body.as_object().contains("ignore_eos"));
  EXPECT_TRUE(body.at("return_token_ids").as_bool());
  options.chat = false;
  EXPECT_EQ(count_words(json::parse(plan.probe(12, 0).body).at("prompt").as_string()), 12u);
  options.prompt = 1;  // less than the server adds
  EXPECT_EQ(count_words(json::parse(plan.request(0).body).at("prompt").as_string()), 1u);
  EXPECT_FALSE(scale_from(10, 30, 20, 30).ok());
}

TEST(BenchServePlan, WordsOfAFileKeepTheirOrder) {
  const auto words = split_words(" a\n\"b\"\tc\u00e4  d ", kLimits);
  ASSERT_TRUE(words.ok());
  EXPECT_EQ(*words, (std::vector<std::string>{"a", "\"b\"", "c\u00e4", "d"}));
  BenchServeOptions options;
  options.text = true;
  options.words = *words;
  const RequestPlan plan(&options);
  std::set<std::string> texts;
  for (int64_t i = 0; i < 100; ++i) {
    texts.insert(std::string(json::parse(plan.probe(5, i).body).at("prompt").as_string()));
  }
  EXPECT_EQ(texts, (std::set<std::string>{"a \"b\" c\u00e4 d a", "\"b\" c\u00e4 d a \"b\"",
                                          "c\u00e4 d a \"b\" c\u00e4", "d a \"b\" c\u00e4 d"}));
  for (const std::string& wrong : {std::string(), std::string(" \n"), std::string("a \xff"),
                                   std::string(kLimits.word_bytes + 1, 'x')}) {
    EXPECT_FALSE(split_words(wrong, kLimits).ok());
  }
}

TEST(BenchServePlan, ArrivalsArePoisson) {
  Arrivals arrivals(50, 3);
  constexpr int kCount = 20000;
  double last = 0, squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double time = arrivals.next();
    ASSERT_GE(time, last);
    squares += (time - last) * (time - last);
    last = time;
  }
  EXPECT_NEAR(last / kCount, 0.02, 0.001);          // the mean gap
  EXPECT_NEAR(squares / kCount, 2 * 4e-4, 0.8e-4);  // exponential: twice the mean's square
}

TEST(BenchServeStats, Percentiles) {
  EXPECT_EQ(percentile({}, 50), 0);
  EXPECT_EQ(percentile({3}, 0), 3);
  EXPECT_EQ(percentile({3}, 100), 3);
  const std::vector<float> values = {1, 2, 4, 8};
  EXPECT_EQ(percentile(values, 0), 1);
  EXPECT_EQ(percentile(values, 50), 3);
  EXPECT_DOUBLE_EQ(percentile(values, 90), 4 + 0.7 * 4);
  EXPECT_EQ(percentile(values, 100), 8);
}

TEST(BenchServeStats, Moments) {
  Samples samples(10);
  EXPECT_EQ(samples.mean(), 0);
  EXPECT_EQ(samples.standard_deviation(), 0);
  for (const double value : {5.0, 1.0, 3.0}) samples.add(value);
  EXPECT_EQ(samples.count(), 3);
  EXPECT_DOUBLE_EQ(samples.mean(), 3);
  EXPECT_DOUBLE_EQ(samples.standard_deviation(), std::sqrt(8.0 / 3));
  EXPECT_EQ(samples.min(), 1);
  EXPECT_EQ(samples.max(), 5);
  EXPECT_EQ(samples.sorted(), (std::vector<float>{1, 3, 5}));
}

TEST(BenchServeStats, ALongRunIsSampledUniformly) {
  Samples samples(2000);
  for (int i = 0; i < 100000; ++i) samples.add(i);
  EXPECT_EQ(samples.held(), 2000u);
  EXPECT_EQ(samples.count(), 100000);
  EXPECT_EQ(samples.max(), 99999);
  EXPECT_DOUBLE_EQ(samples.mean(), 49999.5);
  const std::vector<float> sorted = samples.sorted();
  for (const double percent : {10, 50, 90}) {
    EXPECT_NEAR(percentile(sorted, percent), percent * 1000, 4000);
  }
}

TEST(BenchServeStats, HistogramCountsEverything) {
  EXPECT_TRUE(histogram({}, 5).empty());
  for (const std::vector<float>& values :
       {std::vector<float>{0, 0, 0}, std::vector<float>{2, 2}, std::vector<float>{0, 1e-9f, 1},
        std::vector<float>{0.001f, 0.002f, 0.004f, 0.1f, 0.1f}}) {
    const std::vector<Bucket> buckets = histogram(values, 5);
    ASSERT_FALSE(buckets.empty());
    int64_t count = 0;
    double edge = -1;
    for (const Bucket& bucket : buckets) {
      EXPECT_GT(bucket.below, edge);
      edge = bucket.below;
      count += bucket.count;
    }
    EXPECT_EQ(count, static_cast<int64_t>(values.size()));
    EXPECT_EQ(edge, values.back());
  }
  const std::vector<Bucket> decades = histogram({0.001f, 0.005f, 0.05f, 0.5f, 1.0f}, 3);
  ASSERT_EQ(decades.size(), 3u);
  EXPECT_EQ(decades[0].count, 2);
  EXPECT_EQ(decades[1].count, 1);
  EXPECT_EQ(decades[2].count, 2);
}

TEST(BenchServeStats, PlotIsALineABucket) {
  EXPECT_EQ(plot("t", {{0.001, 1}, {0.01, 0}, {0.1, 400}}),
            "t\n"
            "  <      1.000 ms |#                                       | 1\n"
            "  <     10.000 ms |                                        | 0\n"
            "  <    100.000 ms |########################################| 400\n");
}

RequestResult success(double start, double first, double last, double done, int64_t tokens) {
  RequestResult result;
  result.start = start;
  result.generate = 3;
  result.times.first_token = first;
  result.times.last_token = last;
  result.times.done = done;
  result.times.gaps = {static_cast<float>(last - first)};
  result.times.events = 2;
  result.times.prompt_tokens = 10;
  result.times.output_tokens = tokens;
  return result;
}

RequestResult failure(FailureKind kind, int status, const char* message) {
  RequestResult result;
  result.times.output_tokens = 1000;
  result.times.events = 7;
  result.failure = {kind, status, message};
  return result;
}

TEST(BenchServeReport, AddsUp) {
  BenchServeLimits limits;
  limits.records = 5;
  Measurements m(limits);
  m.add(success(1, 2, 4, 5, 3));
  m.add(success(2, 4, 4.5, 6, 2));
  m.add(failure(FailureKind::kHttpStatus, 503, "full"));
  m.add(failure(FailureKind::kHttpStatus, 503, "fuller"));
  m.add(failure(FailureKind::kTimeout, 0, "late"));
  m.add(failure(FailureKind::kInterrupted, 0, ""));
  RequestResult textless = success(0, -1, -1, 2, 3);
  textless.times.events = 0;
  textless.times.gaps.clear();
  m.add(textless);
  m.seconds = 4;
  BenchServeOptions options;
  options.url = *parse_server_url("http://a:1/b");
  options.model = "m";
  options.api_key = "secret";

  const std::string text = json_report(options, m);
  EXPECT_EQ(text.find("secret"), std::string::npos);
  const json::value report = json::parse(text);
  const json::value& requests = report.at("requests");
  EXPECT_EQ(requests.at("succeeded").as_int64(), 3);
  EXPECT_EQ(requests.at("failed").as_int64(), 3);
  EXPECT_EQ(requests.at("interrupted").as_int64(), 1);
  EXPECT_EQ(requests.at("textless").as_int64(), 1);
  EXPECT_EQ(requests.at("other_length").as_int64(), 1);
  EXPECT_EQ(report.at("tokens").at("prompt").as_int64(), 30);
  EXPECT_EQ(report.at("tokens").at("output").as_int64(), 8);
  EXPECT_EQ(report.at("tokens").at("events").as_int64(), 4);
  EXPECT_EQ(report.at("requests_per_second").as_double(), 0.75);
  EXPECT_EQ(report.at("output_tokens_per_second").as_double(), 2);
  EXPECT_EQ(report.at("total_tokens_per_second").as_double(), 9.5);
  EXPECT_EQ(report.at("failures"), json::parse(R"([{"kind":"http 503","count":2,"example":"full"},
                            {"kind":"timeout","count":1,"example":"late"}])"));
  EXPECT_EQ(report.at("time_to_first_token").at("count").as_int64(), 2);
  EXPECT_EQ(report.at("time_to_first_token").at("mean").as_double(), 1.5);
  EXPECT_EQ(report.at("inter_token_latency").at("p50").as_double(), 1.25);
  EXPECT_EQ(report.at("time_per_output_token").at("min").as_double(), 0.5);  // 0.5 s by 1 token
  EXPECT_EQ(report.at("time_per_output_token").at("max").as_double(), 1);    // 2 s by 2 tokens
  EXPECT_EQ(report.at("end_to_end").at("max").as_double(), 4);
  EXPECT_EQ(report.at("records").as_array().size(), 5u);
  EXPECT_EQ(report.at("records").as_array().at(2).at("failure").as_string(), "http 503");
  EXPECT_EQ(report.at("records_left_out").as_int64(), 2);

  const std::string shown = text_report(options, m);
  for (const char* part : {"http://a:1/b, model m", "3 succeeded, 3 failed in 4.00 s",
                           "failed: 2 x http 503: full", "0.75 requests/s, 2.0 output tokens/s",
                           "1 replies have no text", "1 requests were cut short"}) {
    EXPECT_NE(shown.find(part), std::string::npos) << part << "\n" << shown;
  }
}

TEST(BenchServeReport, OfNothing) {
  const Measurements m(kLimits);
  const json::value report = json::parse(json_report(BenchServeOptions(), m));
  EXPECT_EQ(report.at("requests_per_second").to_number<double>(), 0);
  EXPECT_EQ(report.at("end_to_end").at("count").as_int64(), 0);
  EXPECT_TRUE(report.at("end_to_end").at("p50").is_null());
  EXPECT_NE(text_report(BenchServeOptions(), m).find("0 succeeded"), std::string::npos);
}

}  // namespace
}  // namespace deltaserve
