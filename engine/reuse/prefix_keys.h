// These keys identify the beginnings of prompts. Key i identifies the first 64 * (i + 1) tokens of
// a prompt together with the model, the prompt's owner and its salt: it hashes key i - 1 and the 64
// tokens after it. So two prompts share a key only if they share everything before it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "engine/reuse/reuse.h"

namespace deltaserve {

// A SHA-256, cut to 128 bits, so that clients cannot make two prompts with the same key.
using PrefixKey = std::array<uint8_t, 16>;

struct PrefixKeyHash {
  size_t operator()(const PrefixKey& key) const {
    size_t hash = 0;
    std::memcpy(&hash, key.data(), sizeof(hash));
    return hash;
  }
};

// Keys of one prompt, shared by the states that are kept of it.
using PrefixKeys = std::shared_ptr<const std::vector<PrefixKey>>;

// Returns the keys of all grid points of the prompt that have a token after them, because a prompt
// computes at least its last token, for the logits.
PrefixKeys prefix_keys(const ModelFingerprint& model, const PrefixReuse& reuse,
                       std::span<const int32_t> prompt);

}  // namespace deltaserve
