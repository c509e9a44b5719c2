// Loaded into a program with LD_PRELOAD: the CPU's kernels then use the one instruction set that
// the environment names. same_bits.py compiles it, so that builds need no option for it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "hwy/highway.h"

namespace {

constexpr const char* kVariable = "DELTASERVE_INSTRUCTION_SET";  // a number of hwy/detect_targets.h

struct Choice {
  Choice() {
    const char* value = std::getenv(kVariable);
    if (value == nullptr) return;
    const int64_t target = std::strtoll(value, nullptr, 10);
    if ((target & hwy::SupportedTargets() & HWY_TARGETS) != target || target == 0) {
      std::fprintf(stderr, "%s=%s: not an instruction set of this machine\n", kVariable, value);
      std::abort();
    }
    hwy::SetSupportedTargetsForTest(target);
  }
};
const Choice kChoice;

}  // namespace

// "NAME NUMBER" a line, the best first.
extern "C" const char* deltaserve_instruction_sets() {
  static std::string text;
  text.clear();
  for (int64_t rest = hwy::SupportedTargets() & HWY_TARGETS; rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    text += hwy::TargetName(target) + (" " + std::to_string(target)) + "\n";
  }
  return text.c_str();
}
