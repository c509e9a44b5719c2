#include <cublasLt.h>

#include <bit>
#include <map>
#include <utility>
#include <vector>

#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/matmul_library.h"

namespace deltaserve::cuda {
namespace {

constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;  // what NVIDIA recommends for Hopper
constexpr int64_t kTypicalRows =
    128;                             // that LibraryChoice::kOnce chooses for: a large decode batch
constexpr uint32_t kAlignment = 16;  // bytes, of all operands

// Row-major [rows, n] is column-major [n, rows]: the library computes out^T = w x^T.
struct Problem {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t w, x, out;

  Problem(const DeviceMatrix& weights, int64_t rows, int64_t x_stride, int64_t out_stride) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(&operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                   sizeof transposed);
    const auto columns = static_cast<uint64_t>(weights.columns);
    const auto outs = static_cast<uint64_t>(weights.rows);
    const auto count = static_cast<uint64_t>(rows);
    cublasLtMatrixLayoutInit(&w, CUDA_R_16BF, columns, outs, weights.stride);
    cublasLtMatrixLayoutInit(&x, CUDA_R_16BF, columns, count, x_stride);
    cublasLtMatrixLayoutInit(&out, CUDA_R_32F, outs, count, out_stride);
  }
};

bool aligned(const void* data, int64_t stride_bytes) {
  return reinterpret_cast<uintptr_t>(data) % kAlignment == 0 && stride_bytes % kAlignment == 0;
}

class CublasLt final : public ProductLibrary {
 public:
  CublasLt(Runtime& runtime, LibraryChoice choice, cublasLtHandle_t handle,
           Memory<unsigned char> workspace)
      : runtime_(runtime), choice_(choice), handle_(handle), workspace_(std::move(workspace)) {}
  ~CublasLt() override { cublasLtDestroy(handle_); }

  void prepare(const DeviceMatrix& w, int64_t max_rows) override {
    std::vector<Algorithm>& algorithms = algorithms_[{w.rows, w.stride}];
    if (!algorithms.empty()) return;
    if (choice_ == LibraryChoice::kOnce) {
      algorithms.push_back(choose(w, kTypicalRows));
      return;
    }
    for (size_t size = 0; size <= size_of(max_rows); ++size) {
      algorithms.push_back(choose(w, int64_t{1} << size));
    }
  }

  bool multiply(const ProductCall& call) override {
    const auto found = algorithms_.find({call.w.rows, call.w.stride});
    if (found == algorithms_.end()) return false;
    const size_t index = choice_ == LibraryChoice::kOnce ? 0 : size_of(call.num_rows);
    if (index >= found->second.size() || !found->second[index].exists) return false;
    if (!aligned(call.x_bf16, call.x_bf16_stride * 2)) return false;
    if (!aligned(call.out, call.out_stride * 4)) return false;
    Problem problem(call.w, call.num_rows, call.x_bf16_stride, call.out_stride);
    const float one = 1;
    const float kept = call.accumulate ? 1 : 0;
    return cublasLtMatmul(handle_, &problem.operation, &one, call.w.data, &problem.w, call.x_bf16,
                          &problem.x, &kept, call.out, &problem.out, call.out, &problem.out,
                          &found->second[index].algorithm, workspace_.get(), workspace_.bytes(),
                          runtime_.stream().handle) == CUBLAS_STATUS_SUCCESS;
  }

 private:
  struct Algorithm {
    bool exists = false;
    cublasLtMatmulAlgo_t algorithm;
  };

  // Numbers of rows are told apart by the next power of two.
  static size_t size_of(int64_t rows) {
    return static_cast<size_t>(std::bit_width(static_cast<uint64_t>(rows - 1)));
  }

  Algorithm choose(const DeviceMatrix& w, int64_t rows) {
    Problem problem(w, rows, w.stride, (w.rows + 3) / 4 * 4);
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulPreferenceInit(&preference);
    const size_t workspace = workspace_.bytes();
    cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &workspace, sizeof workspace);
    for (const auto operand :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      cublasLtMatmulPreferenceSetAttribute(&preference, operand, &kAlignment, sizeof kAlignment);
    }
    cublasLtMatmulHeuristicResult_t result;
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle_, &problem.operation, &problem.w, &problem.x,
                                       &problem.out, &problem.out, &preference, 1, &result, &count);
    const bool exists =
        status == CUBLAS_STATUS_SUCCESS && count > 0 && result.state == CUBLAS_STATUS_SUCCESS;
    return {exists, result.algo};
  }

  Runtime& runtime_;
  const LibraryChoice choice_;
  cublasLtHandle_t handle_;
  Memory<unsigned char> workspace_;
  std::map<std::pair<int64_t, int64_t>, std::vector<Algorithm>> algorithms_;  // by outputs, stride
};

}  // namespace

std::unique_ptr<ProductLibrary> ProductLibrary::create(Runtime& runtime, LibraryChoice choice) {
  Memory<unsigned char> workspace(runtime, kWorkspaceBytes);
  if (workspace.empty()) return nullptr;
  cublasLtHandle_t handle = nullptr;
  if (cublasLtCreate(&handle) != CUBLAS_STATUS_SUCCESS) return nullptr;
  return std::make_unique<CublasLt>(runtime, choice, handle, std::move(workspace));
}

}  // namespace deltaserve::cuda
