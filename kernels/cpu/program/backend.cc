#include "kernels/program/backend.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "hwy/highway.h"
#include "kernels/base/check.h"
#include "kernels/base/human_bytes.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cpu/base/aligned.h"
#include "kernels/cpu/draw/draw.h"
#include "kernels/cpu/layer/mixer_layer.h"
#include "kernels/cpu/layer/rowwise.h"
#include "kernels/cpu/matmul/matmul.h"
#include "kernels/cpu/matmul/matmul_support.h"
#include "kernels/program/slot_check.h"

namespace deltaserve {
namespace {

using cpu::AlignedArray;
using cpu::allocate_aligned;

struct Activations {
  int64_t columns = 0;
  AlignedArray<float> data;  // [Limits::rows, columns]

  float* row(int64_t index) const { return data.get() + index * columns; }
};

// A matrix or a vector; the other one is empty.
struct LoadedWeight {
  cpu::PackedMatrix matrix;
  int64_t size = 0;
  AlignedArray<float> vector;

  size_t bytes() const {
    return vector == nullptr ? matrix.bytes() : static_cast<size_t>(size) * sizeof(float);
  }
};

LoadedWeight load_vector(const HostMatrix& values) {
  LoadedWeight weight;
  weight.size = values.rows * values.columns;
  weight.vector = allocate_aligned<float>(static_cast<size_t>(weight.size));
  for (int64_t i = 0; weight.vector != nullptr && i < weight.size; ++i) {
    weight.vector[i] = load_as_f32(values.data, values.dtype, static_cast<size_t>(i));
  }
  return weight;
}

constexpr int64_t kRowsPerTask = 16;  // for elementwise operations

// Names the widest instruction set that is used, as its makers do.
std::string instruction_set() {
  const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  const int64_t widest = targets & -targets;
  return widest == HWY_AVX3 ? "AVX-512" : hwy::TargetName(widest);
}

// Interprets the program, one operation at a time, on the calling thread and the pool's.
class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(ThreadPool* threads) : threads_(*threads) {}

  int64_t free_memory() const override { return 0; }

  // The CPU is the reference of all backends and runs all operations.
  std::string refusal(const Program& program, const Limits&) const override {
    return complaint_about_growth(program);
  }

  std::string load(const Program& program, const Limits& limits) override {
    check_program(program);
    DS_CHECK(weights_.empty() && limits.rows > 0 && limits.snapshots >= 0);
    DS_CHECK(limits.slots > limits.snapshots);
    ops_.assign(program.ops.begin(), program.ops.end());
    mixers_.assign(program.mixers.begin(), program.mixers.end());
    hidden_ = program.last_hidden;
    slot_floats_ = program.slot_bytes / static_cast<int64_t>(sizeof(float));
    std::string error = load_weights(program);
    if (error.empty()) error = allocate_activations(program, limits);
    if (error.empty()) error = allocate_slots(limits);
    return error;
  }

  Ticket forward(const Step& step) override {
    const StepView view = StepView::of(step);
    DS_CHECK(view.num_rows <= limits_.rows && view.num_segments <= limits_.segments);
    slot_check_.check(view);
    resolve_tokens(view);
    step_ = view;
    step_.token_ids = tokens_.data();
    for (const Op& op : ops_) run(op);
    return {++steps_};
  }

  void draw(Ticket ticket, Array<Draw> draws) override {
    DS_CHECK(ticket.step == steps_);
    draws_.run(logits_head_, activations(hidden_).data.get(), draws, matmuls_.integers, operands_,
               threads_);
    for (int64_t i = 0; i < draws.count; ++i) {
      DS_CHECK(draws[i].row >= 0 && draws[i].row < step_.num_rows);
      if (draws[i].slot < 0 || !draws[i].sample) continue;
      drawn_tokens_[static_cast<size_t>(draws[i].slot)] =
          draws_.results()[static_cast<size_t>(i)].token;
    }
  }

