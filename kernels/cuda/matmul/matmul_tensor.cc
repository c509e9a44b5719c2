#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/matmul/fragments.h"
#include "kernels/cuda/matmul/tensor_kernels.h"

namespace deltaserve::cuda {
namespace {

// Microseconds of a stage of 64 input features on an H200. The first few tiles of a multiprocessor
// only wait for memory (`alone`); each further one adds to the time. Fitted to measured matmuls of
// 8 to 8,192 rows and nine shapes, for which the choice by these times is at most 4 % slower than
// the fastest kernel (`gpu_bench matmuls`).
struct TileTime {
  TensorKernel kernel;
  int outs;
  double alone, first, each;

  double of(const MatmulCall& call) const {
    const int64_t of_one = (tiles_of(call, outs) + kMultiprocessors - 1) / kMultiprocessors;
    return std::max(alone, first + each * static_cast<double>(of_one));
  }
};
constexpr TileTime kTileTimes[] = {{TensorKernel::kTile128, 128, 1.25, 0, 1.28},
                                   {TensorKernel::kTile64, 64, 0.60, 0.10, 0.345},
                                   {TensorKernel::kTile32, 32, 0.33, 0.10, 0.151}};

int outs_of(TensorKernel kernel) {
  for (const TileTime& time : kTileTimes) {
    if (time.kernel == kernel) return time.outs;
  }
  return 0;
}

}  // namespace

TensorKernel fastest_kernel(const MatmulCall& call, bool wide) {
  constexpr int kMostWideRows = 512;
  if (wide && call.num_rows > kRowTile && call.num_rows <= kMostWideRows && takes_wide(call)) {
    return TensorKernel::kWide;
  }
  // Loading weights straight into registers is at least as fast as the smallest tiles up to 24
  // rows, and with more rows if no multiprocessor has two blocks.
  const bool one_block_each = (call.w.rows + kOutTile - 1) / kOutTile <= kMultiprocessors;
  const int most = one_block_each ? kMaxFewRows : 24;
  if (call.num_rows <= most && takes_few_rows(call)) return TensorKernel::kFewRows;
  const TileTime* fastest = nullptr;
  for (const TileTime& time : kTileTimes) {
    if (!takes_tile(call, time.outs)) continue;
    if (fastest == nullptr || time.of(call) < fastest->of(call)) fastest = &time;
  }
  DS_CHECK(fastest != nullptr);
  return fastest->kernel;
}

bool takes_kernel(const MatmulCall& call, TensorKernel kernel) {
  switch (kernel) {
    case TensorKernel::kAuto: return true;
    case TensorKernel::kFewRows: return takes_few_rows(call);
    case TensorKernel::kWide: return takes_wide(call);
    default: return takes_tile(call, outs_of(kernel));
  }
}

void launch_tensor_matmul(simt::Stream stream, const MatmulCall& call, TensorKernel kernel) {
  DS_CHECK(call.w.dtype == Dtype::kBf16 && call.w.stride % kLoad == 0);
  DS_CHECK(call.x_bf16 != nullptr && call.x_bf16_stride % kLoad == 0);
  const RowFactors& factors = call.factors;
  DS_CHECK(factors.squares == nullptr || factors.parts <= kMostFactorParts);
  DS_CHECK(factors.squares == nullptr || factors.parts == 1 ||
           (call.w.columns % factors.parts == 0 && call.w.columns / factors.parts % kDepth == 0));
  if (call.num_rows == 0) return;
  if (kernel == TensorKernel::kAuto) kernel = fastest_kernel(call);
  DS_CHECK(takes_kernel(call, kernel));
  switch (kernel) {
    case TensorKernel::kFewRows: return launch_few_rows(stream, call);
    case TensorKernel::kWide: return launch_wide(stream, call);
    default: return launch_tile(stream, call, outs_of(kernel));
  }
}

}  // namespace deltaserve::cuda
