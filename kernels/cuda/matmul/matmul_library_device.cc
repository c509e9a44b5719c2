#include <cublasLt.h>

#include <algorithm>
#include <utility>

#include "kernels/cuda/device/device_memory.h"
#include "kernels/cuda/matmul/matmul_library.h"

namespace deltaserve::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA recommends for Hopper
constexpr uint32_t kAlignment = 16;                   // bytes, of all operands and their rows
constexpr int kMostCandidates = 16;

static_assert(sizeof(LibraryAlgorithm::data) == sizeof(cublasLtMatmulAlgo_t));

const cublasLtMatmulAlgo_t* algorithm_of(const LibraryAlgorithm& algorithm) {
  return reinterpret_cast<const cublasLtMatmulAlgo_t*>(algorithm.data);
}

// Row-major [rows, n] is column-major [n, rows]: the library computes out^T = w x^T.
struct Problem {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t w, x, out;

  explicit Problem(const MatmulCall& call) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(&operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                   sizeof transposed);
    const auto columns = static_cast<uint64_t>(call.w.stride);  // zeros from w.columns on
    const auto outs = static_cast<uint64_t>(call.w.rows + call.w.padding);
    const auto count = static_cast<uint64_t>(call.num_rows);
    cublasLtMatrixLayoutInit(&w, CUDA_R_16BF, columns, outs, call.w.stride);
    cublasLtMatrixLayoutInit(&x, CUDA_R_16BF, columns, count, call.x_bf16_stride);
    cublasLtMatrixLayoutInit(&out, CUDA_R_32F, outs, count, call.out_stride);
  }
};

bool aligned(const void* data, int64_t stride_bytes) {
  return reinterpret_cast<uintptr_t>(data) % kAlignment == 0 && stride_bytes % kAlignment == 0;
}

template <class T>
T setting(const LibraryAlgorithm& algorithm, cublasLtMatmulAlgoConfigAttributes_t which) {
  T value = {};
  size_t written = 0;
  cublasLtMatmulAlgoConfigGetAttribute(algorithm_of(algorithm), which, &value, sizeof value,
                                       &written);
  return value;
}

class CublasLt final : public MatmulLibrary {
 public:
  CublasLt(Runtime& runtime, cublasLtHandle_t handle, Memory<unsigned char> workspace)
      : runtime_(runtime), handle_(handle), workspace_(std::move(workspace)) {}
  ~CublasLt() override { cublasLtDestroy(handle_); }

  std::vector<LibraryAlgorithm> candidates(const MatmulCall& call, int most, bool whole) override {
    Problem problem(call);
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulPreferenceInit(&preference);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, auto value) {
      cublasLtMatmulPreferenceSetAttribute(&preference, which, &value, sizeof value);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, whole ? size_t{0} : workspace_.bytes());
    if (whole) {
      prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
    }
    for (const auto operand :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(operand, kAlignment);
    }
    cublasLtMatmulHeuristicResult_t results[kMostCandidates];
    most = std::min(most, kMostCandidates);
    int count = 0;
    if (cublasLtMatmulAlgoGetHeuristic(handle_, &problem.operation, &problem.w, &problem.x,
                                       &problem.out, &problem.out, &preference, most, results,
                                       &count) != CUBLAS_STATUS_SUCCESS) {
      count = 0;
    }
    std::vector<LibraryAlgorithm> found;
    for (int i = 0; i < count; ++i) {
      const cublasLtMatmulHeuristicResult_t& result = results[i];
      if (result.state != CUBLAS_STATUS_SUCCESS) continue;
      LibraryAlgorithm algorithm;
      algorithm.whole = whole;
      for (int j = 0; j < 8; ++j) algorithm.data[j] = result.algo.data[j];
      const bool splits = setting<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) > 1 ||
                          setting<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) !=
                              CUBLASLT_REDUCTION_SCHEME_NONE;
      if (!whole || (!splits && result.workspaceSize == 0)) found.push_back(algorithm);
    }
    return found;
  }

  bool takes(const LibraryAlgorithm& algorithm, const MatmulCall& call) override {
    Problem problem(call);
    cublasLtMatmulHeuristicResult_t result;
    return cublasLtMatmulAlgoCheck(handle_, &problem.operation, &problem.w, &problem.x,
                                   &problem.out, &problem.out, algorithm_of(algorithm),
                                   &result) == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= workspace_of(algorithm);
  }

  bool multiply(const LibraryAlgorithm& algorithm, const MatmulCall& call) override {
    if (!aligned(call.w.data, call.w.stride * 2)) return false;
    if (!aligned(call.x_bf16, call.x_bf16_stride * 2)) return false;
    if (!aligned(call.out, call.out_stride * 4)) return false;
    Problem problem(call);
    const float one = 1;
    const float kept = call.accumulate ? 1 : 0;
    const cublasStatus_t status = cublasLtMatmul(
        handle_, &problem.operation, &one, call.w.data, &problem.w, call.x_bf16, &problem.x, &kept,
        call.out, &problem.out, call.out, &problem.out, algorithm_of(algorithm), workspace_.get(),
        workspace_of(algorithm), runtime_.stream().handle);
    if (simt::launch_observer) simt::launch_observer(runtime_.stream(), nullptr);
    return status == CUBLAS_STATUS_SUCCESS;
  }

  std::string name(const LibraryAlgorithm& algorithm) const override {
    const auto number = [&](cublasLtMatmulAlgoConfigAttributes_t which) {
      return std::to_string(setting<int32_t>(algorithm, which));
    };
    const auto small = [&](cublasLtMatmulAlgoConfigAttributes_t which) {
      return std::to_string(setting<uint16_t>(algorithm, which));
    };
    return "algorithm " + number(CUBLASLT_ALGO_CONFIG_ID) + " tile " +
           number(CUBLASLT_ALGO_CONFIG_TILE_ID) + " stages " +
           number(CUBLASLT_ALGO_CONFIG_STAGES_ID) + " split " +
           number(CUBLASLT_ALGO_CONFIG_SPLITK_NUM) + " swizzle " +
           number(CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING) + " custom " +
           number(CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION) + " inner " +
           small(CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID) + " cluster " +
           small(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID);
  }

 private:
  size_t workspace_of(const LibraryAlgorithm& algorithm) const {
    return algorithm.whole ? 0 : workspace_.bytes();
  }

  Runtime& runtime_;
  cublasLtHandle_t handle_;
  Memory<unsigned char> workspace_;
};

}  // namespace

std::unique_ptr<MatmulLibrary> MatmulLibrary::create(Runtime& runtime) {
  Memory<unsigned char> workspace(runtime, kWorkspaceBytes);
  if (workspace.empty()) return nullptr;
  cublasLtHandle_t handle = nullptr;
  if (cublasLtCreate(&handle) != CUBLAS_STATUS_SUCCESS) return nullptr;
  return std::make_unique<CublasLt>(runtime, handle, std::move(workspace));
}

}  // namespace deltaserve::cuda
