#include "kernels/cpu/integer_path.h"

#include <cstring>
#include <random>
#include <vector>

#include "hwy/highway.h"
#include "kernels/cpu/matmul.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace deltaserve::cpu {
namespace {

// The 256-bit form of VNNI, on processors without AVX-512.
bool has_avx_vnni() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
#else
  return false;
#endif
}

bool has_avx512_vnni() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

int64_t target() {
  const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets & -targets;
}

const char* path_name(IntegerPath path) {
  return path == IntegerPath::kQuads ? "four-byte" : "two-byte";
}

bool agrees_with_plain(IntegerPath path, WeightFormat format) {
  constexpr int kOutputs = 70, kColumns = 300, kRows = 40;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> weights(kOutputs * kColumns), x(kRows * kColumns);
  for (float& value : weights) value = normal(random);
  for (float& value : x) value = normal(random);
  ThreadPool one(1);
  const HostMatrix source = {weights.data(), Dtype::kF32, kOutputs, kColumns};
  const PackedMatrix packed = pack_matrix(&source, 1, format, one);
  QuantizedRows scratch;
  if (packed.data == nullptr || !scratch.reserve(kRows, kColumns)) return false;
  const auto product = [&](int rows, IntegerPath by) {
    std::vector<float> out(static_cast<size_t>(kRows * kOutputs));
    matmul(x.data(), kColumns, packed, rows, false, out.data(), kOutputs, by, scratch, one);
    return out;
  };
  for (const int rows : {1, 5, kRows}) {
    const std::vector<float> fast = product(rows, path);
    const std::vector<float> plain = product(rows, IntegerPath::kPlain);
    if (std::memcmp(fast.data(), plain.data(), fast.size() * sizeof(float)) != 0) return false;
  }
  return true;
}

IntegerSupport choose() {
  IntegerSupport support;
  for (const IntegerPath path : {IntegerPath::kQuads, IntegerPath::kPairs}) {
    // Without its instruction kQuads is right, but slower than kPairs.
    const bool fast = path != IntegerPath::kQuads || has_avx512_vnni() || has_avx_vnni();
    if (!fast || !supports_path(path)) continue;
    if (agrees_with_plain(path, WeightFormat::kInt8) &&
        agrees_with_plain(path, WeightFormat::kInt4)) {
      support.path = path;
      return support;
    }
    support.warning += std::string(support.warning.empty() ? "" : "; ") + "this processor's " +
                       path_name(path) + " products of integers are wrong and stay off";
  }
  return support;
}

}  // namespace

bool supports_path(IntegerPath path) {
  if (path != IntegerPath::kQuads) return true;
  const int64_t best = target();
  if (best <= HWY_AVX3) return has_avx512_vnni();
  return best != HWY_AVX2 || has_avx_vnni();
}

const IntegerSupport& integer_support() {
  static const IntegerSupport support = choose();
  return support;
}

}  // namespace deltaserve::cpu