  void wait(Ticket ticket, DrawResult* results) override {
    if (ticket.transfer > 0) return;  // the transfer was done inside the call
    DS_CHECK(ticket.step == steps_);
    std::copy(draws_.results().begin(), draws_.results().end(), results);
  }

  // forward() itself computes, so a pass queued ahead would only delay the step before.
  int steps_ahead() const override { return 0; }

  void copy_slot(int from, int to) override {
    if (from != to) std::memcpy(slot(to), slot(from), slot_bytes());
  }
  Ticket export_slot(int from, void* host) override {
    std::memcpy(host, slot(from), slot_bytes());
    return {0, ++transfers_};
  }
  Ticket import_slot(int to, const void* host) override {
    std::memcpy(slot(to), host, slot_bytes());
    return {0, ++transfers_};
  }

  void drop_slots(int first, int count) override {
    DS_CHECK(first >= 0 && count >= 0 && count <= limits_.slots - first);
    if (count > 0) cpu::give_back_pages(slot(first), static_cast<size_t>(count) * slot_bytes());
  }

  void store_slot(int from, int to) override {
    std::memcpy(host_slot(to), slot(from), slot_bytes());
  }
  void load_slot(int from, int to) override {
    std::memcpy(slot(to), host_slot(from), slot_bytes());
  }
  bool slot_is_loaded(int) override { return true; }

