// Tests hand memory of host containers to kernels. On a GPU this makes it reachable from there:
// while tests run, all of `new` lies in one arena of pinned memory, whose addresses are the
// device's too. Freed blocks are kept by size and used again.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>

namespace {

constexpr size_t kArenaBytes = size_t{2} << 30;
constexpr size_t kAlignment = 256;
constexpr int kClasses = 64;

// Sizes of blocks are powers of two: class c holds 2^c bytes.
int class_of(size_t bytes) {
  int c = 8;
  while ((size_t{1} << c) < bytes) ++c;
  return c;
}

struct Free {
  Free* next;
};

class Arena {
 public:
  // False, with a message: there is no GPU. Before that, memory is the host's only.
  bool start() {
    void* memory = nullptr;
    const cudaError_t error = cudaHostAlloc(&memory, kArenaBytes, cudaHostAllocMapped);
    if (error != cudaSuccess) std::fprintf(stderr, "no GPU: %s\n", cudaGetErrorString(error));
    const std::lock_guard<std::mutex> lock(mutex_);
    begin_ = static_cast<unsigned char*>(memory);
    return error == cudaSuccess;
  }
  void* allocate(size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (begin_ == nullptr) return std::malloc(bytes);
    const int c = class_of(bytes);
    if (free_[c] != nullptr) {
      Free* block = free_[c];
      free_[c] = block->next;
      return block;
    }
    const size_t size = size_t{1} << c;
    if (used_ + size > kArenaBytes) return nullptr;
    void* block = begin_ + used_;
    used_ += size;
    return block;
  }
  void release(void* memory, size_t bytes) {
    auto* block = static_cast<unsigned char*>(memory);
    if (begin_ == nullptr || block < begin_ || block >= begin_ + kArenaBytes)
      return std::free(memory);
    const std::lock_guard<std::mutex> lock(mutex_);
    const int c = class_of(bytes);
    free_[c] = new (memory) Free{free_[c]};
  }

 private:
  std::mutex mutex_;
  unsigned char* begin_ = nullptr;
  size_t used_ = 0;
  Free* free_[kClasses] = {};
};

Arena& arena() {
  static Arena arena;
  return arena;
}

// The size stands in front of the block, where delete finds it.
void* allocate(size_t bytes) {
  void* memory = arena().allocate(bytes + kAlignment);
  if (memory == nullptr) throw std::bad_alloc();
  *static_cast<size_t*>(memory) = bytes + kAlignment;
  return static_cast<unsigned char*>(memory) + kAlignment;
}
void release(void* memory) {
  if (memory == nullptr) return;
  auto* block = static_cast<unsigned char*>(memory) - kAlignment;
  arena().release(block, *reinterpret_cast<size_t*>(block));
}

}  // namespace

void* operator new(size_t bytes) {
  return allocate(bytes);
}
void* operator new[](size_t bytes) {
  return allocate(bytes);
}
void* operator new(size_t bytes, std::align_val_t) {
  return allocate(bytes);
}
void* operator new[](size_t bytes, std::align_val_t) {
  return allocate(bytes);
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, size_t, std::align_val_t) noexcept {
  release(memory);
}

int main(int argc, char** argv) {
  if (!arena().start()) return 1;
  testing::InitGoogleTest(&argc, argv);
  const int failed = RUN_ALL_TESTS();
  std::fflush(nullptr);
  // No destructor runs: CUDA, and with it the memory they would touch, may be gone before them.
  std::_Exit(failed);
}
