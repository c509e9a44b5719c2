// Steps that have been recorded, by a fingerprint of everything that their kernels' arguments
// follow from. A step with another fingerprint is another step.
#pragma once
#include <cstdint>
#include <cstring>
#include <unordered_map>

#include "kernels/cuda/runtime.h"

namespace deltaserve::cuda {

// Hash of plain data, 64 bits.
class Fingerprint {
 public:
  void add(uint64_t value) {
    hash_ ^= value;
    hash_ *= 0x9e3779b97f4a7c15u;
    hash_ ^= hash_ >> 32;
  }
  // Of the bytes of a struct, padding included: a difference there costs a recording, no result.
  void add_bytes(const void* data, size_t bytes) {
    const auto* from = static_cast<const unsigned char*>(data);
    for (; bytes > 0; from += sizeof(uint64_t)) {
      const size_t size = bytes < sizeof(uint64_t) ? bytes : sizeof(uint64_t);
      uint64_t word = 0;
      std::memcpy(&word, from, size);
      add(word);
      bytes -= size;
    }
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

class Recordings {
 public:
  // `runtime` must outlive it.
  explicit Recordings(Runtime& runtime) : runtime_(runtime) { entries_.reserve(kMaxEntries); }

  // Has the work of launch() done, which must be the same whenever the fingerprint is. The first
  // time launches it: what is seen once is not worth a recording, and a kernel's first launch may
  // load it, which no recording allows. The second time records it, and from then on it is played.
  template <class Launch>
  void run(uint64_t fingerprint, const Launch& launch) {
    if (!runtime_.can_record()) return launch();
    const auto found = entries_.find(fingerprint);
    if (found == entries_.end()) {
      if (entries_.size() < kMaxEntries) entries_[fingerprint] = {};
      return launch();
    }
    Entry& entry = found->second;
    if (!entry.tried) {
      entry.tried = true;
      runtime_.begin_recording();
      launch();
      entry.recording = runtime_.end_recording();
    }
    if (entry.recording == 0) return launch();
    runtime_.play(entry.recording);
  }

 private:
  static constexpr size_t kMaxEntries = 256;  // each may hold megabytes of the device's memory

  struct Entry {
    bool tried = false;
    uint64_t recording = 0;  // 0 = none
  };

  Runtime& runtime_;
  std::unordered_map<uint64_t, Entry> entries_;
};

}  // namespace deltaserve::cuda
