#include "kernels/backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "hwy/highway.h"
#include "kernels/base/check.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/mixer_layer.h"
#include "kernels/cpu/product_support.h"
#include "kernels/cpu/rowwise.h"
#include "kernels/cpu/sample.h"

namespace deltaserve {
namespace {

using cpu::AlignedArray;
using cpu::allocate_aligned;

struct Buffer {
  int64_t rows = 0;
  int64_t columns = 0;
  AlignedArray<float> data;

  float* row(int64_t index) const { return data.get() + index * columns; }
};

struct Vector {
  int64_t size = 0;
  AlignedArray<float> data;
};

constexpr int64_t kRowsPerTask = 16;  // of elementwise work

// Runs every operation at once, on the calling thread and the pool's.
class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(ThreadPool* threads) : threads_(*threads) {}

  std::string description() const override {
    std::string target = hwy::TargetName(hwy::SupportedTargets() & -hwy::SupportedTargets());
    std::string text = "cpu " + target + ", " + std::to_string(threads_.num_threads()) +
                       (threads_.num_threads() == 1 ? " thread" : " threads");
    for (const WeightFormat format :
         {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
      size_t bytes = 0;
      for (const auto& m : matrices_) bytes += m.format == format ? m.bytes() : 0;
      if (bytes == 0) continue;
      text += ", " + std::to_string((bytes + 500'000) / 1'000'000) + " MB of " +
              weight_format_name(format) + " weights";
      if (format == WeightFormat::kBf16 && products_.bf16 == cpu::Bf16Panels::kPairs) {
        text += " (activations rounded to bf16)";
      }
    }
    const std::string& warning = products_.warning;
    return warning.empty() ? text : text + "; warning: " + warning;
  }

  MatrixHandle load_matrix(const HostMatrix* blocks, int num_blocks, WeightFormat format) override {
    cpu::PackedMatrix packed =
        cpu::pack_matrix(blocks, num_blocks, format, threads_, products_.bf16);
    if (packed.data == nullptr) return {};
    int64_t& most = packed.rounds_activations() ? max_rounded_columns_ : max_float_columns_;
    most = std::max(most, packed.columns);
    matrices_.push_back(std::move(packed));
    return {static_cast<int32_t>(matrices_.size()) - 1};
  }

  VectorHandle load_vector(const HostMatrix& values) override {
    Vector vector;
    vector.size = values.rows * values.columns;
    vector.data = allocate_aligned<float>(static_cast<size_t>(vector.size));
    if (vector.data == nullptr) return {};
    for (int64_t i = 0; i < vector.size; ++i) {
      vector.data[i] = load_as_f32(values.data, values.dtype, static_cast<size_t>(i));
    }
    vectors_.push_back(std::move(vector));
    return {static_cast<int32_t>(vectors_.size()) - 1};
  }

  BufferHandle allocate(int64_t rows, int64_t columns) override {
    Buffer buffer{rows, columns, allocate_aligned<float>(static_cast<size_t>(rows * columns))};
    if (buffer.data == nullptr) return {};
    std::fill_n(buffer.data.get(), rows * columns, 0.0f);  // touches every page now, not in a step
    buffers_.push_back(std::move(buffer));
    return {static_cast<int32_t>(buffers_.size()) - 1};
  }

  bool reserve(const MixerShape& mixer, int64_t max_rows, int64_t max_segments,
               int64_t max_head_rows, int64_t hidden, int64_t vocab) override {
    max_head_rows_ = max_head_rows;
    results_.reserve(static_cast<size_t>(max_head_rows));
    head_input_ = {kHeadBlock, hidden,
                   allocate_aligned<float>(static_cast<size_t>(kHeadBlock * hidden))};
    logits_ = {kHeadBlock, vocab, allocate_aligned<float>(static_cast<size_t>(kHeadBlock * vocab))};
    const auto num_threads = static_cast<size_t>(threads_.num_threads());
    sample_weights_ = allocate_aligned<float>(num_threads * static_cast<size_t>(vocab));
    sample_indices_ = allocate_aligned<int32_t>(num_threads * static_cast<size_t>(vocab));
    const int64_t rows = std::max<int64_t>(max_rows, kHeadBlock);
    if (max_rounded_columns_ > 0 && !activations_.reserve(rows, max_rounded_columns_)) return false;
    if (max_float_columns_ > 0 && !activations_.reserve_floats(rows, max_float_columns_)) {
      return false;
    }
    return head_input_.data != nullptr && logits_.data != nullptr && sample_weights_ != nullptr &&
           sample_indices_ != nullptr &&
           mixer_.reserve(mixer, max_rows, max_segments, threads_.num_threads());
  }

  bool allocate_states(const StateLayout& layout, int num_slots) override {
    layout_ = layout;
    num_slots_ = num_slots;
    const size_t floats = static_cast<size_t>(layout.floats) * static_cast<size_t>(num_slots);
    states_ = allocate_aligned<float>(floats);
    if (states_ == nullptr) return false;
    std::fill_n(states_.get(), floats, 0.0f);
    return true;
  }

  size_t weight_bytes() const override {
    size_t bytes = 0;
    for (const auto& m : matrices_) bytes += m.bytes();
    for (const auto& v : vectors_) bytes += static_cast<size_t>(v.size) * sizeof(float);
    return bytes;
  }

  size_t matrix_bytes(MatrixHandle handle) const override { return matrix(handle).bytes(); }

  void copy_state(int from_slot, int to_slot) override {
    std::memcpy(slot(to_slot), slot(from_slot), layout_.bytes());
  }
  void export_state(int from_slot, void* host) override {
    std::memcpy(host, slot(from_slot), layout_.bytes());
  }
  void import_state(int to_slot, const void* host) override {
    std::memcpy(slot(to_slot), host, layout_.bytes());
  }

  void begin_step(const StepView& step) override {
    step_ = step;
    results_.clear();
  }

  void embed(MatrixHandle table, BufferHandle out) override {
    const cpu::PackedMatrix& weights = matrix(table);
    Buffer& to = buffer(out);
    DS_CHECK(weights.columns == to.columns);
    for_rows([&](int64_t r) { weights.read_row(step_.token_ids[r], to.row(r)); });
  }

  void rms_norm(BufferHandle x, VectorHandle weight, float eps, BufferHandle out) override {
    const Buffer& from = buffer(x);
    Buffer& to = buffer(out);
    const float* w = vector(weight);
    for_rows([&](int64_t r) { cpu::rms_norm_row(from.row(r), w, eps, from.columns, to.row(r)); });
  }

  void matmul(BufferColumns x, MatrixHandle w, BufferColumns out) override {
    multiply(x, w, out, /*accumulate=*/false);
  }
  void matmul_add(BufferColumns x, MatrixHandle w, BufferColumns out) override {
    multiply(x, w, out, /*accumulate=*/true);
  }
  void add_bias(VectorHandle bias, BufferColumns out) override {
    const float* values = vector(bias);
    const int64_t n = vectors_[static_cast<size_t>(bias.id)].size;
    Buffer& to = columns(out, n);
    for_rows([&](int64_t r) { cpu::add_scaled_row(1.0f, values, n, to.row(r) + out.column); });
  }

  void mixer_layer(const MixerLayer& layer, BufferHandle projected, BufferHandle out) override {
    const auto get = [this](VectorHandle v) { return v.id < 0 ? nullptr : vector(v); };
    const Buffer& from = buffer(projected);
    const Buffer& to = buffer(out);
    DS_CHECK(from.columns == layer.projection.columns && to.columns == layer.shape.value_columns());
    const MixerWeights weights = {
        get(layer.conv),           get(layer.conv_bias),     get(layer.a_log),
        get(layer.dt_bias),        get(layer.precond_a_log), get(layer.precond_dt_bias),
        get(layer.precond_center), get(layer.conditioning),  get(layer.conditioning_bias),
        get(layer.skip),           get(layer.norm)};
    mixer_.run(layer, weights, step_, from.data.get(), to.data.get(),
               {states_.get(), layout_.floats, layout_.layers[static_cast<size_t>(layer.index)],
                layout_.state_dtype},
               threads_);
  }

  void swiglu(BufferHandle x, BufferHandle out) override {
    const Buffer& from = buffer(x);
    Buffer& to = buffer(out);
    const int64_t n = to.columns;
    DS_CHECK(from.columns == 2 * n);
    for_rows([&](int64_t r) {
      cpu::gate_row(Activation::kSilu, from.row(r), from.row(r) + n, n, to.row(r));
    });
  }

  void head(BufferHandle x, VectorHandle norm, float eps, MatrixHandle output, const Draw* rows,
            int num_rows) override {
    DS_CHECK(num_rows <= max_head_rows_);
    const Buffer& from = buffer(x);
    const int64_t vocab = matrix(output).rows;
    results_.resize(static_cast<size_t>(num_rows));
    for (int begin = 0; begin < num_rows; begin += kHeadBlock) {
      const int count = std::min(kHeadBlock, num_rows - begin);
      for (int i = 0; i < count; ++i) {
        cpu::rms_norm_row(from.row(rows[begin + i].row), vector(norm), eps, from.columns,
                          head_input_.row(i));
      }
      cpu::matmul(head_input_.data.get(), from.columns, matrix(output), count, false,
                  logits_.data.get(), vocab, products_.integers, activations_, threads_);
      threads_.parallel_for(count, [&](int64_t i, int thread) {
        const cpu::SampleScratch scratch = {sample_weights_.get() + thread * vocab,
                                            sample_indices_.get() + thread * vocab};
        const Draw& row = rows[begin + i];
        results_[static_cast<size_t>(begin + i)] =
            cpu::evaluate_row(row, logits_.row(i), vocab, scratch);
        if (row.logits != nullptr) std::copy_n(logits_.row(i), vocab, row.logits);
      });
    }
  }

  Ticket end_step() override { return {++steps_}; }

  void wait(Ticket ticket, DrawResult* results) override {
    DS_CHECK(ticket.step == steps_);
    std::copy(results_.begin(), results_.end(), results);
  }

  void read_buffer(BufferHandle handle, int64_t num_rows, float* host) override {
    const Buffer& from = buffer(handle);
    std::copy_n(from.data.get(), num_rows * from.columns, host);
  }

 private:
  static constexpr int kHeadBlock = 32;  // rows whose logits exist at one time

  const cpu::PackedMatrix& matrix(MatrixHandle h) const {
    DS_CHECK(h.id >= 0 && static_cast<size_t>(h.id) < matrices_.size());
    return matrices_[static_cast<size_t>(h.id)];
  }
  const float* vector(VectorHandle h) const {
    DS_CHECK(h.id >= 0 && static_cast<size_t>(h.id) < vectors_.size());
    return vectors_[static_cast<size_t>(h.id)].data.get();
  }
  Buffer& buffer(BufferHandle h) {
    DS_CHECK(h.id >= 0 && static_cast<size_t>(h.id) < buffers_.size());
    return buffers_[static_cast<size_t>(h.id)];
  }
  float* slot(int index) const {
    DS_CHECK(index >= 0 && index < num_slots_);
    return states_.get() + index * layout_.floats;
  }

  template <class Body>
  void for_rows(const Body& body) {
    const int64_t rows = step_.num_rows;
    threads_.parallel_for((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
      const int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
      for (int64_t r = task * kRowsPerTask; r < end; ++r) body(r);
    });
  }

  // The buffer, checked to have `n` columns from `at` on.
  Buffer& columns(BufferColumns at, int64_t n) {
    Buffer& whole = buffer(at.buffer);
    DS_CHECK(at.column >= 0 && at.column + n <= whole.columns);
    return whole;
  }

  void multiply(BufferColumns x, MatrixHandle w, BufferColumns out, bool accumulate) {
    const cpu::PackedMatrix& weights = matrix(w);
    const Buffer& from = columns(x, weights.columns);
    Buffer& to = columns(out, weights.rows);
    cpu::matmul(from.data.get() + x.column, from.columns, weights, step_.num_rows, accumulate,
                to.data.get() + out.column, to.columns, products_.integers, activations_, threads_);
  }

  ThreadPool& threads_;
  std::vector<cpu::PackedMatrix> matrices_;
  const cpu::ProductSupport& products_ = cpu::product_support();
  int64_t max_rounded_columns_ = 0;  // of a matrix that takes rounded activations; 0 = none
  int64_t max_float_columns_ = 0;    // of one that takes them as they are
  cpu::ActivationRows activations_;  // of the product under way
  std::vector<Vector> vectors_;
  std::vector<Buffer> buffers_;
  cpu::MixerRunner mixer_;

  StateLayout layout_;
  int num_slots_ = 0;
  AlignedArray<float> states_;  // [slot][layout.floats]

  int64_t max_head_rows_ = 0;
  Buffer head_input_;  // [kHeadBlock, hidden]
  Buffer logits_;      // [kHeadBlock, vocab]
  AlignedArray<float> sample_weights_;
  AlignedArray<int32_t> sample_indices_;

  StepView step_;
  std::vector<DrawResult> results_;
  uint64_t steps_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(ThreadPool* threads) {
  return std::make_unique<CpuBackend>(threads);
}

}  // namespace deltaserve
