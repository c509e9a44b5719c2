// DS_CHECK tests our own invariants and never input. A failed check prints where and what, then
// aborts.
#pragma once
#include <cstdio>
#include <cstdlib>

namespace deltaserve {

[[noreturn]] inline void check_failed(const char* file, int line, const char* what) {
  std::fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, what);
  std::abort();
}

}  // namespace deltaserve

#define DS_CHECK(condition)                                                       \
  do {                                                                            \
    if (!(condition)) ::deltaserve::check_failed(__FILE__, __LINE__, #condition); \
  } while (false)
