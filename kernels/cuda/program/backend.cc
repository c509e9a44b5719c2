#include "kernels/cuda/program/backend.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/base/human_bytes.h"
#include "kernels/cuda/draw/draw_memory.h"
#include "kernels/cuda/layer/mixer_layer.h"
#include "kernels/cuda/layer/rowwise.h"
#include "kernels/cuda/program/graphs.h"
#include "kernels/cuda/program/program_memory.h"
#include "kernels/cuda/program/refusal.h"
#include "kernels/program/slot_check.h"

namespace deltaserve::cuda {
namespace {

// Two of the runtime's events are for steps, the others for transfers in turn. A transfer whose
// event has gone on to a later one is waited for with that one.
constexpr int kStepEvents = 2;
constexpr int kTransferEvents = Runtime::kEvents - kStepEvents;

int step_event(uint64_t step) {
  return static_cast<int>(step % kStepEvents);
}
int transfer_event(uint64_t transfer) {
  return kStepEvents + static_cast<int>(transfer % kTransferEvents);
}

int host_transfer_event(uint64_t transfer) {
  return static_cast<int>(transfer % Runtime::kTransferEvents);
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(std::unique_ptr<Runtime> runtime, const BackendOptions& options)
      : options_(options),
        runtime_(std::move(runtime)),
        matmuls_(*runtime_, options.matmuls),
        graphs_(*runtime_) {}
  ~CudaBackend() override { runtime_->synchronize(); }

  // ---- At load

  int64_t free_memory() const override { return static_cast<int64_t>(runtime_->free_bytes()); }
  std::string refusal(const Program& program, const Limits& limits) const override {
    return refusal_of(program, limits);
  }

  std::string load(const Program& program, const Limits& limits) override {
    check_program(program);
    DS_CHECK(refusal(program, limits).empty() && memory_.weights.empty());
    DS_CHECK(limits.snapshots >= 0 && limits.snapshots <= limits.slots);
    limits_ = limits;
    last_hidden_ = program.last_hidden;
    drawn_hidden_ = program.drawn_hidden;
    logits_ = program.logits;
    final_norm_ = program.final_norm;
    output_ = program.output;
    for (const Op& op : program.ops) {
      if (op.kind == OpKind::kMatmul && first_weight_ < 0) first_weight_ = op.weight;
    }
    final_eps_ = program.final_eps;
    vocab_ = program.vocab;
    slot_floats_ = program.slot_bytes / static_cast<int64_t>(sizeof(float));
    if (std::string failure =
            memory_.load(*runtime_, matmuls_, program, limits, options_.matmul_ends);
        !failure.empty()) {
      return failure;
    }
    for (MixerVariant& variant : memory_.variants) {
      if (!options_.one_launch_mixer) variant.paths.one_launch_decode = false;
    }
    if (options_.overlap) {
      self_test_overlap(*runtime_, memory_.variants, matmuls_.support(), &memory_.warning);
    }
    if (!reserve_steps()) {
      return "not enough memory for steps of " + std::to_string(limits.rows) + " rows";
    }
    // The size is not 0 floats even where no layer has a state.
    states_ = Memory<float>(*runtime_, std::max<int64_t>(slot_floats_ * limits.slots, 1));
    last_tokens_ = Memory<int32_t>(*runtime_, std::max(limits.slots, 1));
    if (states_.empty() || last_tokens_.empty()) {
      return "not enough memory for " + std::to_string(limits.slots) + " states of " +
             human_bytes(static_cast<uint64_t>(program.slot_bytes));
    }
    if (limits.host_slots > 0) {
      host_states_ = HostMemory<float>(*runtime_, slot_floats_ * limits.host_slots);
      if (host_states_.empty()) {
        return "not enough memory of the host that can be pinned for " +
               std::to_string(limits.host_slots) + " states of " +
               human_bytes(static_cast<uint64_t>(program.slot_bytes));
      }
    }
    host_transfers_.assign(static_cast<size_t>(limits.slots), {});
    runtime_->fill_zero(states_.get(), states_.bytes());
    runtime_->fill_zero(last_tokens_.get(), last_tokens_.bytes());
    slot_check_ = SlotCheck(limits.slots);
    return "";
  }

  // ---- A step

  Ticket forward(const Step& step) override {
    DS_CHECK(drawn_ == submitted_);
    // The step is staged in memory that the step before the last one used.
    DS_CHECK(submitted_ - waited_ <= 1);
    ++submitted_;
    const StepView view = StepView::of(step);
    slot_check_.check(view);
    run_after_transfers(view);
    num_rows_ = view.num_rows;
    const bool one_row_each = view.num_decode == view.num_rows;
    if (options_.graphs && one_row_each && view.num_rows > 0) {
      const int32_t rows = static_cast<int32_t>(
          std::min<int64_t>({padded_batch(view.num_rows), limits_.rows, simt::kMaxGridYZ}));
      step_ = step_memory_.copy_in(view, rows);
      graphs_.run(rows, [this] { run_operations(); });
    } else {
      step_ = step_memory_.copy_in(view, 0);
      run_operations();
    }
    return {submitted_, 0};
  }

  void draw(Ticket ticket, Array<Draw> draws) override {
    DS_CHECK(ticket.step == submitted_ && drawn_ + 1 == submitted_ && drawn_ == waited_);
    ++drawn_;
    DS_CHECK(draws.count <= limits_.draws);
    num_draws_ = static_cast<int32_t>(draws.count);
    for (int32_t done = 0; done < num_draws_;) {
      // Draws whose adjustments and masks did not fit beside those of the others: rare.
      if (done > 0) runtime_->synchronize();
      const DeviceDraws some = draw_memory_.copy_in({draws.data + done, num_draws_ - done});
      run_draws(some, draws.data + done, done);
      done += some.count;
    }
    if (num_draws_ > 0) {
      runtime_->copy_out(host_results_.get(), results_.get(),
                         static_cast<size_t>(num_draws_) * sizeof(DrawResult));
    }
    runtime_->record_event(step_event(ticket.step));
  }

  void wait(Ticket ticket, DrawResult* results) override {
    if (ticket.transfer > 0) {
      DS_CHECK(ticket.transfer <= transfers_);
      return runtime_->wait_for_event(transfer_event(ticket.transfer));
    }
    DS_CHECK(ticket.step == waited_ + 1 && ticket.step <= drawn_);
    ++waited_;
    runtime_->wait_for_event(step_event(ticket.step));
    std::copy_n(host_results_.get(), num_draws_, results);
  }

  int steps_ahead() const override { return 1; }

  // ---- Slots

  void copy_slot(int from, int to) override {
    if (from == to) return;
    before_read(from);
    before_write(to);
    runtime_->copy(slot(to), slot(from), slot_bytes());
  }
  Ticket export_slot(int from, void* host) override {
    before_read(from);
    runtime_->copy_out(host, slot(from), slot_bytes());
    return transfer();
  }
  Ticket import_slot(int to, const void* host) override {
    before_write(to);
    runtime_->copy_in(slot(to), host, slot_bytes());
    return transfer();
  }

  // ---- Slots in the host's memory

  void store_slot(int from, int to) override {
    runtime_->transfer_out(host_slot(to), slot(from), slot_bytes());
    transfers_of(from).store = end_host_transfer();
  }
  void load_slot(int from, int to) override {
    runtime_->transfer_in(slot(to), host_slot(from), slot_bytes());
    transfers_of(to).load = end_host_transfer();
  }
  bool slot_is_loaded(int slot) override {
    const uint64_t load = transfers_of(slot).load;
    if (load <= done_host_transfers_) return true;
    if (!runtime_->transfers_are_done(host_transfer_event(load))) return false;
    done_host_transfers_ = load;
    return true;
  }

  // ---- For logs and metrics

  std::string description() const override {
    std::string text = "cuda " + runtime_->description();
    for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
      size_t bytes = 0;
      for (const LoadedWeight& weight : memory_.weights) {
        const bool counts = weight.vector.empty() && weight.matrix.matrix.dtype == dtype;
        bytes += counts ? weight.bytes() : 0;
      }
      if (bytes == 0) continue;
      text += ", " + human_bytes(bytes) + " of " + dtype_name(dtype) + " weights";
    }
    if (!matmuls_.library_choices().empty()) text += ", prefill matmuls by cuBLASLt";
    for (const std::string* warning : {&matmuls_.warning(), &memory_.warning}) {
      if (!warning->empty()) text += "; warning: " + *warning;
    }
    return text;
  }

