// Tests set here how the library that matmul_library_host.cc pretends to be behaves.
#pragma once

namespace deltaserve::cuda {

struct PretendedLibrary {
  bool is_there = true;
  // The first of its candidates splits sums over the inner index of few rows, so that a row's bits
  // depend on how many there are; the second leaves the last row out when there are more than 4,
  // the third refuses 3 rows. The fourth does as it should, if this is set.
  bool has_good_candidate = true;
};
inline PretendedLibrary pretended_library;

}  // namespace deltaserve::cuda
