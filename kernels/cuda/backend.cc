#include "kernels/cuda/backend.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/delta_prefill.h"
#include "kernels/cuda/head.h"
#include "kernels/cuda/layer_proof.h"
#include "kernels/cuda/mixer_layer.h"
#include "kernels/cuda/operation.h"
#include "kernels/cuda/recordings.h"
#include "kernels/cuda/rowwise.h"
#include "kernels/cuda/step_memory.h"
#include "kernels/cuda/weights.h"

namespace deltaserve::cuda {
namespace {

constexpr int64_t kLogitBytes = int64_t{64} << 20;  // of the rows whose logits exist at one time
constexpr size_t kTypicalOperations = 1024;         // of a step

struct Buffer {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;
  Memory<float> data;
  Memory<uint16_t> bf16;  // may be empty
  // Whether `bf16` holds the rounded `data`: products do not write it.
  bool bf16_current = false;

  Buffer() = default;
  Buffer(Runtime& runtime, int64_t num_rows, int64_t num_columns, bool with_bf16)
      : rows(num_rows),
        columns(num_columns),
        stride(padded_to_64(num_columns)),
        data(runtime, rows * stride) {
    if (with_bf16) bf16 = Memory<uint16_t>(runtime, rows * stride);
    complete_ = !data.empty() && bf16.empty() != with_bf16;
    if (complete_) runtime.fill_zero(data.get(), data.bytes());
    if (complete_ && with_bf16) runtime.fill_zero(bf16.get(), bf16.bytes());
  }

  // Whether its memory was there.
  bool complete() const { return complete_; }
  DeviceRows rows_view() const { return {data.get(), bf16.get(), columns, stride}; }

 private:
  bool complete_ = false;
};

// Working memory of mixer layers, see LayerCall.
struct MixerMemory {
  Memory<float> features, gates, queries, covariance;
  Memory<unsigned char> prefill;

  bool reserve(Runtime& runtime, const MixerShape& shape, const StepLimits& limits) {
    features = Memory<float>(runtime, limits.rows * shape.channels());
    gates = Memory<float>(runtime, limits.rows * GateLayout(shape).floats);
    if (features.empty() || gates.empty()) return false;
    if (shape.conditioning.on) {
      const int64_t columns = int64_t{shape.heads} * shape.key_dim;
      queries = Memory<float>(runtime, limits.rows * columns);
      covariance = Memory<float>(runtime, limits.rows * 4 * columns);
      if (queries.empty() || covariance.empty()) return false;
    }
    const size_t bytes = prefill_scratch_bytes(shape, limits.chunks());
    prefill = Memory<unsigned char>(runtime, static_cast<int64_t>(bytes));
    return bytes == 0 || !prefill.empty();
  }
};

// Working memory of the head, of `block` rows at a time.
struct HeadMemory {
  int32_t block = 0;
  Buffer input;                      // [block, hidden]
  Memory<float> logits, scratch;     // [block, vocab]
  Memory<DrawResult> results;        // of a step
  HostMemory<DrawResult> copies[2];  // of the last two steps

  bool reserve(Runtime& runtime, int64_t max_rows, int64_t hidden, int64_t vocab, bool bf16) {
    const int64_t fitting = kLogitBytes / (vocab * static_cast<int64_t>(sizeof(float)));
    block = static_cast<int32_t>(std::clamp(fitting, int64_t{1}, std::max<int64_t>(max_rows, 1)));
    input = Buffer(runtime, block, hidden, bf16);
    logits = Memory<float>(runtime, block * vocab);
    scratch = Memory<float>(runtime, block * vocab);
    results = Memory<DrawResult>(runtime, std::max<int64_t>(max_rows, 1));
    for (auto& copy : copies) {
      copy = HostMemory<DrawResult>(runtime, std::max<int64_t>(max_rows, 1));
      if (copy.empty()) return false;
    }
    return input.complete() && !logits.empty() && !scratch.empty() && !results.empty();
  }
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(std::unique_ptr<Runtime> runtime, const BackendOptions& options)
      : options_(options),
        runtime_(std::move(runtime)),
        loader_(*runtime_),
        products_(*runtime_, options.products),
        recordings_(*runtime_) {
    list_.operations.reserve(kTypicalOperations);
    list_.layers.reserve(kTypicalOperations / 8);
  }
  ~CudaBackend() override { runtime_->synchronize(); }

