// Every limit of the HTTP front, in one table. A client that exceeds one gets an error that names
// it; none of them ends the process. The defaults admit a prompt of 64 MiB of text, or of a million
// token ids, on an otherwise small machine.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace deltaserve {

struct ServerLimits {
  // ---- Connections. Beyond: 503 and the connection is closed.
  int connections = 1024;
  int listen_backlog = 1024;

  // ---- A request's head. Beyond: 431 and the connection is closed.
  uint32_t header_bytes = 32 * 1024;
  int header_fields = 100;
  size_t pipelined_bytes = 64 * 1024;  // read ahead while a reply is written; more waits in TCP
  size_t request_id_bytes = 128;       // a longer x-request-id is replaced by one of ours

  // ---- A request's body.
  uint64_t body_bytes = 64u << 20;  // beyond: 413
  // Larger bodies are parsed by a worker of their own, so that they do not delay the small ones,
  // and count against the next limit.
  size_t large_body_bytes = 64 * 1024;
  // Large bodies and their prompts together, from the head to the end of the reply. Beyond: 503
  // with Retry-After. Eight of the largest requests fit.
  uint64_t total_body_bytes = 512u << 20;

  // ---- JSON. Beyond: 400.
  int json_depth = 32;
  int json_values = 1024;      // keys and values outside `prompt`
  size_t string_bytes = 1024;  // of keys and of strings outside `prompt`
  size_t model_name_bytes = 256;
  size_t user_bytes = 512;

  // ---- Prompts. Beyond: 400.
  int prompts = 256;                           // of one request; each is a sequence of the engine
  int64_t prompt_tokens = int64_t{1} << 24;    // of all prompts of a request
  int64_t max_tokens = int64_t{1} << 24;       // per prompt
  int64_t logprob_entries = int64_t{1} << 21;  // (prompts + generated) x (1 + logprobs), held
                                               // as text until the reply is written
  int32_t logprobs = 20;
  int stop_strings = 16;
  size_t stop_string_bytes = 256;
  int stop_token_ids = 64;

  // ---- Deadlines. Beyond: the connection is closed and its request ends.
  std::chrono::seconds idle{75};                // between requests
  std::chrono::seconds header{10};              // from the first byte of a head to its last
  std::chrono::seconds body_grace{15};          // a body may take this long, and beyond it must ...
  uint64_t body_bytes_per_second = 128 * 1024;  // ... have come at this rate
  std::chrono::seconds write_stall{30};         // for each piece of a reply
  size_t write_piece_bytes = 64 * 1024;
  // Kernel memory for a reply that its client does not read; more stays in the engine's bounded
  // stream, which pauses the sequence. The kernel's own choice would be megabytes a connection.
  int send_buffer_bytes = 128 * 1024;
  std::chrono::seconds linger{3};  // reads on after a refusal, so that the client can see it
};

}  // namespace deltaserve
