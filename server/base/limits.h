// This table has every limit of the HTTP front, and those of requests that all fronts share. A
// client that exceeds one gets an error that names it; none of them ends the process. The defaults
// admit a prompt of 64 MiB of text, or of a million token ids, on an otherwise small machine.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "server/base/token_bucket.h"

namespace deltaserve {

struct ServerLimits {
  // ---- Connections. Beyond: 503 and the connection is closed.
  int connections = 1024;
  int connections_per_address = 896;  // of these, so that no address shuts out the others
  int listen_backlog = 1024;

  // ---- A request's head. Beyond: 431 and the connection is closed.
  uint32_t header_bytes = 32 * 1024;
  int header_fields = 100;
  size_t pipelined_bytes = 64 * 1024;  // read ahead while a reply is written; more waits in TCP
  size_t request_id_bytes = 128;       // a longer x-request-id is replaced by one of ours

  // ---- A request's body.
  uint64_t body_bytes = 64u << 20;  // beyond: 413
  // Larger bodies, and messages over gRPC, are parsed by a worker of their own, so that they do not
  // delay the small ones, and count against the next limit. So do larger replies.
  size_t large_body_bytes = 64 * 1024;
  // Bodies beyond this are huge: they have one more worker, so that they do not delay the large
  // ones.
  size_t huge_body_bytes = 1u << 20;
  // All large requests and replies together hold at most this: bytes of bodies as received, whole
  // messages, until their replies end, and what of a reply waits to be sent. Where keys have
  // several owners, no owner holds more than it leaves free. Beyond: 503 with Retry-After,
  // RESOURCE_EXHAUSTED. Eight of the largest requests fit.
  uint64_t total_body_bytes = 512u << 20;

  // ---- Wrong API keys of one address. Beyond: 429 and the connection is closed, over gRPC
  // RESOURCE_EXHAUSTED; the log then has no line for each of them.
  Rate wrong_keys{64, 8};
  // That 429, and the 503 to an owner who has too many grammars waiting, are held back for so long
  // over HTTP: a client that asks again as soon as it is refused asks seldom.
  std::chrono::milliseconds refusal_delay{1000};

  // ---- JSON. Beyond: 400.
  int json_depth = 128;
  int json_values = 1024;      // keys and values outside the parameters below
  size_t string_bytes = 1024;  // of keys everywhere, and of strings outside the parameters below
  // This bounds tools, schemas, chat_template_kwargs, logit_bias and the like: values of them all
  // together, and bytes of one string.
  int nested_values = 16 * 1024;
  size_t nested_string_bytes = 256 * 1024;
  int message_values = 64 * 1024;  // in `messages`; the bytes of its strings only by the body's
  size_t model_name_bytes = 256;
  size_t user_bytes = 512;
  size_t cache_salt_bytes = 256;
  size_t metadata_pairs = 16;
  size_t metadata_key_bytes = 64;
  size_t metadata_value_bytes = 512;

  // ---- Prompts. Beyond: 400.
  int prompts = 256;                             // of one request
  int choices = 256;                             // prompts x n; each is a sequence of the engine
  int choices_per_prompt = 128;                  // n
  int embedding_inputs = 1024;                   // of one request for embeddings
  int64_t embedding_numbers = int64_t{1} << 22;  // of all embeddings of a request, held until then
  int64_t prompt_tokens = int64_t{1} << 24;      // of all prompts of a request
  int64_t max_tokens = int64_t{1} << 24;         // per choice
  int64_t default_max_tokens = 16;               // of a completion that does not say
  int64_t default_chat_max_tokens = 16 * 1024;   // of a chat completion that does not say
  int64_t logprob_entries = int64_t{1} << 21;    // choices x (prompt + generated) x (1 + logprobs),
                                                 // held as text until the reply is written
  int32_t logprobs = 20;
  int stop_strings = 16;
  size_t stop_string_bytes = 256;
  int stop_token_ids = 64;
  int logit_bias_entries = 1024;
  int messages = 4096;
  size_t role_bytes = 64;
  size_t tool_argument_bytes = 1u << 20;  // in all messages together: they are JSON inside JSON
  int structured_choices = 4096;
  int cache_marks = 4;  // cache_control in messages and tools
  // Texts that are tokenised again to place marks: bytes of all of them for one chat. Beyond: the
  // place is not marked.
  size_t mark_text_bytes = 4u << 20;

  // ---- Compiled schemas, expressions and grammars, with the masks of the states that answers have
  // been in (engine/grammar/limits.h bounds a single one).
  // Compiled ones are kept for later requests. Beyond either: the least recently used go.
  size_t cached_grammars = 256;
  size_t cached_grammar_bytes = 128u << 20;
  // This bounds the kept ones and those that requests still use. Beyond: 503 for a new one, and
  // further masks are computed for each token anew.
  size_t grammar_bytes = 256u << 20;

  // ---- Read-aheads, which prepare what the next prompt of a conversation should begin with.
  // Beyond: the oldest that waits is dropped.
  size_t waiting_read_aheads = 64;
  size_t waiting_read_ahead_bytes = 128u << 20;  // of their texts and token ids
  size_t submitted_read_aheads = 2;              // of all, at the engine; the others wait for these

  // ---- Deadlines of requests, as clients give them. Beyond: 400.
  int64_t request_timeout_ms = 24 * 3600 * 1000;

  // ---- Deadlines of connections. Beyond: the connection is closed and its request ends.
  std::chrono::seconds idle{75};    // between requests
  std::chrono::seconds header{10};  // from the first byte of a head to its last; a TLS handshake
  // A body must end, or bring this many bytes a second on average, in each span of body_grace.
  // Beyond: 408 before the connection is closed.
  std::chrono::seconds body_grace{15};
  uint64_t body_bytes_per_second = 128 * 1024;
  std::chrono::seconds write_stall{30};  // for each piece of a reply
  size_t write_piece_bytes = 64 * 1024;
  // The kernel buffers this much of a reply that its client does not read; more stays in the
  // bounded stream, which pauses the sequence. By default it would take megabytes a connection.
  int send_buffer_bytes = 128 * 1024;
  std::chrono::seconds linger{3};  // reads on after a refusal, so that the client can see it
  // A stream that is silent for this long gets a comment, so that proxies keep it open.
  std::chrono::seconds keep_alive{15};
  // When a drain's time is over, the streams that it cut get this long for their last bytes.
  std::chrono::seconds farewell{5};
};

}  // namespace deltaserve
