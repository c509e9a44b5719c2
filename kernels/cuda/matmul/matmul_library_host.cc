#include "kernels/cuda/matmul/matmul_library_host.h"

#include <algorithm>

#include "kernels/cuda/matmul/matmul_library.h"

namespace deltaserve::cuda {
namespace {

enum Candidate : uint64_t {
  kSplitsFewRows,
  kForgetsARow,
  kRefusesThreeRows,
  kGood,
  kNumCandidates
};

// Sums from the last input feature to the first, in double, so that the bits differ from those of
// our kernels. A split changes only the order of the sum.
float sum_of(const MatmulCall& call, int64_t out, int64_t row, bool split) {
  const auto* w = static_cast<const uint16_t*>(call.w.data) + out * call.w.stride;
  const uint16_t* x = call.x_bf16 + row * call.x_bf16_stride;
  const int64_t middle = split ? call.w.stride / 2 : 0;
  float parts[2] = {0, 0};
  for (int64_t k = call.w.stride - 1; k >= 0; --k) {
    float& part = parts[k < middle ? 1 : 0];
    part += bf16_to_f32(w[k]) * bf16_to_f32(x[k]);
  }
  return parts[0] + parts[1];
}

void multiply_now(const MatmulCall& call, uint64_t candidate) {
  const bool split = candidate == kSplitsFewRows && call.num_rows < 8;
  const bool forgets = candidate == kForgetsARow && call.num_rows > 4;
  for (int64_t row = 0; row < call.num_rows - (forgets ? 1 : 0); ++row) {
    for (int64_t out = 0; out < call.w.rows + call.w.padding; ++out) {
      float& to = call.out[row * call.out_stride + out];
      const float sum = sum_of(call, out, row, split);
      to = call.accumulate ? to + sum : sum;
    }
  }
}

class Pretended final : public MatmulLibrary {
 public:
  explicit Pretended(Runtime& runtime) : runtime_(runtime) {}

  std::vector<LibraryAlgorithm> candidates(const MatmulCall&, int most, bool whole) override {
    std::vector<LibraryAlgorithm> found;
    for (uint64_t i = 0; i < kNumCandidates; ++i) {
      const bool good = i == kGood || (!whole && i == kSplitsFewRows);
      if (good ? pretended_library.has_good_candidate : whole) found.push_back({{i}, whole});
    }
    found.resize(std::min(found.size(), static_cast<size_t>(most)));
    return found;
  }
  bool takes(const LibraryAlgorithm& algorithm, const MatmulCall& call) override {
    return algorithm.data[0] != kRefusesThreeRows || call.num_rows != 3;
  }
  bool multiply(const LibraryAlgorithm& algorithm, const MatmulCall& call) override {
    if (!takes(algorithm, call)) return false;
    const simt::Stream stream = runtime_.stream();
    stream.queue->push_back({{}, [=] { multiply_now(call, algorithm.data[0]); }});
    if (simt::launch_observer) simt::launch_observer(stream, nullptr);
    return true;
  }
  std::string name(const LibraryAlgorithm& algorithm) const override {
    return "pretended algorithm " + std::to_string(algorithm.data[0]);
  }

 private:
  Runtime& runtime_;
};

}  // namespace

std::unique_ptr<MatmulLibrary> MatmulLibrary::create(Runtime& runtime) {
  return pretended_library.is_there ? std::make_unique<Pretended>(runtime) : nullptr;
}

}  // namespace deltaserve::cuda