  deltaserve::Memory memory() const override {
    deltaserve::Memory memory;
    for (const LoadedWeight& weight : memory_.weights) {
      const auto bytes = static_cast<int64_t>(weight.bytes());
      memory.weights += bytes;
      if (weight.every_step) memory.step_weights += bytes;
    }
    memory.slots = int64_t{limits_.slots} * static_cast<int64_t>(slot_bytes() + sizeof(int32_t));
    size_t scratch = memory_.scratch.bytes() + step_memory_.bytes() + draw_memory_.bytes() +
                     adjusted_.bytes() + parts_.bytes() + results_.bytes() + matmuls_.bytes();
    for (const DeviceBuffer& buffer : memory_.buffers) scratch += buffer.bytes();
    memory.scratch = static_cast<int64_t>(scratch);
    memory.host_slots = static_cast<int64_t>(host_states_.bytes());
    return memory;
  }

 private:
  bool reserve_steps() {
    if (options_.graphs) graphs_.reserve(limits_.rows);
    const int64_t draws = std::max(limits_.draws, 1);
    adjusted_ = Memory<float>(*runtime_, int64_t{memory_.draw_block} * vocab_);
    parts_ = Memory<LogitsPart>(*runtime_, memory_.draw_block * num_parts(vocab_));
    results_ = Memory<DrawResult>(*runtime_, draws);
    host_results_ = HostMemory<DrawResult>(*runtime_, draws);
    return !adjusted_.empty() && !parts_.empty() && !results_.empty() && !host_results_.empty() &&
           step_memory_.reserve(*runtime_, {limits_.rows, limits_.segments}) &&
           draw_memory_.reserve(*runtime_, {draws, vocab_, options_.draw_extra_bytes}) &&
           matmuls_.reserve(std::max(limits_.rows, memory_.draw_block));
  }

