// Runs a test body once per instruction set that is compiled in and that this machine has.
#pragma once
#include <gtest/gtest.h>

#include "hwy/highway.h"

namespace deltaserve {

#ifdef __SANITIZE_ADDRESS__
// With other flags Highway would silently compile its scalar code instead.
static_assert(HWY_STATIC_TARGET == HWY_AVX2, "the preset asan compiles kernels for AVX2");
#endif

template <class Body>
void on_every_target(const Body& body) {
  for (int64_t rest = hwy::SupportedTargets() & HWY_TARGETS; rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace deltaserve
