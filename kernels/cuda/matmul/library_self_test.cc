#include "kernels/cuda/matmul/library_self_test.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cuda/device/device_memory.h"

namespace deltaserve::cuda {
namespace {

constexpr int kMostCandidates = 8;   // of one number of rows
constexpr double kTolerance = 1e-5;  // of the norm: sums of the same products in float
// Numbers of rows around the sizes of tiles, and others.
constexpr int64_t kCounts[] = {1,   7,   63,  64,  65,   127,  128, 129,
                               200, 255, 256, 257, 1000, 2048, 4097};

DS_DEVICE uint64_t mixed(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// grid [rows], a warp each
DS_KERNEL void DS_BOUNDS(simt::kWarp, 1)
    hash_rows_kernel(const uint32_t* rows, int64_t stride, int64_t columns, uint64_t* hashes) {
  simt::await_launches_before();
  auto* partial = static_cast<uint64_t*>(simt::shared_memory());  // [kWarp]
  const int64_t row = simt::block_index().x;
  uint64_t hash = 0;
  for (int64_t c = simt::thread_index(); c < columns; c += simt::kWarp) {
    hash += mixed(static_cast<uint64_t>(c) << 32 | rows[row * stride + c]);
  }
  partial[simt::thread_index()] = hash;
  simt::sync_block();
  if (simt::thread_index() != 0) return;
  for (int i = 1; i < simt::kWarp; ++i) hash += partial[i];
  hashes[row] = hash;
}

// Random rows, and the outputs of one matmul of them at a time.
class LibrarySelfTest {
 public:
  LibrarySelfTest(Runtime& runtime, MatmulLibrary& library, const DeviceMatrix& w, int64_t max_rows)
      : runtime_(runtime),
        library_(library),
        max_rows_(max_rows),
        x_(runtime, max_rows * library_x_stride(w)),
        out_(runtime, max_rows * library_out_stride(w)) {
    runs_.push_back({0, max_rows});
    for (const int64_t count : kCounts) {
      if (count >= max_rows) break;
      runs_.push_back({0, count});
      runs_.push_back({max_rows - count, count});
    }
    int64_t rows = 0;
    for (const Run& run : runs_) rows += run.count;
    hashes_ = Memory<uint64_t>(runtime, rows);
    call_.w = w;
    call_.x_bf16 = x_.get();
    call_.x_bf16_stride = library_x_stride(w);
    call_.out = out_.get();
    call_.out_stride = library_out_stride(w);
    call_.num_rows = static_cast<int32_t>(max_rows);
    if (complete()) fill_rows();
  }

  bool complete() const { return !x_.empty() && !out_.empty() && !hashes_.empty(); }

  // Returns the library's candidates for many, some and few rows.
  std::vector<LibraryAlgorithm> candidates() {
    std::vector<LibraryAlgorithm> all;
    for (const int64_t part : {1, 4, 16}) {
      MatmulCall call = call_;
      call.num_rows = static_cast<int32_t>(std::max<int64_t>(1, max_rows_ / part));
      for (const LibraryAlgorithm& a : library_.candidates(call, kMostCandidates, true)) {
        const auto is_same = [&](const LibraryAlgorithm& b) {
          return std::memcmp(a.data, b.data, sizeof a.data) == 0;
        };
        if (std::none_of(all.begin(), all.end(), is_same)) all.push_back(a);
      }
    }
    return all;
  }

  bool takes_every_count(const LibraryAlgorithm& algorithm) {
    MatmulCall call = call_;
    for (call.num_rows = 1; call.num_rows <= max_rows_; ++call.num_rows) {
      if (!library_.takes(algorithm, call)) return false;
    }
    return true;
  }

  bool keeps_bits(const LibraryAlgorithm& algorithm, bool accumulate) {
    const int64_t columns = call_.w.rows + call_.w.padding;
    int64_t at = 0;
    for (const Run& run : runs_) {
      if (!multiply(algorithm, run, accumulate)) return false;
      launch_hash_rows(runtime_.stream(), out_.get(), call_.out_stride, columns,
                       static_cast<int>(run.count), hashes_.get() + at);
      at += run.count;
    }
    if (!runtime_.launches_succeeded()) return false;
    std::vector<uint64_t> hashes(static_cast<size_t>(at));
    runtime_.copy_out(hashes.data(), hashes_.get(), hashes.size() * sizeof(uint64_t));
    runtime_.synchronize();
    // The first run computed all rows.
    const uint64_t* of_run = hashes.data();
    for (const Run& run : runs_) {
      if (!std::equal(of_run, of_run + run.count, hashes.data() + run.first)) return false;
      of_run += run.count;
    }
    return true;
  }

  // Compares a few rows with launch_tensor_matmul's; padding must stay zero.
  bool agrees_with_own(const LibraryAlgorithm& algorithm) {
    const Run few = {0, std::min<int64_t>(max_rows_, 4)};
    if (!multiply(algorithm, few, false)) return false;
    const std::vector<float> theirs = outputs(few);
    runtime_.fill_zero(out_.get(), out_.bytes());
    launch_tensor_matmul(runtime_.stream(), of(few, false));
    if (!runtime_.launches_succeeded()) return false;
    const std::vector<float> own = outputs(few);
    double squares = 0;
    double norm = 0;
    for (size_t i = 0; i < own.size(); ++i) {
      const double difference = static_cast<double>(theirs[i]) - static_cast<double>(own[i]);
      squares += difference * difference;
      norm += static_cast<double>(own[i]) * static_cast<double>(own[i]);
      const bool is_padding = static_cast<int64_t>(i) % call_.out_stride >= call_.w.rows;
      if (is_padding && theirs[i] != 0) return false;
    }
    return std::sqrt(squares) <= kTolerance * std::sqrt(norm);  // false if one of them is NaN
  }

 private:
  struct Run {
    int64_t first;
    int64_t count;
  };

  // Fills the rows with bf16 numbers in [-1, 1), by repeating one block of them; the padding of
  // rows is zero.
  void fill_rows() {
    constexpr int64_t kBlock = int64_t{1} << 18;
    std::mt19937 random(1);
    const int64_t stride = call_.x_bf16_stride;
    const int64_t rows = std::clamp<int64_t>(kBlock / stride, 1, max_rows_);
    std::vector<uint16_t> block(static_cast<size_t>(rows * stride));
    for (size_t i = 0; i < block.size(); ++i) {
      const bool inside = static_cast<int64_t>(i) % stride < call_.w.columns;
      const float value = static_cast<float>(random() % 4096) / 2048 - 1;
      block[i] = f32_to_bf16(inside ? value : 0.0f);
    }
    for (int64_t row = 0; row < max_rows_; row += rows) {
      const int64_t count = std::min(rows, max_rows_ - row);
      runtime_.copy_in(x_.get() + row * stride, block.data(),
                       static_cast<size_t>(count * stride) * sizeof(uint16_t));
    }
    runtime_.synchronize();
  }

  MatmulCall of(const Run& run, bool accumulate) const {
    MatmulCall call = call_;
    call.x_bf16 += run.first * call.x_bf16_stride;
    call.num_rows = static_cast<int32_t>(run.count);
    call.accumulate = accumulate;
    return call;
  }
  bool multiply(const LibraryAlgorithm& algorithm, const Run& run, bool accumulate) {
    runtime_.fill_zero(out_.get(), static_cast<size_t>(run.count * call_.out_stride) * 4);
    return library_.multiply(algorithm, of(run, accumulate));
  }
  std::vector<float> outputs(const Run& run) {
    std::vector<float> values(static_cast<size_t>(run.count * call_.out_stride));
    runtime_.copy_out(values.data(), out_.get(), values.size() * sizeof(float));
    runtime_.synchronize();
    return values;
  }

  Runtime& runtime_;
  MatmulLibrary& library_;
  int64_t max_rows_;
  Memory<uint16_t> x_;
  Memory<float> out_;
  Memory<uint64_t> hashes_;
  std::vector<Run> runs_;
  MatmulCall call_;
};

}  // namespace

void launch_hash_rows(simt::Stream stream, const float* rows, int64_t stride, int64_t columns,
                      int num_rows, uint64_t* hashes) {
  simt::launch(stream, {num_rows}, simt::kWarp, simt::kWarp * static_cast<int>(sizeof(uint64_t)),
               hash_rows_kernel, reinterpret_cast<const uint32_t*>(rows), stride, columns, hashes);
}

std::optional<LibraryAlgorithm> self_test_library(Runtime& runtime, MatmulLibrary& library,
                                                  const DeviceMatrix& w, int64_t max_rows,
                                                  std::string* reason) {
  LibrarySelfTest test(runtime, library, w, max_rows);
  if (!test.complete()) {
    *reason = "no memory to test its algorithms";
    return std::nullopt;
  }
  const std::vector<LibraryAlgorithm> candidates = test.candidates();
  int refuse = 0;
  int wrong = 0;
  for (const LibraryAlgorithm& candidate : candidates) {
    if (!test.takes_every_count(candidate)) {
      ++refuse;
    } else if (!test.agrees_with_own(candidate)) {
      ++wrong;
    } else if (test.keeps_bits(candidate, false) && test.keeps_bits(candidate, true)) {
      return candidate;
    }
  }
  *reason = "of " + std::to_string(candidates.size()) + " algorithms " + std::to_string(refuse) +
            " do not take every number of rows, " + std::to_string(wrong) +
            " differ from own matmuls, the others do not keep bits";
  return std::nullopt;
}

}  // namespace deltaserve::cuda
