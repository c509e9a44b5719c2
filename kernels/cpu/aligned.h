// Memory on 64-byte boundaries, allocated once at load.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>

namespace deltaserve::cpu {

struct FreeAligned {
  void operator()(void* memory) const { std::free(memory); }
};

template <class T>
using AlignedArray = std::unique_ptr<T[], FreeAligned>;

// Returns null if the memory cannot be had. The memory is not zeroed. Large arrays ask for huge
// pages: weights and states are read from end to end, and prefetching stops at the end of a page.
template <class T>
AlignedArray<T> allocate_aligned(size_t count) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t bytes = std::max<size_t>(1, count) * sizeof(T);
  const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
  const size_t rounded = (bytes + 63) / 64 * 64;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, rounded) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
  // Rounds down to whole huge pages, so that nothing but the array grows.
  if (alignment == kHugePage) madvise(memory, rounded / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return AlignedArray<T>(static_cast<T*>(memory));
}

}  // namespace deltaserve::cpu
