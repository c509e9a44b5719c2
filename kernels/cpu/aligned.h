// Memory on 64-byte boundaries, allocated once at load.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>

namespace deltaserve::cpu {

struct FreeAligned {
  void operator()(void* memory) const { std::free(memory); }
};

template <class T>
using AlignedArray = std::unique_ptr<T[], FreeAligned>;

// Null when the memory is not there. Not zeroed.
template <class T>
AlignedArray<T> allocate_aligned(size_t count) {
  const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
  return AlignedArray<T>(static_cast<T*>(std::aligned_alloc(64, bytes == 0 ? 64 : bytes)));
}

}  // namespace deltaserve::cpu