  std::string description() const override {
    std::string text = "cpu " + instruction_set() + ", " + std::to_string(threads_.num_threads()) +
                       (threads_.num_threads() == 1 ? " thread" : " threads");
    for (const WeightFormat format :
         {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
      size_t bytes = 0;
      for (const LoadedWeight& w : weights_) {
        bytes += w.vector == nullptr && w.matrix.format == format ? w.bytes() : 0;
      }
      if (bytes == 0) continue;
      text += ", " + human_bytes(bytes) + " of " + weight_format_name(format) + " weights";
      if (format == WeightFormat::kBf16 && matmuls_.bf16 == cpu::Bf16Panels::kPairs) {
        text += " (activations rounded to bf16)";
      }
    }
    const std::string& warning = matmuls_.warning;
    return warning.empty() ? text : text + "; warning: " + warning;
  }

  Memory memory() const override { return memory_; }

 private:
  // ---- At load

  std::string load_weights(const Program& program) {
    weights_.reserve(static_cast<size_t>(program.weights.count));
    for (int32_t i = 0; i < program.weights.count; ++i) {
      const Weight& from = program.weights[i];
      LoadedWeight weight;
      if (from.kind == WeightKind::kVector) {
        weight = load_vector(from.blocks[0]);
      } else {
        weight.matrix = cpu::pack_matrix(from.blocks.data, static_cast<int>(from.blocks.count),
                                         from.format, threads_, matmuls_.bf16);
        int64_t& most =
            weight.matrix.rounds_activations() ? max_rounded_columns_ : max_float_columns_;
        most = std::max(most, weight.matrix.columns);
      }
      if (weight.vector == nullptr && weight.matrix.data == nullptr) {
        return std::string("not enough memory to load the ") + from.role;
      }
      const auto bytes = static_cast<int64_t>(weight.bytes());
      memory_.weights += bytes;
      if (!reads_only_rows(program, i)) memory_.step_weights += bytes;
      weights_.push_back(std::move(weight));
    }
    logits_head_ = {vector(program.final_norm), program.final_eps, &matrix(program.output)};
    for (const MixerLayer& layer : mixers_) {
      mixer_weights_.push_back(map_vectors<const float*>(
          layer.vectors, [this](int32_t index) { return index < 0 ? nullptr : vector(index); }));
    }
    return "";
  }

  std::string allocate_activations(const Program& program, const Limits& limits) {
    limits_ = limits;
    tokens_.resize(static_cast<size_t>(limits.rows));
    drawn_tokens_.assign(static_cast<size_t>(limits.slots), kTokenOfSlot);
    for (const Buffer& buffer : program.buffers) {
      Activations made;
      made.columns = buffer.columns;
      if (buffer.rows == RowsOf::kStep) {  // DrawRunner has the buffers of the draws
        const int64_t floats = int64_t{limits.rows} * buffer.columns;
        made.data = allocate_aligned<float>(static_cast<size_t>(floats));
        if (made.data == nullptr) return no_memory("steps");
        std::fill_n(made.data.get(), floats, 0.0f);  // touches every page at load instead of in a
                                                     // step
        memory_.scratch += floats * static_cast<int64_t>(sizeof(float));
      }
      activations_.push_back(std::move(made));
    }
    const int64_t rows = std::max<int64_t>(limits.rows, cpu::DrawRunner::kBlock);
    const bool rounded = max_rounded_columns_ == 0 || operands_.reserve(rows, max_rounded_columns_);
    const bool floats =
        max_float_columns_ == 0 || operands_.reserve_floats(rows, max_float_columns_);
    const int threads = threads_.num_threads();
    if (!rounded || !floats ||
        !draws_.reserve(program.hidden, program.vocab, limits.draws, threads) ||
        !mixer_.reserve(program.mixers, limits.rows, limits.segments, threads)) {
      return no_memory("the working buffers of steps");
    }
    memory_.scratch += operands_.bytes() + draws_.bytes() + mixer_.bytes();
    return "";
  }

  std::string no_memory(const char* what) const {
    return std::string("not enough memory for ") + what + " of " + std::to_string(limits_.rows) +
           " rows";
  }

  std::string allocate_slots(const Limits& limits) {
    const auto bytes_of = [this](int32_t slots) {
      return static_cast<size_t>(slots) * slot_bytes();
    };
    slots_ = cpu::map_zeros<float>(bytes_of(limits.slots) / sizeof(float));
    if (slots_ == nullptr) {
      return "not enough memory for " + std::to_string(limits.slots) + " states of " +
             human_bytes(slot_bytes());
    }
    // Touches the pages of sequences at load instead of in a step, but not those of snapshots.
    std::memset(slots_.get(), 0, bytes_of(limits.slots - limits.snapshots));
    host_slots_ = cpu::map_zeros<float>(bytes_of(limits.host_slots) / sizeof(float));
    if (limits.host_slots > 0 && host_slots_ == nullptr) {
      return "not enough memory for " + std::to_string(limits.host_slots) + " states of " +
             human_bytes(slot_bytes()) + " in the host's memory";
    }
    slot_check_ = SlotCheck(limits.slots);
    memory_.host_slots = static_cast<int64_t>(bytes_of(limits.host_slots));
    memory_.slots = static_cast<int64_t>(bytes_of(limits.slots));
    return "";
  }

  // ---- The operations

  void run(const Op& op) {
    switch (op.kind) {
      case OpKind::kEmbed: return embed(op);
      case OpKind::kNorm: return norm(op);
      case OpKind::kMatmul: return multiply(op);
      case OpKind::kGate: return gate(op);
      case OpKind::kMixer: return mix(op);
    }
  }

  void embed(const Op& op) {
    const cpu::PackedMatrix& table = matrix(op.weight);
    const Activations& out = activations(op.out);
    for_rows([&](int64_t r) { table.read_row(step_.token_ids[r], out.row(r)); });
  }

  void norm(const Op& op) {
    const Activations& in = activations(op.in);
    const Activations& out = activations(op.out);
    const float* weight = vector(op.weight);
    for_rows(
        [&](int64_t r) { cpu::rms_norm_row(in.row(r), weight, op.eps, in.columns, out.row(r)); });
  }

  void multiply(const Op& op) {
    const cpu::PackedMatrix& weight = matrix(op.weight);
    const Activations& in = activations(op.in);
    const Activations& out = activations(op.out);
    cpu::matmul(in.data.get() + op.in_column, in.columns, weight, step_.num_rows, op.accumulate,
                out.data.get() + op.out_column, out.columns, matmuls_.integers, operands_,
                threads_);
    if (op.bias < 0) return;
    const float* bias = vector(op.bias);
    for_rows([&](int64_t r) {
      cpu::add_scaled_row(1.0f, bias, weight.rows, out.row(r) + op.out_column);
    });
  }

  void gate(const Op& op) {
    const Activations& in = activations(op.in);
    const Activations& out = activations(op.out);
    const int64_t n = out.columns;
    for_rows(
        [&](int64_t r) { cpu::gate_row(op.activation, in.row(r), in.row(r) + n, n, out.row(r)); });
  }

  void mix(const Op& op) {
    const auto index = static_cast<size_t>(op.mixer);
    mixer_.run(mixers_[index], mixer_weights_[index], step_, activations(op.in).data.get(),
               activations(op.out).data.get(), {slots_.get(), slot_floats_, mixers_[index].state},
               threads_);
  }

  // ---- Helpers of the operations

  // Copies the step's tokens and replaces kTokenOfSlot by the last token drawn for the slot.
  void resolve_tokens(const StepView& view) {
    std::copy_n(view.token_ids, view.num_rows, tokens_.begin());
    for (int s = 0; s < view.num_segments; ++s) {
      const Segment& segment = view.segments[s];
      int32_t& token = tokens_[static_cast<size_t>(segment.first_row)];
      if (token == kTokenOfSlot) token = drawn_tokens_[static_cast<size_t>(segment.read_slot)];
    }
    DS_CHECK(std::none_of(tokens_.begin(), tokens_.begin() + view.num_rows,
                          [](int32_t token) { return token < 0; }));
  }

  const cpu::PackedMatrix& matrix(int32_t index) const {
    return weights_[static_cast<size_t>(index)].matrix;
  }
  const float* vector(int32_t index) const {
    return weights_[static_cast<size_t>(index)].vector.get();
  }
  const Activations& activations(int32_t index) const {
    return activations_[static_cast<size_t>(index)];
  }
  size_t slot_bytes() const { return static_cast<size_t>(slot_floats_) * sizeof(float); }
  float* slot(int index) const {
    DS_CHECK(index >= 0 && index < limits_.slots);
    return slots_.get() + index * slot_floats_;
  }
  float* host_slot(int index) const {
    DS_CHECK(index >= 0 && index < limits_.host_slots);
    return host_slots_.get() + index * slot_floats_;
  }

  template <class Body>
  void for_rows(const Body& body) {
    const int64_t rows = step_.num_rows;
    threads_.parallel_for((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
      const int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
      for (int64_t r = task * kRowsPerTask; r < end; ++r) body(r);
    });
  }

  ThreadPool& threads_;
  const cpu::MatmulSupport& matmuls_ = cpu::matmul_support();

  // ---- The program, loaded
  Limits limits_;
  std::vector<Op> ops_;
  std::vector<MixerLayer> mixers_;
  std::vector<MixerWeights> mixer_weights_;  // weight vectors of mixers_
  std::vector<LoadedWeight> weights_;
  int64_t max_rounded_columns_ = 0;  // of matrices that take rounded activations; 0 = none
  int64_t max_float_columns_ = 0;    // of matrices that take float activations; 0 = none
  std::vector<Activations> activations_;
  int32_t hidden_ = -1;  // index into activations_ of the rows that draws read
  cpu::LogitsHead logits_head_;
  Memory memory_;

  // ---- The sequences' memory
  int64_t slot_floats_ = 0;
  cpu::MappedArray<float> slots_;       // [slot][slot_floats_]
  cpu::MappedArray<float> host_slots_;  // likewise
  SlotCheck slot_check_;
  std::vector<int32_t> drawn_tokens_;  // the last one for each slot

  // ---- The step that is being computed
  StepView step_;
  std::vector<int32_t> tokens_;
  cpu::ActivationRows operands_;  // activations of the current matmul, converted
  cpu::MixerRunner mixer_;
  cpu::DrawRunner draws_;
  uint64_t steps_ = 0;
  uint64_t transfers_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(ThreadPool* threads) {
  return std::make_unique<CpuBackend>(threads);
}

}  // namespace deltaserve