  float* slot(int index) const {
    DS_CHECK(index >= 0 && index < limits_.slots);
    return states_.get() + index * slot_floats_;
  }
  size_t slot_bytes() const { return static_cast<size_t>(slot_floats_) * sizeof(float); }
  Ticket transfer() {
    runtime_->record_event(transfer_event(++transfers_));
    return {0, transfers_};
  }

  // ---- Transfers to and from the host's slots

  // The last ones of a slot, counted from 1.
  struct HostTransfers {
    uint64_t store = 0;
    uint64_t load = 0;
  };

  float* host_slot(int index) {
    DS_CHECK(index >= 0 && index < limits_.host_slots);
    return host_states_.get() + index * slot_floats_;
  }
  HostTransfers& transfers_of(int slot) {
    DS_CHECK(slot >= 0 && slot < limits_.slots);
    return host_transfers_[static_cast<size_t>(slot)];
  }
  uint64_t end_host_transfer() {
    runtime_->record_transfer_event(host_transfer_event(++host_transfers_queued_));
    return host_transfers_queued_;
  }

  // Makes the work that is queued from now on run after that transfer. An event that has gone on to
  // a later transfer comes after this one, too.
  void run_after_transfer(uint64_t transfer) {
    if (transfer <= done_host_transfers_) return;
    runtime_->run_after_transfers(host_transfer_event(transfer));
    done_host_transfers_ = transfer;
  }
  void before_read(int slot) { run_after_transfer(transfers_of(slot).load); }
  void before_write(int slot) {
    run_after_transfer(std::max(transfers_of(slot).load, transfers_of(slot).store));
  }
  void run_after_transfers(const StepView& step) {
    for (int32_t s = 0; s < step.num_segments; ++s) {
      const Segment& segment = step.segments[s];
      if (segment.write_slot < 0) continue;
      if (segment.position > 0) before_read(segment.read_slot);
      before_write(segment.write_slot);
      if (segment.keep_slot >= 0) before_write(segment.keep_slot);
    }
  }

