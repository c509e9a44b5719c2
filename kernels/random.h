// Counter-based random numbers: a draw is a pure function of its key and counter, so it does not
// depend on what else was drawn. Philox4x32-10 (Salmon et al., SC 2011).
#pragma once
#include <cstdint>

namespace deltaserve {

struct Philox {
  uint32_t word[4];
};

inline Philox philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t c[4] = {static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
                   static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  uint32_t k[2] = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * c[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * c[2];
    const uint32_t next[4] = {
        static_cast<uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(b),
        static_cast<uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(a)};
    for (int i = 0; i < 4; ++i) c[i] = next[i];
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return {{c[0], c[1], c[2], c[3]}};
}

// Returns a number in [0, 1) made of 53 random bits.
inline double uniform(const Philox& bits) {
  const uint64_t mantissa = (uint64_t{bits.word[0]} << 21) ^ (bits.word[1] >> 11);
  return static_cast<double>(mantissa) * 0x1p-53;
}

}  // namespace deltaserve