  std::string description() const override {
    std::string text = "cuda " + runtime_->description();
    for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
      size_t bytes = 0;
      for (const LoadedMatrix& m : matrices_) bytes += m.matrix.dtype == dtype ? m.bytes() : 0;
      if (bytes == 0) continue;
      text += ", " + std::to_string((bytes + 500'000) / 1'000'000) + " MB of " + dtype_name(dtype) +
              " weights";
    }
    if (!products_.library_choices().empty()) text += ", prefill products by cuBLASLt";
    for (const std::string* warning : {&products_.warning(), &paths_warning_}) {
      if (!warning->empty()) text += "; warning: " + *warning;
    }
    return text;
  }

  // ---- At load

  MatrixHandle load_matrix(const HostMatrix* blocks, int num_blocks, WeightFormat format) override {
    LoadedMatrix loaded = loader_.load_matrix(blocks, num_blocks, format);
    if (loaded.memory.empty()) return {};
    products_.add_weight(loaded.matrix);
    matrices_.push_back(std::move(loaded));
    return {static_cast<int32_t>(matrices_.size()) - 1};
  }

  VectorHandle load_vector(const HostMatrix& values) override {
    Memory<float> vector = loader_.load_vector(values);
    if (vector.empty()) return {};
    vectors_.push_back(std::move(vector));
    return {static_cast<int32_t>(vectors_.size()) - 1};
  }

  BufferHandle allocate(int64_t rows, int64_t columns) override {
    Buffer buffer(*runtime_, rows, columns, takes_bf16(columns));
    if (!buffer.complete()) return {};
    buffers_.push_back(std::move(buffer));
    return {static_cast<int32_t>(buffers_.size()) - 1};
  }

  bool reserve(const MixerShape& mixer, int64_t max_rows, int64_t max_segments,
               int64_t max_head_rows, int64_t hidden, int64_t vocab) override {
    if (mixer.key_dim > kMaxCudaKeyDim) return false;  // the server says so before
    limits_ = {max_rows, max_segments, max_head_rows, vocab, options_.head_extra_bytes};
    paths_ = prove_paths(*runtime_, mixer, &paths_warning_);
    if (options_.overlap) {
      prove_overlap(*runtime_, mixer, paths_, products_.on_tensor_cores(), &paths_warning_);
    }
    return memory_.reserve(*runtime_, limits_) && mixer_.reserve(*runtime_, mixer, limits_) &&
           head_.reserve(*runtime_, max_head_rows, hidden, vocab, takes_bf16(hidden)) &&
           products_.reserve(std::max<int64_t>(max_rows, head_.block), vocab);
  }

  bool allocate_states(const StateLayout& layout, int num_slots) override {
    layout_ = layout;
    num_slots_ = num_slots;
    states_ = Memory<float>(*runtime_, layout.floats * num_slots);
    if (states_.empty()) return false;
    runtime_->fill_zero(states_.get(), states_.bytes());
    return true;
  }

  size_t weight_bytes() const override {
    size_t bytes = 0;
    for (const LoadedMatrix& m : matrices_) bytes += m.bytes();
    for (const Memory<float>& v : vectors_) bytes += v.bytes();
    return bytes;
  }
  size_t matrix_bytes(MatrixHandle handle) const override { return loaded(handle).bytes(); }

  // ---- States

  void copy_state(int from_slot, int to_slot) override {
    if (from_slot == to_slot) return;
    runtime_->copy(slot(to_slot), slot(from_slot), layout_.bytes());
  }
  void export_state(int from_slot, void* host) override {
    runtime_->copy_out(host, slot(from_slot), layout_.bytes());
    synchronize();
  }
  void import_state(int to_slot, const void* host) override {
    runtime_->copy_in(slot(to_slot), host, layout_.bytes());
    synchronize();
  }

  // ---- A step

  void begin_step(const StepView& step) override {
    host_step_ = {step, nullptr, 0};
    list_.clear();
  }

  void embed(MatrixHandle table, BufferHandle out) override {
    DS_CHECK(loaded(table).matrix.columns == buffer(out).columns);
    add({Operation::Kind::kEmbed, table, {}, {}, {out}});
  }
  void rms_norm(BufferHandle x, VectorHandle weight, float eps, BufferHandle out) override {
    DS_CHECK(buffer(x).columns == buffer(out).columns && size_of(weight) == buffer(x).columns);
    add({Operation::Kind::kRmsNorm, {}, weight, {x}, {out}, eps});
  }
  void matmul(BufferColumns x, MatrixHandle w, BufferColumns out) override {
    add_product(Operation::Kind::kMatmul, x, w, out);
  }
  void matmul_add(BufferColumns x, MatrixHandle w, BufferColumns out) override {
    add_product(Operation::Kind::kMatmulAdd, x, w, out);
  }
  void add_bias(VectorHandle bias, BufferColumns out) override {
    check_columns(out, size_of(bias));
    add({Operation::Kind::kAddBias, {}, bias, {}, out});
  }
  void mixer_layer(const MixerLayer& layer, BufferHandle projected, BufferHandle out) override {
    DS_CHECK(buffer(projected).columns == layer.projection.columns);
    DS_CHECK(buffer(out).columns == layer.shape.value_columns());
    const auto index = static_cast<int32_t>(list_.layers.size());
    list_.layers.push_back(layer);
    add({Operation::Kind::kMixerLayer, {}, {}, {projected}, {out}, 0, index});
  }
  void swiglu(BufferHandle x, BufferHandle out) override {
    DS_CHECK(buffer(x).columns == 2 * buffer(out).columns);
    add({Operation::Kind::kSwiglu, {}, {}, {x}, {out}});
  }
  void head(BufferHandle x, VectorHandle norm, float eps, MatrixHandle output, const Draw* rows,
            int num_rows) override {
    DS_CHECK(num_rows <= limits_.head_rows);
    DS_CHECK(loaded(output).matrix.columns == buffer(x).columns);
    DS_CHECK(loaded(output).matrix.rows == limits_.vocab);
    if (num_rows == 0) return;
    host_step_.head_rows = rows;
    host_step_.num_head_rows = num_rows;
    add({Operation::Kind::kHead, output, norm, {x}, {}, eps});
  }

  Ticket end_step() override {
    // The memory that this step's inputs pass through was that of the step before the last.
    if (submitted_ > 1) reach(submitted_ - 1);
    ++submitted_;
    if (!run_from_recording()) run_in_passes();
    const auto bytes = static_cast<size_t>(host_step_.num_head_rows) * sizeof(DrawResult);
    num_results_[submitted_ % 2] = host_step_.num_head_rows;
    if (bytes > 0) {
      runtime_->copy_out(head_.copies[submitted_ % 2].get(), head_.results.get(), bytes);
    }
    runtime_->set_mark(submitted_ % 2);
    return {submitted_};
  }

  void wait(Ticket ticket, DrawResult* results) override {
    DS_CHECK(ticket.step <= submitted_ && ticket.step + 2 > submitted_);
    reach(ticket.step);
    std::copy_n(head_.copies[ticket.step % 2].get(), num_results_[ticket.step % 2], results);
  }

  void read_buffer(BufferHandle handle, int64_t num_rows, float* host) override {
    const Buffer& from = buffer(handle);
    for (int64_t r = 0; r < num_rows; ++r) {
      runtime_->copy_out(host + r * from.columns, from.data.get() + r * from.stride,
                         static_cast<size_t>(from.columns) * sizeof(float));
    }
    synchronize();
  }

 private:
  void synchronize() {
    runtime_->synchronize();
    done_ = submitted_;
  }
  // Waits for one of the last two steps, not for what was submitted behind it.
  void reach(uint64_t step) {
    if (done_ >= step) return;
    runtime_->wait_for_mark(step % 2);
    done_ = step;
  }

  // ---- Handles

  const LoadedMatrix& loaded(MatrixHandle h) const {
    DS_CHECK(h.id >= 0 && static_cast<size_t>(h.id) < matrices_.size());
    return matrices_[static_cast<size_t>(h.id)];
  }
  const Memory<float>& vector(VectorHandle h) const {
    DS_CHECK(h.id >= 0 && static_cast<size_t>(h.id) < vectors_.size());
    return vectors_[static_cast<size_t>(h.id)];
  }
  int64_t size_of(VectorHandle h) const { return vector(h).size(); }
  Buffer& buffer(BufferHandle h) {
    DS_CHECK(h.id >= 0 && static_cast<size_t>(h.id) < buffers_.size());
    return buffers_[static_cast<size_t>(h.id)];
  }
  float* slot(int index) const {
    DS_CHECK(index >= 0 && index < num_slots_);
    return states_.get() + index * layout_.floats;
  }
  void check_columns(BufferColumns at, int64_t n) {
    DS_CHECK(at.column >= 0 && at.column + n <= buffer(at.buffer).columns);
  }
  // Whether rows of so many columns get a bf16 copy that products can load.
  bool takes_bf16(int64_t columns) const { return products_.rounds_rows() && columns % 8 == 0; }

  // ---- Collecting

  // The head ends a step: its rows may take several passes.
  void add(const Operation& operation) {
    DS_CHECK(list_.operations.empty() || list_.operations.back().kind != Operation::Kind::kHead);
    list_.operations.push_back(operation);
  }
  void add_product(Operation::Kind kind, BufferColumns x, MatrixHandle w, BufferColumns out) {
    check_columns(x, loaded(w).matrix.columns);
    check_columns(out, loaded(w).matrix.rows);
    add({kind, w, {}, x, out});
  }

  // ---- Running

  // False: the step is not one that is recorded, and nothing has been done.
  bool run_from_recording() {
    const StepView& view = host_step_.view;
    const bool decodes = view.num_decode == view.num_rows && view.num_segments == view.num_rows;
    if (!options_.recordings || !decodes || wants_logits()) return false;
    const auto padded = [](int32_t count, int64_t most) {
      const int64_t rows = std::min<int64_t>({padded_batch(count), most, simt::kMaxGridYZ});
      return count == 0 ? 0 : static_cast<int32_t>(rows);
    };
    const int32_t rows = padded(view.num_rows, limits_.rows);
    const int32_t head_rows = padded(host_step_.num_head_rows, limits_.head_rows);
    step_ = memory_.copy_in(host_step_, rows, head_rows);
    if (step_.num_head_rows != head_rows) {
      run_operations();
      run_more_passes();
      return true;
    }
    Fingerprint fingerprint;
    fingerprint.add(static_cast<uint64_t>(rows) << 32 | static_cast<uint32_t>(head_rows));
    list_.add_to(fingerprint);
    recordings_.run(fingerprint.value(), [this] { run_operations(); });
    return true;
  }

  void run_in_passes() {
    step_ = memory_.copy_in(host_step_, 0, 0);
    run_operations();
    run_more_passes();
  }
  // Rows of the head whose adjustments and masks did not fit beside those of the others: rare.
  void run_more_passes() {
    for (int32_t done = step_.num_head_rows; done < host_step_.num_head_rows;
         done += step_.num_head_rows) {
      runtime_->synchronize();
      HostStep rest = host_step_;
      rest.head_rows += done;
      rest.num_head_rows -= done;
      step_ = memory_.copy_in(rest, 0, 0);
      run_head(list_.operations.back(), done);
    }
  }
  bool wants_logits() const {
    const Draw* rows = host_step_.head_rows;
    return std::any_of(rows, rows + host_step_.num_head_rows,
                       [](const Draw& row) { return row.logits != nullptr; });
  }

  void run_operations() {
    for (Buffer& b : buffers_) b.bf16_current = false;
    for (const Operation& operation : list_.operations) run(operation);
  }

  void run(const Operation& op) {
    const simt::Stream stream = runtime_->stream();
    const int32_t num_rows = step_.view.num_rows;
    switch (op.kind) {
      case Operation::Kind::kEmbed:
        launch_embed(stream, loaded(op.matrix).matrix, step_.view.token_ids, num_rows,
                     written(op.to.buffer));
        return;
      case Operation::Kind::kRmsNorm:
        launch_rms_norm(stream, buffer(op.from.buffer).rows_view(), nullptr,
                        vector(op.vector).get(), op.eps, num_rows, written(op.to.buffer));
        return;
      case Operation::Kind::kMatmul: return run_product(op, false);
      case Operation::Kind::kMatmulAdd: return run_product(op, true);
      case Operation::Kind::kAddBias:
        launch_add_bias(stream, vector(op.vector).get(), size_of(op.vector), num_rows,
                        changed(op.to.buffer).rows_view(), op.to.column);
        return;
      case Operation::Kind::kMixerLayer: return run_mixer(op);
      case Operation::Kind::kSwiglu:
        launch_swiglu(stream, buffer(op.from.buffer).rows_view(), num_rows, written(op.to.buffer));
        return;
      case Operation::Kind::kHead: return run_head(op, 0);
    }
  }

  // Of a buffer that a kernel fills together with its bf16 copy.
  DeviceRows written(BufferHandle handle) {
    Buffer& out = buffer(handle);
    out.bf16_current = !out.bf16.empty();
    return out.rows_view();
  }
  // Of one whose floats only change.
  Buffer& changed(BufferHandle handle) {
    Buffer& out = buffer(handle);
    out.bf16_current = false;
    return out;
  }
  static ProductRows product_rows(const Buffer& x, int32_t column) {
    return {x.data.get() + column, x.bf16_current ? x.bf16.get() + column : nullptr, x.stride};
  }

  void run_product(const Operation& op, bool accumulate) {
    const ProductRows x = product_rows(buffer(op.from.buffer), op.from.column);
    Buffer& out = changed(op.to.buffer);
    const DeviceMatrix& w = loaded(op.matrix).matrix;
    products_.multiply(
        w, x, step_.view.num_rows, step_.view.num_decode, accumulate,
        {out.data.get() + op.to.column, out.stride, op.to.column == 0 && w.rows == out.columns});
  }

  void run_mixer(const Operation& op) {
    const MixerLayer& layer = list_.layers[static_cast<size_t>(op.layer)];
    const auto get = [this](VectorHandle v) { return v.id < 0 ? nullptr : vector(v).get(); };
    const MixerWeights weights = {
        get(layer.conv),           get(layer.conv_bias),     get(layer.a_log),
        get(layer.dt_bias),        get(layer.precond_a_log), get(layer.precond_dt_bias),
        get(layer.precond_center), get(layer.conditioning),  get(layer.conditioning_bias),
        get(layer.skip),           get(layer.norm)};
    const LayerStates states = {states_.get(), layout_.floats,
                                layout_.layers[static_cast<size_t>(layer.index)],
                                layout_.state_dtype};
    const DeviceRows out = written(op.to.buffer);
    const Buffer& projected = buffer(op.from.buffer);
    const MixerCall mixer = {with_columns(layer, projected.stride),
                             weights,
                             step_.view,
                             projected.data.get(),
                             out.data,
                             states,
                             mixer_.features.get(),
                             mixer_.gates.get(),
                             mixer_.queries.get(),
                             mixer_.covariance.get(),
                             GateLayout(layer.shape)};
    run_mixer_layer(runtime_->stream(),
                    {mixer, step_.row_segments, step_.chunks, step_.num_chunks,
                     mixer_.prefill.get(), out.bf16, paths_, out.stride - out.columns});
  }
  // Rows of projections with their padding.
  static MixerLayer with_columns(MixerLayer layer, int64_t columns) {
    layer.projection.columns = static_cast<int32_t>(columns);
    return layer;
  }

  // The rows of the head that `step_` has, of which the first is the step's `first`.
  void run_head(const Operation& op, int32_t first) {
    const DeviceMatrix& output = loaded(op.matrix).matrix;
    const Buffer& x = buffer(op.from.buffer);
    Buffer& input = head_.input;
    for (int32_t begin = 0; begin < step_.num_head_rows; begin += head_.block) {
      const int32_t count = std::min(head_.block, step_.num_head_rows - begin);
      launch_rms_norm(runtime_->stream(), x.rows_view(), step_.head_sources + begin,
                      vector(op.vector).get(), op.eps, count, input.rows_view());
      input.bf16_current = !input.bf16.empty();
      // Of either kind: all are few, and take the kernels of decode rows.
      products_.multiply(output, product_rows(input, 0), count, count, false,
                         {head_.logits.get(), limits_.vocab, false});
      EvaluateCall call;
      call.logits = head_.logits.get();
      call.vocab = limits_.vocab;
      call.num_rows = count;
      call.rows = step_.head_rows + begin;
      call.adjustments = step_.adjustments;
      call.allowed = step_.allowed;
      call.scratch = head_.scratch.get();
      call.results = head_.results.get() + first + begin;
      launch_evaluate(runtime_->stream(), call);
      copy_logits(first + begin, count);
    }
  }

  // The logits of rows that asked for them, from the block that starts with row `first`.
  void copy_logits(int32_t first, int32_t count) {
    const int32_t end = std::min(first + count, host_step_.num_head_rows);
    for (int32_t i = first; i < end; ++i) {
      float* to = host_step_.head_rows[i].logits;
      if (to == nullptr) continue;
      runtime_->copy_out(to, head_.logits.get() + (i - first) * limits_.vocab,
                         static_cast<size_t>(limits_.vocab) * sizeof(float));
    }
  }

  const BackendOptions options_;
  const std::unique_ptr<Runtime> runtime_;  // before all that has memory of it
  WeightLoader loader_;
  ProductRunner products_;
  std::vector<LoadedMatrix> matrices_;
  std::vector<Memory<float>> vectors_;
  std::vector<Buffer> buffers_;

  StateLayout layout_;
  int num_slots_ = 0;
  Memory<float> states_;  // [slot][layout.floats]

  StepLimits limits_;
  StepMemory memory_;
  LayerPaths paths_;           // of this model on this device
  std::string paths_warning_;  // of proving them
  MixerMemory mixer_;
  HeadMemory head_;
  Recordings recordings_;

  HostStep host_step_;  // the step under way
  OperationList list_;
  DeviceStep step_;
  uint64_t submitted_ = 0;  // steps
  uint64_t done_ = 0;       // of them known to be over
  int32_t num_results_[2] = {};
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(std::unique_ptr<Runtime> runtime,
                                           const BackendOptions& options) {
  return std::make_unique<CudaBackend>(std::move(runtime), options);
}

}  // namespace deltaserve::cuda
