#include "kernels/cuda/matmul/matmul_runner.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/matmul/library_self_test.h"

namespace deltaserve::cuda {
namespace {

std::string size_text(const DeviceMatrix& w) {
  return std::to_string(w.rows) + " x " + std::to_string(w.columns);
}

}  // namespace

MatmulRunner::MatmulRunner(Runtime& runtime, MatmulKernels matmuls)
    : runtime_(runtime), matmuls_(matmuls) {
  if (matmuls_ != MatmulKernels::kPlain) {
    support_ = test_tensor_matmuls(runtime);
    if (!support_.matmuls) {
      matmuls_ = MatmulKernels::kPlain;
      warn("matmuls on tensor cores failed their comparison and stay off");
    } else {
      if (!support_.wide && runtime.has_clusters()) {
        warn("wide matmuls failed their comparison and stay off");
      }
      if (!support_.ends) warn("ends of matmuls failed their comparison and stay off");
    }
  }
  if (matmuls_ == MatmulKernels::kExact) {
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

// The choice depends only on the shape and the place of the matmul, so that a row's bits depend on
// nothing else, either.
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

void MatmulRunner::launch_own(const MatmulCall& call) {
  if (call.num_rows == 0) return;
  launch_tensor_matmul(runtime_.stream(), call, fastest_kernel(call, support_.wide));
}

bool MatmulRunner::takes_bf16(const DeviceMatrix& w) const {
  return matmuls_ != MatmulKernels::kPlain && w.dtype == Dtype::kBf16 && w.columns == w.stride;
}

bool MatmulRunner::takes_ends(const DeviceMatrix& w) const {
  return support_.ends && takes_bf16(w);
}

void MatmulRunner::multiply_with_end(MatmulCall call) {
  DS_CHECK(takes_ends(call.w));
  if (call.x_bf16 == nullptr) {
    DS_CHECK(call.x != nullptr && call.num_rows * call.w.stride <= rounded_.size());
    launch_round_rows(runtime_.stream(), call.x, call.x_stride, call.w.columns, call.num_rows,
                      rounded_.get());
    call.x_bf16 = rounded_.get();
    call.x_bf16_stride = call.w.stride;
  }
  launch_own(call);
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
    DS_CHECK(x.data != nullptr && num_rows * w.stride <= rounded_.size());
    launch_round_rows(runtime_.stream(), x.data, x.stride, w.columns, num_rows, rounded_.get());
    call.x_bf16 = rounded_.get();
    call.x_bf16_stride = w.stride;
  }
  const LibraryAlgorithm* algorithm = num_decode < num_rows ? tested(call, out) : nullptr;
  if (algorithm == nullptr) return launch_own(call);
  MatmulCall prefill = call;
  call.num_rows = num_decode;
  launch_own(call);
  prefill.x_bf16 += num_decode * prefill.x_bf16_stride;
  prefill.out += num_decode * prefill.out_stride;
  prefill.num_rows -= num_decode;
  // The algorithm supported this number of rows at load; another kernel would change bits.
  DS_CHECK(library_->multiply(*algorithm, prefill));
}

}  // namespace deltaserve::cuda
