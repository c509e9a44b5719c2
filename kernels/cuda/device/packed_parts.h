// Lays out arrays one after the other in one piece of memory, on the host and on the device, so
// that one copy transfers all of them.
#pragma once
#include <cstdint>

namespace deltaserve::cuda {

struct PackedParts {
  template <class T>
  struct Part {
    int64_t offset = 0;  // bytes

    T* at(unsigned char* memory) const { return reinterpret_cast<T*>(memory + offset); }
  };

  int64_t bytes = 0;  // of all parts so far

 protected:
  template <class T>
  Part<T> take(int64_t count) {
    const Part<T> part = {bytes};
    bytes += (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
    return part;
  }
};

}  // namespace deltaserve::cuda