  // ---- The forward pass

  void run_operations() {
    for (DeviceBuffer& buffer : memory_.buffers) buffer.bf16_current = false;
    const StepView& step = step_.view;
    for (size_t i = 0; i < memory_.ops.size(); ++i) {
      const DecodeOp& decode = memory_.decode_plan[i];
      const bool as_program = decode.action == DecodeAction::kAsProgram;
      const int32_t first = as_program ? 0 : step.num_decode_rows;
      if (first > 0) run_decode(memory_.ops[i], decode, first);
      if (first < step.num_rows) run(memory_.ops[i], decode, first);
    }
  }

  // Runs an operation for the step's rows from `first` on, which is 0 or the first prefill row.
  void run(const Op& op, const DecodeOp& decode, int32_t first) {
    const simt::Stream stream = runtime_->stream();
    const int32_t count = step_.view.num_rows - first;
    DeviceBuffer& out = memory_.buffer(op.out);
    switch (op.kind) {
      case OpKind::kEmbed:
        return launch_embed(
            stream, memory_.matrix(op.weight),
            {step_.view.token_ids, step_.row_segments, step_.view.segments, last_tokens_.get()},
            count, out.written());
      case OpKind::kNorm:
        return launch_rms_norm(stream, memory_.buffer(op.in).rows().from(first), nullptr,
                               memory_.vector(op.weight).get(), op.eps, count,
                               out.written().from(first));
      case OpKind::kMatmul: return run_matmul(op, first);
      case OpKind::kGate:
        return launch_gate(stream, op.activation, memory_.buffer(op.in).rows().from(first), count,
                           out.written().from(first));
      case OpKind::kMixer: return run_mixer(op, decode);
    }
  }

  static MatmulRows matmul_rows(const DeviceBuffer& x, int32_t column, int32_t first = 0) {
    const int64_t at = first * x.stride + column;
    return {x.data.empty() ? nullptr : x.data.get() + at,
            x.bf16_current ? x.bf16.get() + at : nullptr, x.stride};
  }

  void run_matmul(const Op& op, int32_t first) {
    const MatmulRows x = matmul_rows(memory_.buffer(op.in), op.in_column, first);
    const DeviceMatrix& w = memory_.matrix(op.weight);
    const DeviceRows out = memory_.buffer(op.out).changed().from(first);
    const bool fills_rows = op.out_column == 0 && w.rows == out.columns;
    const int32_t count = step_.view.num_rows - first;
    matmuls_.multiply(w, x, count, step_.view.num_decode_rows - first, op.accumulate,
                      {out.data + op.out_column, out.stride, fills_rows});
    add_bias(op, count, out);
  }
  void add_bias(const Op& op, int32_t count, const DeviceRows& out) {
    if (op.bias < 0) return;
    launch_add_bias(runtime_->stream(), memory_.vector(op.bias).get(),
                    memory_.matrix(op.weight).rows, count, out, op.out_column);
  }

  // Runs an operation for the step's decode rows as the plan says.
  void run_decode(const Op& op, const DecodeOp& decode, int32_t rows) {
    if (decode.action == DecodeAction::kMatmul) return run_decode_matmul(op, decode, rows);
    if (decode.action != DecodeAction::kScaleRows) return;
    DeviceBuffer& out = memory_.buffer(op.out);
    launch_scale_rows(runtime_->stream(), memory_.buffer(op.in).rows(),
                      memory_.vector(op.weight).get(), rows, out.written(), out.squares.get());
  }

