// The plan of a load run: the options, and the requests that they make. All random choices depend
// only on the seed and the number of the request.
#pragma once
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/loadgen/limits.h"

namespace deltaserve {

struct ServerUrl {
  std::string host;  // without the brackets of an IPv6 address
  std::string port;
  std::string authority;  // for the Host header
  std::string path;       // in front of "/v1/..."; empty or "/..." without a last '/'
};

// "http://HOST[:PORT][/PATH]"; a "/v1" at the end of the path is dropped, because the paths of the
// requests begin with it. INVALID_ARGUMENT says what is wrong.
absl::StatusOr<ServerUrl> parse_server_url(std::string_view text);

struct BenchServeOptions {
  ServerUrl url;
  std::string model;  // empty: the only one that the server lists
  std::string api_key;
  int clients = 1;
  int64_t prompt = 128;    // tokens
  int64_t generate = 128;  // tokens
  double prompt_spread = 0;
  double generate_spread = 0;
  int64_t requests = 0;  // 0: no bound
  double seconds = 0;    // 0: no bound
  int64_t warmup = 0;
  double rate = 0;  // requests a second; 0: closed loop
  bool chat = false;
  bool text = false;               // prompts are text, as in a chat always
  std::vector<std::string> words;  // of the text; empty: built-in ones
  int64_t vocab = 256;
  uint64_t seed = 1;
  double temperature = 0;
  bool ignore_eos = true;
  bool return_token_ids = false;
  double timeout = 600;  // seconds
};

// A TextScale says how text becomes tokens on the server, as measured by two requests.
struct TextScale {
  double tokens_per_word = 1;
  double fixed_tokens = 0;  // of a chat template and the like
};

struct PlannedRequest {
  std::string body;      // JSON
  int64_t generate = 0;  // tokens asked for
};

class RequestPlan {
 public:
  // The lowest token ids are the special ones of most vocabularies.
  static constexpr int64_t kFirstId = 3;

  // `options` outlives the plan.
  explicit RequestPlan(const BenchServeOptions* options) : options_(*options) {}

  void set_scale(const TextScale& scale) { scale_ = scale; }

  // Returns request `index`; the indices of a warm-up are negative.
  PlannedRequest request(int64_t index) const;
  // Returns a request with exactly `length` words, or token ids, that generates one token.
  PlannedRequest probe(int64_t length, int64_t index) const;

 private:
  PlannedRequest make(int64_t length, int64_t generate, std::mt19937_64* random) const;
  void append_text(int64_t words, std::mt19937_64* random, std::string* out) const;

  const BenchServeOptions& options_;
  TextScale scale_;
};

// Returns the scale from what the server counted for two prompts. Returns INVALID_ARGUMENT if the
// longer one does not have more tokens.
absl::StatusOr<TextScale> scale_from(int64_t words_a, int64_t tokens_a, int64_t words_b,
                                     int64_t tokens_b);

// Returns the words of a text. Returns INVALID_ARGUMENT if there are none, if one is too long, or
// if the text is not UTF-8.
absl::StatusOr<std::vector<std::string>> split_words(std::string_view text,
                                                     const BenchServeLimits& limits);

// Draws the times of Poisson arrivals.
class Arrivals {
 public:
  Arrivals(double rate, uint64_t seed) : rate_(rate), random_(seed) {}

  // Returns the time of the next arrival, in seconds; the first comes after a gap too.
  double next();

 private:
  const double rate_;
  std::mt19937_64 random_;
  double time_ = 0;
};

}  // namespace deltaserve
