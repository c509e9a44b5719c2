// The runner chooses the kernel for each matmul and gives it its operands; only the runner knows
// all kernels.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/device/device_memory.h"
#include "kernels/cuda/matmul/matmul.h"
#include "kernels/cuda/matmul/matmul_library.h"
#include "kernels/cuda/matmul/tensor_self_test.h"

namespace deltaserve::cuda {

// Says which kernels multiply by bf16 weights; f32 weights always take launch_plain_matmul.
enum class MatmulKernels : uint8_t {
  // Multiplies decode rows by own kernels and prefill rows by cuBLASLt, with one algorithm for all
  // numbers of rows if one passes the self-test at load: it gives a row the same bits among any
  // others. A row's bits depend on its kind and on no other row.
  kExact,
  // Uses own kernels for both kinds, with the same bits. kExact becomes this without cuBLASLt.
  kTensor,
  // Uses own kernels without tensor cores, with activations that are not rounded. The others become
  // this if tensor cores fail their self-test.
  kPlain,
};

// Rows of activations, [num_rows, w.columns].
struct MatmulRows {
  const float* data = nullptr;     // may be null where `bf16` can be taken
  const uint16_t* bf16 = nullptr;  // the same rounded, or null
  int64_t stride = 0;              // of both
};

// A matmul writes its result here, [num_rows, w.rows].
struct MatmulOut {
  float* data = nullptr;
  int64_t stride = 0;
  // Is true if the matmul may write its rows up to the stride, because no kernel reads the values
  // after its columns.
  bool fills_rows = false;
};

class MatmulRunner {
 public:
  // Matmuls on tensor cores are first compared with plain ones; if they differ, plain ones are
  // used. `runtime` must outlive the runner.
  MatmulRunner(Runtime& runtime, MatmulKernels matmuls);

  // Must be called at load for every weight, before reserve(). `of_prefill` says that it multiplies
  // prefill rows.
  void add_weight(const DeviceMatrix& w, bool of_prefill);
  // Prepares `max_rows` rows, and chooses the library's algorithms for prefill rows. Returns false
  // if there is not enough memory.
  bool reserve(int64_t max_rows);
  size_t bytes() const { return rounded_.bytes(); }

  // out (+)= x w^T of rows of which the first `num_decode` are decode rows.
  void multiply(const DeviceMatrix& w, const MatmulRows& x, int32_t num_rows, int32_t num_decode,
                bool accumulate, const MatmulOut& out);

  // Returns true if matmuls by these weights read MatmulRows::bf16 alone, where rows begin on 16
  // bytes: MatmulRows::data may be null then.
  bool takes_bf16(const DeviceMatrix& w) const;
  // Returns true if multiply_with_end() takes these weights for every number of rows.
  bool takes_ends(const DeviceMatrix& w) const;
  // Does the same as launch_tensor_matmul, for decode rows. x_bf16 may be null; then x is rounded.
  void multiply_with_end(MatmulCall call);

  // Returns a sentence about options that could not be followed; empty if there are none.
  const std::string& warning() const { return warning_; }
  // Names each weight shape's algorithm of the library for prefill rows; empty if it has none.
  std::string library_choices() const;
  // Says which kernels on tensor cores multiply.
  TensorSupport support() const {
    return matmuls_ == MatmulKernels::kPlain ? TensorSupport{} : support_;
  }
  // Returns true if any matmul reads activations as bf16.
  bool rounds_rows() const { return matmuls_ != MatmulKernels::kPlain && max_bf16_columns_ > 0; }

 private:
  using Shape = std::pair<int64_t, int64_t>;  // rows, stride
  static Shape shape_of(const DeviceMatrix& w) { return {w.rows, w.stride}; }

  void warn(const std::string& text);
  void launch_own(const MatmulCall& call);
  // Returns the library's tested algorithm for these prefill rows; null: there is none.
  const LibraryAlgorithm* tested(const MatmulCall& call, const MatmulOut& out);

  Runtime& runtime_;
  MatmulKernels matmuls_;
  TensorSupport support_;
  std::string warning_;
  std::unique_ptr<MatmulLibrary> library_;
  struct Bf16Weight {
    DeviceMatrix w;
    bool of_prefill;
  };
  std::vector<Bf16Weight> bf16_weights_;
  std::map<Shape, std::optional<LibraryAlgorithm>> tested_;  // of kExact
  int64_t max_bf16_columns_ = 0;                             // padded
  Memory<uint16_t> rounded_;  // activations that no kernel has rounded before
};

}  // namespace deltaserve::cuda