  // Returns the factors of the rows in `buffer` that a norm or a mixer leaves to matmuls.
  RowFactors factors_behind(const Op& op, const DeviceBuffer& buffer) const {
    if (op.kind == OpKind::kNorm) {
      return {buffer.squares.get(), 1, square_groups(buffer.columns), op.eps};
    }
    const MixerShape& shape = memory_.mixers[static_cast<size_t>(op.mixer)].layer.shape;
    return {buffer.squares.get(), shape.heads, square_groups(shape.value_dim), shape.norm_eps};
  }

  void run_decode_matmul(const Op& op, const DecodeOp& decode, int32_t rows) {
    const DeviceBuffer& in = memory_.buffer(op.in);
    MatmulCall call;
    call.w = memory_.matrix(op.weight);
    call.x = in.data.get();
    if (in.bf16_current) call.x_bf16 = in.bf16.get();
    call.x_stride = call.x_bf16_stride = in.stride;
    call.num_rows = rows;
    call.end = decode.end;
    if (decode.norm >= 0) {
      call.factors = factors_behind(memory_.ops[static_cast<size_t>(decode.norm)], in);
    }
    if (decode.result >= 0) {
      DeviceBuffer& result = memory_.buffer(decode.result);
      call.out_bf16 = result.written().bf16;
      call.out_bf16_stride = result.stride;
      call.squares = result.squares.get();
    }
    if (decode.next_norm >= 0) {
      const Op& next = memory_.ops[static_cast<size_t>(decode.next_norm)];
      call.next_norm = memory_.vector(next.weight).get();
    }
    const DeviceRows out = memory_.buffer(op.out).changed();
    call.out = out.data + op.out_column;
    call.out_stride = out.stride;
    call.accumulate = op.accumulate;
    matmuls_.multiply_with_end(call);
    add_bias(op, rows, out);
  }

  void run_mixer(const Op& op, const DecodeOp& decode) {
    const LoadedMixer& mixer = memory_.mixers[static_cast<size_t>(op.mixer)];
    const MixerShape& shape = mixer.layer.shape;
    const DeviceBuffer& projected = memory_.buffer(op.in);
    const DeviceRows out = memory_.buffer(op.out).written();
    MixerScratch& scratch = memory_.scratch;
    MixerLayer layer = mixer.layer;
    layer.projection.columns = static_cast<int32_t>(projected.stride);  // with their padding
    float* squares = decode.leaves_factors ? memory_.buffer(op.out).squares.get() : nullptr;
    const bool conditioned = shape.conditioning.on;
    const MixerCall call = {layer,
                            mixer.weights,
                            step_.view,
                            projected.data.get(),
                            out.data,
                            {states_.get(), slot_floats_, layer.state},
                            scratch.features.get(),
                            scratch.gates.get(),
                            conditioned ? scratch.queries.get() : nullptr,
                            conditioned ? scratch.covariance.get() : nullptr,
                            GateLayout(shape)};
    run_mixer_layer(runtime_->stream(), {call, step_.row_segments, step_.chunks, step_.num_chunks,
                                         scratch.prefill.get(), out.bf16,
                                         memory_.variants[static_cast<size_t>(mixer.variant)].paths,
                                         out.stride - shape.value_columns(), squares});
  }

  // ---- Draws

