#include "engine/reuse/prefix_keys.h"

#include <openssl/sha.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "kernels/mixer/delta_rule.h"

namespace deltaserve {
namespace {

PrefixKey hash_of(std::string_view bytes) {
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), digest.data());
  PrefixKey key;
  std::copy_n(digest.begin(), key.size(), key.begin());
  return key;
}

}  // namespace

PrefixKeys prefix_keys(const ModelFingerprint& model, const PrefixReuse& reuse,
                       std::span<const int32_t> prompt) {
  const size_t count = prompt.empty() ? 0 : (prompt.size() - 1) / kChunkTokens;
  auto keys = std::make_shared<std::vector<PrefixKey>>();
  keys->reserve(count);
  std::string bytes(model.begin(), model.end());
  bytes.append(reuse.owner.begin(), reuse.owner.end());
  bytes += reuse.salt;
  PrefixKey key = hash_of(bytes);
  for (size_t i = 0; i < count; ++i) {
    bytes.assign(key.begin(), key.end());
    bytes.append(reinterpret_cast<const char*>(prompt.data() + i * kChunkTokens),
                 kChunkTokens * sizeof(int32_t));
    key = hash_of(bytes);
    keys->push_back(key);
  }
  return keys;
}

}  // namespace deltaserve
