#include "kernels/cpu/matmul/matmul_support.h"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "hwy/highway.h"
#include "kernels/base/dtype.h"
#include "kernels/cpu/matmul/matmul.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace deltaserve::cpu {
namespace {

#if defined(__x86_64__)
bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512vnni");
}
bool has_avx512_bf16() {
  return __builtin_cpu_supports("avx512bf16");
}
// Returns true if the processor has the 256-bit form of VNNI, which exists without AVX-512.
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}
#else
constexpr bool has_avx512_vnni() {
  return false;
}
constexpr bool has_avx512_bf16() {
  return false;
}
constexpr bool has_avx_vnni() {
  return false;
}
#endif

int64_t target() {
  const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets & -targets;
}

const char* path_name(IntegerPath path) {
  return path == IntegerPath::kQuads ? "four-byte integer products" : "two-byte integer products";
}

// A small matmul for the self-tests, with more input features than one run of int8's blocks.
struct Trial {
  static constexpr int kOutputs = 70, kColumns = 700, kRows = 40;
  static_assert(kColumns > kInt8RunBlocks * kActivationBlock);

  std::vector<float> weights, x;
  ThreadPool one{1};
  PackedMatrix packed;
  ActivationRows scratch;

  Trial(WeightFormat format, Bf16Panels panels)
      : weights(kOutputs * kColumns), x(kRows * kColumns) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    // Both operands are bf16 numbers, so that the exact sum is known.
    for (float& value : weights) value = bf16_to_f32(f32_to_bf16(normal(random)));
    for (float& value : x) value = bf16_to_f32(f32_to_bf16(normal(random)));
    const HostMatrix source = {weights.data(), Dtype::kF32, kOutputs, kColumns};
    packed = pack_matrix(&source, 1, format, one, panels);
  }
  bool ready() { return packed.data != nullptr && scratch.reserve(kRows, kColumns); }
  std::vector<float> multiply(int rows, IntegerPath by) {
    std::vector<float> out(static_cast<size_t>(kRows * kOutputs));
    matmul(x.data(), kColumns, packed, rows, false, out.data(), kOutputs, by, scratch, one);
    return out;
  }
};

bool agrees_with_plain(IntegerPath path, WeightFormat format) {
  Trial trial(format, Bf16Panels::kSingles);
  if (!trial.ready()) return false;
  for (const int rows : {1, 5, Trial::kRows}) {
    const std::vector<float> fast = trial.multiply(rows, path);
    const std::vector<float> plain = trial.multiply(rows, IntegerPath::kPlain);
    if (std::memcmp(fast.data(), plain.data(), fast.size() * sizeof(float)) != 0) return false;
  }
  return true;
}

bool agrees_with_double(Bf16Panels panels) {
  constexpr size_t kOutputs = Trial::kOutputs, kColumns = Trial::kColumns;
  Trial trial(WeightFormat::kBf16, panels);
  if (!trial.ready()) return false;
  for (const int rows : {1, 5, Trial::kRows}) {
    const std::vector<float> fast = trial.multiply(rows, IntegerPath::kPlain);
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
      for (size_t o = 0; o < kOutputs; ++o) {
        double sum = 0, size = 0;
        for (size_t k = 0; k < kColumns; ++k) {
          const double term = double{trial.weights[o * kColumns + k]} * trial.x[r * kColumns + k];
          sum += term;
          size += std::abs(term);
        }
        const double error = fast[r * kOutputs + o] - sum;
        if (!(std::abs(error) <= 1e-5 * size)) return false;
      }
    }
  }
  return true;
}

void warn(MatmulSupport& support, const char* what) {
  support.warning += std::string(support.warning.empty() ? "" : "; ") + "this processor's " + what +
                     " failed the self-test and are not used";
}

MatmulSupport choose() {
  MatmulSupport support;
  // Without their instructions, kQuads and pairs of bf16 give right results but are slower than the
  // others.
  if (target() <= HWY_AVX3 && has_avx512_bf16()) {
    if (agrees_with_double(Bf16Panels::kPairs)) {
      support.bf16 = Bf16Panels::kPairs;
    } else {
      warn(support, "bf16 pair products");
    }
  }
  for (const IntegerPath path : {IntegerPath::kQuads, IntegerPath::kPairs}) {
    const bool fast = path != IntegerPath::kQuads || has_avx512_vnni() || has_avx_vnni();
    if (!fast || !supports(path)) continue;
    if (agrees_with_plain(path, WeightFormat::kInt8) &&
        agrees_with_plain(path, WeightFormat::kInt4)) {
      support.integers = path;
      return support;
    }
    warn(support, path_name(path));
  }
  return support;
}

}  // namespace

bool supports(IntegerPath path) {
  if (path != IntegerPath::kQuads) return true;
  const int64_t best = target();
  if (best <= HWY_AVX3) return has_avx512_vnni();
  return best != HWY_AVX2 || has_avx_vnni();
}

bool supports(Bf16Panels panels) {
  return panels == Bf16Panels::kSingles || target() > HWY_AVX3 || has_avx512_bf16();
}

const MatmulSupport& matmul_support() {
  static const MatmulSupport support = choose();
  return support;
}

}  // namespace deltaserve::cpu
