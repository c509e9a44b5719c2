// Memory on 64-byte boundaries, allocated once at load. Large arrays request huge pages, because
// weights and states are read from end to end and prefetching stops at the end of a page.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace deltaserve::cpu {

struct FreeAligned {
  void operator()(void* memory) const { std::free(memory); }
};

template <class T>
using AlignedArray = std::unique_ptr<T[], FreeAligned>;

inline constexpr size_t kHugePage = size_t{2} << 20;

// Requests huge pages in memory that begins with one. Rounds down to whole ones, so that nothing
// but the array grows.
inline void ask_for_huge_pages(void* memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
  madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
}

// Returns null if there is not enough memory. The memory is not zeroed.
template <class T>
AlignedArray<T> allocate_aligned(size_t count) {
  const size_t bytes = std::max<size_t>(1, count) * sizeof(T);
  const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
  const size_t rounded = (bytes + 63) / 64 * 64;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, rounded) != 0) return nullptr;
  if (alignment == kHugePage) ask_for_huge_pages(memory, rounded);
  return AlignedArray<T>(static_cast<T*>(memory));
}

// Gives the whole mapping back, which is larger than the array that is aligned in it.
struct Unmap {
  void* mapping = nullptr;
  size_t bytes = 0;
  void operator()(void*) const { munmap(mapping, bytes); }
};

template <class T>
using MappedArray = std::unique_ptr<T[], Unmap>;

// Returns an array of zeros that takes memory from the machine page by page, when it is written.
// Returns null if there is not enough address space.
template <class T>
MappedArray<T> map_zeros(size_t count) {
  const size_t bytes = std::max<size_t>(1, count) * sizeof(T);
  const size_t mapped = bytes + kHugePage;
  void* mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  const size_t past = reinterpret_cast<uintptr_t>(mapping) % kHugePage;
  void* memory = static_cast<unsigned char*>(mapping) + (kHugePage - past) % kHugePage;
  ask_for_huge_pages(memory, bytes);
  return MappedArray<T>(static_cast<T*>(memory), Unmap{mapping, mapped});
}

// Gives the whole pages in a range of a mapped array back to the machine: they are zeros
// afterwards.
inline void give_back_pages(void* memory, size_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t begin = (address + page - 1) / page * page;
  const uintptr_t end = (address + bytes) / page * page;
  if (begin >= end) return;
  madvise(static_cast<unsigned char*>(memory) + (begin - address), end - begin, MADV_DONTNEED);
}

}  // namespace deltaserve::cpu
