// Reserves memory for results of unknown length.
#pragma once
#include <cstddef>

namespace deltaserve {

// Reserves room for `size` items and a quarter more. The factor of two by which containers grow
// would be most of the memory that a long text needs.
template <class Container>
void reserve_sparingly(size_t size, Container* items) {
  if (size > items->capacity()) items->reserve(size + size / 4);
}

}  // namespace deltaserve
