// A pointer to elements that another object owns, and their count. It can cross the boundary of a
// separately loaded module.
#pragma once
#include <cstdint>
#include <type_traits>

namespace deltaserve {

template <class T>
struct Array {
  const T* data = nullptr;
  int64_t count = 0;

  constexpr const T* begin() const { return data; }
  constexpr const T* end() const { return data + count; }
  constexpr const T& operator[](int64_t i) const { return data[i]; }
  constexpr bool empty() const { return count == 0; }
};

// Makes an array of the elements of a contiguous container, which must outlive the array.
template <class Container>
constexpr auto array_of(const Container& elements) {
  using T = std::remove_cvref_t<decltype(*elements.data())>;
  return Array<T>{elements.data(), static_cast<int64_t>(elements.size())};
}

}  // namespace deltaserve
