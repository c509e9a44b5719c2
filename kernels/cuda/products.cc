#include "kernels/cuda/products.h"

#include <algorithm>
#include <vector>

#include "kernels/base/check.h"

namespace deltaserve::cuda {
namespace {

// Small whole numbers, so that every order of summation gives the same bits.
int test_value(int row, int column) {
  return (row * 7 + column * 5 + row * column) % 9 - 4;
}

// A product of odd sizes, with tails in every direction, its operands and its result.
class TestProduct {
 public:
  static constexpr int kOuts = 43, kRows = 21, kColumns = 4 * kTensorSegment + 72;

  explicit TestProduct(Runtime& runtime)
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

  // Of the first `rows`, zeros behind them; empty where a kernel could not be launched.
  template <class Launch>
  std::vector<float> result(int rows, const Launch& launch) {
    ProductCall call;
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

}  // namespace

bool tensor_products_agree(Runtime& runtime) {
  TestProduct test(runtime);
  if (test.empty()) return false;
  struct Case {
    TensorKernel kernel;
    int rows;  // few rows: one, two or four tiles of them
  };
  for (const Case c : {Case{TensorKernel::kFewRows, 5}, Case{TensorKernel::kFewRows, 11},
                       Case{TensorKernel::kFewRows, 21}, Case{TensorKernel::kTile32, 21},
                       Case{TensorKernel::kTile64, 21}, Case{TensorKernel::kTile128, 21}}) {
    const std::vector<float> expected = test.result(
        c.rows, [&](const ProductCall& call) { launch_plain_product(runtime.stream(), call); });
    const std::vector<float> result = test.result(c.rows, [&](const ProductCall& call) {
      launch_tensor_product(runtime.stream(), call, c.kernel);
    });
    if (result.empty() || result != expected) return false;
  }
  return true;
}

ProductRunner::ProductRunner(Runtime& runtime, Products products)
    : runtime_(runtime), products_(products) {
  if (products_ == Products::kLibrary || products_ == Products::kLibraryForRows) {
    library_ = ProductLibrary::create(
        runtime, products_ == Products::kLibrary ? LibraryChoice::kOnce : LibraryChoice::kForRows);
    if (library_ == nullptr) warning_ = "there is no cuBLASLt, own products are used";
  }
  if (products_ != Products::kPlain && !tensor_products_agree(runtime)) {
    products_ = Products::kPlain;
    library_ = nullptr;
    warning_ = "products on tensor cores failed their comparison and stay off";
  }
}

void ProductRunner::add_weight(const DeviceMatrix& w) {
  if (w.dtype != Dtype::kBf16) return;
  max_bf16_columns_ = std::max(max_bf16_columns_, w.stride);
  bf16_weights_.push_back(w);
}

bool ProductRunner::reserve(int64_t max_rows) {
  if (!rounds_rows()) return true;
  for (const DeviceMatrix& w : bf16_weights_) {
    if (library_ != nullptr) library_->prepare(w, max_rows);
  }
  rounded_ = Memory<uint16_t>(runtime_, max_rows * max_bf16_columns_);
  return !rounded_.empty();
}

void ProductRunner::multiply(const DeviceMatrix& w, const ProductRows& x, int32_t num_rows,
                             bool accumulate, float* out, int64_t out_stride) {
  if (num_rows == 0) return;
  ProductCall call;
  call.w = w;
  call.x = x.data;
  call.x_stride = x.stride;
  call.out = out;
  call.out_stride = out_stride;
  call.num_rows = num_rows;
  call.accumulate = accumulate;
  if (products_ == Products::kPlain || w.dtype != Dtype::kBf16) {
    return launch_plain_product(runtime_.stream(), call);
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
  if (library_ != nullptr && library_->multiply(call)) return;
  launch_tensor_product(runtime_.stream(), call);
}

}  // namespace deltaserve::cuda
