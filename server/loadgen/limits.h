// Every limit of `deltaserve bench-serve`, in one table: what it accepts from the command line and
// from the server under test, which is not trusted either.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace deltaserve {

struct BenchServeLimits {
  // ---- The command line. Beyond: a usage error.
  int clients = 4096;
  int64_t requests = int64_t{1} << 32;
  int64_t tokens = int64_t{1} << 24;  // of a prompt, and of a generation
  int64_t vocab = int64_t{1} << 24;
  double seconds = 7 * 24 * 3600;
  double rate = 100'000;                // requests a second
  size_t text_file_bytes = 64u << 20;   // of --prompt-text
  size_t word_bytes = 1024;             // of --prompt-text, between spaces
  size_t credential_bytes = 16 * 1024;  // of the API key, the URL, the model's name

  // ---- Replies. Beyond: the request counts as failed and its connection is closed.
  uint32_t header_bytes = 64 * 1024;
  size_t reply_bytes = 1u << 20;  // that are not a stream: the list of models, an error
  size_t event_bytes = 1u << 20;  // of one event of a stream
  size_t json_depth = 32;
  // A server sends at most one event a token; a few more may flush text that was held back.
  int64_t spare_events = 16;
  int64_t token_count = int64_t{1} << 40;  // in `usage`

  // ---- Bounds of what a run keeps for its reports.
  size_t samples = size_t{1} << 22;  // of a latency; beyond, a uniform sample of all
  size_t records = 100'000;          // requests that the JSON report lists one by one
  size_t message_bytes = 300;        // of a foreign error message

  // ---- Times.
  std::chrono::seconds connect{10};
  std::chrono::milliseconds failure_pause{100};  // of a client whose request failed
};

}  // namespace deltaserve
