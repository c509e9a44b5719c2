// This table has every limit that the gRPC front adds to those of server/base/limits.h. A client
// that exceeds one gets a status that names it; none of them ends the process.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "server/base/token_bucket.h"

namespace deltaserve {

// FrameRates says how fast one connection may send frames of HTTP/2. A faster one is closed. A
// client that makes a thousand calls a second on one connection stays below all of them.
struct FrameRates {
  Rate streams{1024, 1024};
  Rate resets{512, 128};  // cancelled calls
  Rate pings{128, 16};    // clients measure their bandwidth with them
  Rate settings{32, 2};
  Rate header_bytes{2 << 20, 1 << 20};  // as sent, compressed
  Rate others{16384, 8192};             // frames without data: window updates, continuations
};

struct GrpcLimits {
  // ---- Messages. Beyond: RESOURCE_EXHAUSTED.
  int message_bytes = 65 << 20;  // a prompt of 64 MiB and its parameters
  // Everything but the prompt is bounded by this, for the memory that parameters take: maybe twenty
  // times their bytes on the wire. Beyond: INVALID_ARGUMENT.
  size_t parameter_bytes = 512 * 1024;
  size_t reflection_bytes = 1024;  // of a question to the reflection service; likewise
  // Bounds the metadata of a call, keys included. The library itself refuses more.
  int metadata_bytes = 16 * 1024;

  // ---- Connections. Beyond: closed at once.
  int connections = 1024;
  int connections_per_address = 512;  // so that no address shuts out the others
  FrameRates frames;
  size_t piece_bytes = 16 * 1024;  // of one read, in each direction of a connection

  // ---- Calls. Beyond: RESOURCE_EXHAUSTED at once; on one connection they wait in the client.
  int calls = 4096;
  int streams_per_connection = 1024;

  // ---- Buffers of the library, for all connections together.
  size_t transport_bytes = size_t{1} << 30;

  // ---- Deadlines
  // A client that reads nothing for this long loses its slot; its call ends with ABORTED ...
  std::chrono::milliseconds write_stall{30'000};
  // ... and is cut off when it does not even read that.
  std::chrono::milliseconds stall_grace{5'000};
  std::chrono::milliseconds handshake{10'000};  // TLS, and the first bytes of HTTP/2
  // A silent connection gets a ping, and is closed if no answer comes.
  std::chrono::milliseconds keepalive_time{60'000};
  std::chrono::milliseconds keepalive_timeout{20'000};
  std::chrono::milliseconds idle{300'000};  // no call for this long: closed
  // At shutdown, complete replies get this long to be read.
  std::chrono::milliseconds flush{3'000};

  // Bounds the log-probabilities of prompt tokens in one message, so that it stays far below the
  // 4 MiB that clients take by default.
  int64_t logprob_entries_per_message = 8192;
};

}  // namespace deltaserve
