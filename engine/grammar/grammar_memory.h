// Counts the bytes that compiled grammars and the masks of their states hold together.
#pragma once
#include <atomic>
#include <cstddef>

namespace deltaserve {

// Thread safety: any thread at any time.
class GrammarMemory {
 public:
  explicit GrammarMemory(size_t most) : most_(most) {}

  // Counts `bytes`. Returns false if there is no room; then nothing was counted.
  [[nodiscard]] bool take(size_t bytes) {
    if (used_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= most_) return true;
    give_back(bytes);
    return false;
  }
  void give_back(size_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  size_t used() const { return used_.load(std::memory_order_relaxed); }

 private:
  const size_t most_;
  std::atomic<size_t> used_ = 0;
};

}  // namespace deltaserve