  // Runs draws of which the first is the step's `first`.
  void run_draws(const DeviceDraws& draws, const Draw* host, int32_t first) {
    const simt::Stream stream = runtime_->stream();
    const DeviceMatrix& output = memory_.matrix(output_);
    const Memory<float>& norm = memory_.vector(final_norm_);
    DeviceBuffer& hidden = memory_.buffer(last_hidden_);
    DeviceBuffer& drawn = memory_.buffer(drawn_hidden_);
    DeviceBuffer& logits = memory_.buffer(logits_);
    for (int32_t begin = 0; begin < draws.count; begin += memory_.draw_block) {
      const int32_t count = std::min(memory_.draw_block, draws.count - begin);
      launch_rms_norm(stream, hidden.rows(), draws.rows + begin, norm.get(), final_eps_, count,
                      drawn.written());
      // Rows of either kind are few here, and take the kernels of decode rows.
      matmuls_.multiply(output, matmul_rows(drawn, 0), count, count, false,
                        {logits.data.get(), logits.stride, false});
      EvaluateCall call;
      call.logits = logits.data.get();
      call.logits_stride = logits.stride;
      call.vocab = vocab_;
      call.num_rows = count;
      call.rows = draws.list + begin;
      call.adjustments = draws.adjustments;
      call.allowed = draws.allowed;
      call.scratch = adjusted_.get();
      call.parts = parts_.get();
      call.results = results_.get() + first + begin;
      call.last_tokens = last_tokens_.get();
      ask_for_first_weights(&call);
      launch_evaluate(stream, call);
      for (int32_t i = 0; i < count; ++i) copy_rows(host[begin + i], i);
    }
  }

  // The next forward pass begins with the first matmul's weights.
  void ask_for_first_weights(EvaluateCall* call) const {
    if (first_weight_ < 0 || !options_.prefetch) return;
    const DeviceMatrix& w = memory_.matrix(first_weight_);
    call->next_weights = w.data;
    call->next_bytes = w.rows * w.stride * static_cast<int64_t>(dtype_size(w.dtype)) / 16 * 16;
  }

  // Copies what a draw wants on the host; its logits are row `row` of the block.
  void copy_rows(const Draw& draw, int32_t row) {
    DS_CHECK(draw.row >= 0 && draw.row < num_rows_ && draw.slot < limits_.slots);
    DS_CHECK(draw.slot < 0 || draw.sample);
    const auto copy = [this](const DeviceBuffer& from, int32_t at, float* to) {
      if (to == nullptr) return;
      runtime_->copy_out(to, from.data.get() + at * from.stride,
                         static_cast<size_t>(from.columns) * sizeof(float));
    };
    copy(memory_.buffer(logits_), row, draw.logits);
    copy(memory_.buffer(last_hidden_), draw.row, draw.hidden);
  }

  const BackendOptions options_;
  const std::unique_ptr<Runtime> runtime_;  // before all that has memory of it
  MatmulRunner matmuls_;
  ProgramMemory memory_;
  Graphs graphs_;

  // These follow from the program and its limits.
  Limits limits_;
  int32_t last_hidden_ = -1, drawn_hidden_ = -1, logits_ = -1;
  int32_t final_norm_ = -1, output_ = -1;
  int32_t first_weight_ = -1;  // that a forward pass multiplies by; -1 = none
  float final_eps_ = 0;
  int64_t vocab_ = 0;
  int64_t slot_floats_ = 0;

  SlotCheck slot_check_;
  Memory<float> states_;                       // [slots][slot_floats_]
  Memory<int32_t> last_tokens_;                // [slots]
  HostMemory<float> host_states_;              // [host_slots][slot_floats_]
  std::vector<HostTransfers> host_transfers_;  // [slots]

  StepMemory step_memory_;
  DrawMemory draw_memory_;
  Memory<float> adjusted_;    // logits of a block of draws, where they are adjusted
  Memory<LogitsPart> parts_;  // of a block of draws
  Memory<DrawResult> results_;
  HostMemory<DrawResult> host_results_;  // of the step that is waited for next

  DeviceStep step_;                  // that was queued last
  int32_t num_rows_ = 0;             // of it, without padding
  int32_t num_draws_ = 0;            // that were queued last
  uint64_t submitted_ = 0;           // forward passes queued
  uint64_t drawn_ = 0, waited_ = 0;  // of them those whose draws are queued; waited for
  uint64_t transfers_ = 0;
  uint64_t host_transfers_queued_ = 0;
  uint64_t done_host_transfers_ = 0;  // of them, for the work that is queued from now on
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(std::unique_ptr<Runtime> runtime,
                                           const BackendOptions& options) {
  return std::make_unique<CudaBackend>(std::move(runtime), options);
}

}  // namespace deltaserve::cuda
