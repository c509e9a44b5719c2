#include "kernels/cuda/matmul/matmul_runner.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/matmul/library_self_test.h"

namespace deltaserve::cuda {
namespace {

// Small whole numbers, so that every order of summation gives the same bits.
int test_value(int row, int column) {
  return (row * 7 + column * 5 + row * column) % 9 - 4;
}

// A matmul of odd sizes, with tails in every direction, its operands and its result.
class TestMatmul {
 public:
  static constexpr int kOuts = 43, kRows = 21, kColumns = 4 * kTensorSegment + 72;

  explicit TestMatmul(Runtime& runtime)
      : runtime_(runtime),
        w_(runtime, kOuts * kColumns),
        x_(runtime, kRows * kColumns),
        x_bf16_(runtime, kRows * kColumns),
        out_(runtime, kRows * kOuts) {
    if (empty()) return;
    std::vector<uint16_t> w;
    std::vector<float> x;
    for (int i = 0; i < kOuts * kColumns; ++i) {
      w.push_back(f32_to_bf16(static_cast<float>(test_value(i / kColumns, i % kColumns))));
    }
    for (int i = 0; i < kRows * kColumns; ++i) {
      x.push_back(static_cast<float>(test_value(i % kColumns, i / kColumns)));
    }
    runtime.copy_in(w_.get(), w.data(), w_.bytes());
    runtime.copy_in(x_.get(), x.data(), x_.bytes());
    runtime.synchronize();
  }

  bool empty() const { return w_.empty() || x_.empty() || x_bf16_.empty() || out_.empty(); }

  // Returns the first `rows`, zeros after them; empty where a kernel could not be launched.
  template <class Launch>
  std::vector<float> result(int rows, const Launch& launch) {
    MatmulCall call;
    call.w = {w_.get(), Dtype::kBf16, kOuts, kColumns, kColumns};
    call.x = x_.get();
    call.x_bf16 = x_bf16_.get();
    call.x_stride = call.x_bf16_stride = kColumns;
    call.out = out_.get();
    call.out_stride = kOuts;
    call.num_rows = rows;
    runtime_.fill_zero(out_.get(), out_.bytes());
    runtime_.fill_zero(x_bf16_.get(), x_bf16_.bytes());
    // Two launches, the second of which needs what the first one writes.
    launch_round_rows(runtime_.stream(), x_.get(), kColumns, kColumns, kRows, x_bf16_.get());
    launch(call);
    if (!runtime_.launches_succeeded()) return {};
    std::vector<float> result(kRows * kOuts);
    runtime_.copy_out(result.data(), out_.get(), out_.bytes());
    runtime_.synchronize();
    return result;
  }

