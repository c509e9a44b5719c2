// Settings by which tests control the stand-in for the library in matmul_library_host.cc.
#pragma once

namespace deltaserve::cuda {

struct PretendedLibrary {
  bool is_there = true;
  // The first three candidates are faulty: the first splits sums over the inner index if there are
  // few rows, so that a row's bits depend on their number; the second leaves out the last of more
  // than 4 rows; the third refuses 3 rows. If this is set, there is a fourth, which is correct.
  bool has_good_candidate = true;
};
inline PretendedLibrary pretended_library;

}  // namespace deltaserve::cuda
