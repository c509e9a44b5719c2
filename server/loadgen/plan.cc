#include "server/loadgen/plan.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <charconv>
#include <cmath>

#include "engine/sequence/text_emitter.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr std::string_view kScheme = "http://";
constexpr std::string_view kSpace = " \t\r\n\f\v";
constexpr std::string_view kWords[] = {
    "the",   "people", "of",    "house",  "water", "and",   "long",   "river",  "a",    "small",
    "light", "in",     "city",  "stone",  "under", "green", "with",   "number", "year", "on",
    "fire",  "answer", "paper", "music",  "old",   "to",    "winter", "road",   "from", "metal",
    "first", "letter", "that",  "garden", "mind",  "night", "wind",   "train",  "for",  "story"};

uint64_t mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

std::mt19937_64 random_of(uint64_t seed, int64_t index) {
  return std::mt19937_64(mix(mix(seed) + static_cast<uint64_t>(index)));
}

// Returns a number in [0, 1).
double uniform(std::mt19937_64* random) {
  return static_cast<double>((*random)() >> 11) * 0x1p-53;
}

// Returns a number in count * (1 - spread) to count * (1 + spread), at least 1.
int64_t spread_count(int64_t count, double spread, std::mt19937_64* random) {
  const auto reach = static_cast<int64_t>(static_cast<double>(count) * spread);
  if (reach == 0) return count;
  const auto width = static_cast<double>(2 * reach + 1);
  return std::max<int64_t>(1, count - reach + static_cast<int64_t>(uniform(random) * width));
}

void append_ids(int64_t count, int64_t vocab, std::mt19937_64* random, std::string* out) {
  const auto range = static_cast<uint64_t>(vocab - RequestPlan::kFirstId);
  out->push_back('[');
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) out->push_back(',');
    absl::StrAppend(out, RequestPlan::kFirstId + static_cast<int64_t>((*random)() % range));
  }
  out->push_back(']');
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), port);
  return ec == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

absl::Status split_authority(std::string_view authority, ServerUrl* url) {
  std::string_view port = "80";
  std::string_view host = authority;
  if (host.starts_with('[')) {
    const size_t close = host.find(']');
    if (close == std::string_view::npos) return invalid_argument("--url: ']' is missing");
    const std::string_view rest = host.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') return invalid_argument("--url: no ':' after ']'");
    if (!rest.empty()) port = rest.substr(1);
    host = host.substr(1, close - 1);
  } else if (const size_t colon = host.find(':'); colon != std::string_view::npos) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  if (host.empty()) return invalid_argument("--url: the host is missing");
  if (!is_port(port)) return invalid_argument("--url: ", quoted(port), " is not a port");
  url->host = host;
  url->port = port;
  url->authority = authority;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ServerUrl> parse_server_url(std::string_view text) {
  if (text.starts_with("https://")) {
    return invalid_argument(
        "--url: bench-serve speaks plain http:// only; measure behind the proxy that ends TLS");
  }
  if (!text.starts_with(kScheme)) {
    return invalid_argument("--url must begin with http://, not be ", quoted(text));
  }
  text.remove_prefix(kScheme.size());
  for (const char c : text) {
    if (c <= ' ' || c >= 0x7f)
      return invalid_argument("--url has a character that must be escaped");
  }
  if (text.find_first_of("?#@") != std::string_view::npos) {
    return invalid_argument("--url takes no user, query or fragment; a key goes into --api-key");
  }
  const size_t slash = text.find('/');
  ServerUrl url;
  if (absl::Status status = split_authority(text.substr(0, slash), &url); !status.ok()) {
    return status;
  }
  std::string_view path = slash == std::string_view::npos ? "" : text.substr(slash);
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.ends_with("/v1")) path.remove_suffix(3);
  url.path = path;
  return url;
}

PlannedRequest RequestPlan::request(int64_t index) const {
  std::mt19937_64 random = random_of(options_.seed, index);
  const int64_t generate = spread_count(options_.generate, options_.generate_spread, &random);
  int64_t length = spread_count(options_.prompt, options_.prompt_spread, &random);
  if (options_.text) {
    const double words =
        (static_cast<double>(length) - scale_.fixed_tokens) / scale_.tokens_per_word;
    length = std::max<int64_t>(1, std::llround(words));
  }
  return make(length, generate, &random);
}

PlannedRequest RequestPlan::probe(int64_t length, int64_t index) const {
  std::mt19937_64 random = random_of(options_.seed, index);
  return make(length, 1, &random);
}

PlannedRequest RequestPlan::make(int64_t length, int64_t generate, std::mt19937_64* random) const {
  PlannedRequest planned;
  planned.generate = generate;
  std::string& body = planned.body;
  body = str_cat("{\"model\":", json::serialize(json::value(options_.model)));
  if (options_.chat) {
    body.append(",\"messages\":[{\"role\":\"user\",\"content\":");
    append_text(length, random, &body);
    body.append("}]");
  } else {
    body.append(",\"prompt\":");
    options_.text ? append_text(length, random, &body)
                  : append_ids(length, options_.vocab, random, &body);
  }
  absl::StrAppend(&body, ",\"max_tokens\":", generate, ",\"temperature\":", options_.temperature,
                  ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
  if (options_.ignore_eos) body.append(",\"ignore_eos\":true");
  if (options_.return_token_ids) body.append(",\"return_token_ids\":true");
  body.push_back('}');
  return planned;
}

// Words of a file keep their order and begin at a random one, in a circle; built-in ones are drawn.
void RequestPlan::append_text(int64_t words, std::mt19937_64* random, std::string* out) const {
  std::string text;
  const size_t num_words = options_.words.size();
  size_t next = num_words > 0 ? (*random)() % num_words : 0;
  for (int64_t i = 0; i < words; ++i) {
    if (i > 0) text.push_back(' ');
    if (num_words > 0) {
      text.append(options_.words[next]);
      next = (next + 1) % num_words;
    } else {
      text.append(kWords[(*random)() % std::size(kWords)]);
    }
  }
  out->append(json::serialize(json::value(text)));
}

absl::StatusOr<TextScale> scale_from(int64_t words_a, int64_t tokens_a, int64_t words_b,
                                     int64_t tokens_b) {
  if (words_b <= words_a || tokens_b <= tokens_a) {
    return invalid_argument("the server counts ", tokens_a, " tokens for ", words_a, " words and ",
                            tokens_b, " for ", words_b,
                            ": there is no telling how long a text must be");
  }
  TextScale scale;
  scale.tokens_per_word =
      static_cast<double>(tokens_b - tokens_a) / static_cast<double>(words_b - words_a);
  scale.fixed_tokens = std::max(
      0.0, static_cast<double>(tokens_a) - scale.tokens_per_word * static_cast<double>(words_a));
  return scale;
}

absl::StatusOr<std::vector<std::string>> split_words(std::string_view text,
                                                     const BenchServeLimits& limits) {
  if (!is_valid_utf8(text)) return invalid_argument("is not UTF-8");
  std::vector<std::string> words;
  for (size_t begin = text.find_first_not_of(kSpace); begin != std::string_view::npos;
       begin = text.find_first_not_of(kSpace, begin)) {
    const size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    if (end - begin > limits.word_bytes) {
      return invalid_argument("has a word of more than ", limits.word_bytes, " bytes");
    }
    words.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  if (words.empty()) return invalid_argument("has no words");
  return words;
}

double Arrivals::next() {
  time_ -= std::log1p(-uniform(&random_)) / rate_;
  return time_;
}

}  // namespace deltaserve