 private:
  Runtime& runtime_;
  Memory<uint16_t> w_;
  Memory<float> x_;
  Memory<uint16_t> x_bf16_;
  Memory<float> out_;
};

// Numbers of rows are told apart by the next power of two.
size_t size_of(int64_t rows) {
  return static_cast<size_t>(std::bit_width(static_cast<uint64_t>(rows - 1)));
}

std::string size_text(const DeviceMatrix& w) {
  return std::to_string(w.rows) + " x " + std::to_string(w.columns);
}

}  // namespace

bool tensor_matmuls_agree(Runtime& runtime) {
  TestMatmul test(runtime);
  if (test.empty()) return false;
  struct Case {
    TensorKernel kernel;
    int rows;  // few rows: one, two or four tiles of them
  };
  for (const Case c : {Case{TensorKernel::kFewRows, 5}, Case{TensorKernel::kFewRows, 11},
                       Case{TensorKernel::kFewRows, 21}, Case{TensorKernel::kTile32, 21},
                       Case{TensorKernel::kTile64, 21}, Case{TensorKernel::kTile128, 21}}) {
    const std::vector<float> expected = test.result(
        c.rows, [&](const MatmulCall& call) { launch_plain_matmul(runtime.stream(), call); });
    const std::vector<float> result = test.result(c.rows, [&](const MatmulCall& call) {
      launch_tensor_matmul(runtime.stream(), call, c.kernel);
    });
    if (result.empty() || result != expected) return false;
  }
  return true;
}

MatmulRunner::MatmulRunner(Runtime& runtime, MatmulKernels matmuls)
    : runtime_(runtime), matmuls_(matmuls) {
  if (matmuls_ != MatmulKernels::kPlain && !tensor_matmuls_agree(runtime)) {
    matmuls_ = MatmulKernels::kPlain;
    warn("matmuls on tensor cores failed their comparison and stay off");
  }
  if (matmuls_ == MatmulKernels::kExact || matmuls_ == MatmulKernels::kLibraryForRows) {
    library_ = MatmulLibrary::create(runtime);
    if (library_ == nullptr) {
      matmuls_ = MatmulKernels::kTensor;
      warn("there is no cuBLASLt, own matmuls are used");
    }
  }
}

void MatmulRunner::warn(const std::string& text) {
  if (warning_.find(text) != std::string::npos) return;
  if (!warning_.empty()) warning_ += ", ";
  warning_ += text;
}

void MatmulRunner::add_weight(const DeviceMatrix& w, bool of_prefill) {
  if (w.dtype != Dtype::kBf16) return;
  max_bf16_columns_ = std::max(max_bf16_columns_, w.stride);
  bf16_weights_.push_back({w, of_prefill});
}

bool MatmulRunner::reserve(int64_t max_rows) {
  if (!rounds_rows()) return true;
  for (const auto& [w, of_prefill] : bf16_weights_) {
    if (matmuls_ == MatmulKernels::kExact && of_prefill && !tested_.contains(shape_of(w))) {
      std::string reason;
      tested_[shape_of(w)] = self_test_library(runtime_, *library_, w, max_rows, &reason);
      if (!reason.empty()) warn("no cuBLASLt for matmuls of " + size_text(w) + ": " + reason);
    } else if (matmuls_ == MatmulKernels::kLibraryForRows && !for_rows_.contains(shape_of(w))) {
      std::vector<LibraryAlgorithm>& algorithms = for_rows_[shape_of(w)];
      for (size_t size = 0; size <= size_of(max_rows); ++size) {
        MatmulCall call;
        call.w = w;
        call.x_bf16_stride = library_x_stride(w);
        call.out_stride = library_out_stride(w);
        call.num_rows = 1 << size;
        const std::vector<LibraryAlgorithm> found = library_->candidates(call, 1, false);
        if (found.empty()) break;
        algorithms.push_back(found[0]);
      }
    }
  }
  rounded_ = Memory<uint16_t>(runtime_, max_rows * max_bf16_columns_);
  return !rounded_.empty();
}

std::string MatmulRunner::library_choices() const {
  std::string text;
  for (const auto& [shape, algorithm] : tested_) {
    if (!algorithm.has_value()) continue;
    if (!text.empty()) text += ", ";
    text += std::to_string(shape.first) + " x " + std::to_string(shape.second) + ": " +
            library_->name(*algorithm);
  }
  return text;
}

// It depends on the shape and the place of the matmul only, so that a row's bits do, too.
const LibraryAlgorithm* MatmulRunner::tested(const MatmulCall& call, const MatmulOut& out) {
  const auto found = tested_.find(shape_of(call.w));
  if (found == tested_.end() || !found->second.has_value()) return nullptr;
  DS_CHECK(!out.fills_rows || call.w.rows + call.w.padding <= call.out_stride);
  if (out.fills_rows && call.x_bf16_stride == library_x_stride(call.w) &&
      call.out_stride == library_out_stride(call.w)) {
    return &*found->second;
  }
  warn("no cuBLASLt for a matmul of " + size_text(call.w) + " between other columns");
  return nullptr;
}

bool MatmulRunner::multiply_for_rows(MatmulCall call) {
  const auto found = for_rows_.find(shape_of(call.w));
  const size_t size = size_of(call.num_rows);
  if (found != for_rows_.end() && size < found->second.size() &&
      library_->multiply(found->second[size], call)) {
    return true;
  }
  warn("cuBLASLt refused a matmul of " + size_text(call.w));
  return false;
}

void MatmulRunner::multiply(const DeviceMatrix& w, const MatmulRows& x, int32_t num_rows,
                            int32_t num_decode, bool accumulate, const MatmulOut& out) {
  if (num_rows == 0) return;
  MatmulCall call;
  call.w = w;
  call.x = x.data;
  call.x_stride = x.stride;
  call.out = out.data;
  call.out_stride = out.stride;
  call.num_rows = num_rows;
  call.accumulate = accumulate;
  if (matmuls_ == MatmulKernels::kPlain || w.dtype != Dtype::kBf16) {
    return launch_plain_matmul(runtime_.stream(), call);
  }
  const bool aligned = reinterpret_cast<uintptr_t>(x.bf16) % 16 == 0 && x.stride % 8 == 0;
  if (x.bf16 != nullptr && aligned && w.columns == w.stride) {
    call.x_bf16 = x.bf16;
    call.x_bf16_stride = x.stride;
  } else {
    DS_CHECK(num_rows * w.stride <= rounded_.size());
    launch_round_rows(runtime_.stream(), x.data, x.stride, w.columns, num_rows, rounded_.get());
    call.x_bf16 = rounded_.get();
    call.x_bf16_stride = w.stride;
  }
  if (!for_rows_.empty()) {
    MatmulCall all = call;
    if (!out.fills_rows) all.w.padding = 0;
    if (multiply_for_rows(all)) return;
  }
  const LibraryAlgorithm* algorithm = num_decode < num_rows ? tested(call, out) : nullptr;
  if (algorithm == nullptr) return launch_tensor_matmul(runtime_.stream(), call);
  MatmulCall prefill = call;
  call.num_rows = num_decode;
  launch_tensor_matmul(runtime_.stream(), call);
  prefill.x_bf16 += num_decode * prefill.x_bf16_stride;
  prefill.out += num_decode * prefill.out_stride;
  prefill.num_rows -= num_decode;
  // It took this number of rows at load: another kernel instead would change bits.
  DS_CHECK(library_->multiply(*algorithm, prefill));
}

}  // namespace deltaserve::cuda
