// These types say what a request shares with others: whose history it may use, and which places of
// its prompt later prompts are likely to begin with.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace deltaserve {

// Identifies the numbers that a model computes (models/fingerprint.h): models with different
// fingerprints never share states.
using ModelFingerprint = std::array<uint8_t, 16>;

// Identifies who sends a request. Requests of different owners never share a state.
using PrefixOwner = std::array<uint8_t, 16>;

// Says why a state is kept. Kinds are ordered by how likely it is that a later prompt begins there,
// the likeliest first.
enum class SnapshotKind : uint8_t {
  kBoundary,    // after the system prompt and tools, or before the generation prompt
  kMark,        // where the client asks for it (cache_control)
  kReadAhead,   // the end of a read-ahead
  kDivergence,  // where a second prompt parted from a first
  kPromptEnd,   // the last grid point of a prompt
  kLadder,      // one of few places further and further back from a prompt's end
};

// A place of a prompt whose state is worth keeping: after its first `position` tokens. The kept
// state is that of the last grid point up to there.
struct PrefixMark {
  int64_t position = 0;
  SnapshotKind kind = SnapshotKind::kMark;
};

struct PrefixReuse {
  PrefixOwner owner{};
  std::string salt;  // requests of different salts share nothing either (cache_salt)
  std::vector<PrefixMark> marks;
  // The request only prepares what a later prompt is expected to begin with: it waits after all
  // others and gives up its slot to any of them. Requires max_tokens 0.
  bool read_ahead = false;
};

}  // namespace deltaserve
