// Room for results whose length nobody knows.
#pragma once
#include <cstddef>

namespace deltaserve {

// Makes room for `size` items with a quarter to spare. The factor of two that containers take by
// themselves would be most of the memory that a long text needs.
template <class Container>
void reserve_sparingly(size_t size, Container* items) {
  if (size > items->capacity()) items->reserve(size + size / 4);
}

}  // namespace deltaserve
