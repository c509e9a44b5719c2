#include "kernels/cuda/program/decode_plan.h"

#include <algorithm>
#include <utility>

namespace deltaserve::cuda {
namespace {

class Planner {
 public:
  Planner(const Program& program, const DecodeSupport& support)
      : program_(program), support_(support), plan_(static_cast<size_t>(program.ops.count)) {}

  std::vector<DecodeOp> plan() {
    for (int32_t i = 0; i < num_ops(); ++i) {
      if (op(i).kind == OpKind::kNorm) take_norm(i);
      if (op(i).kind == OpKind::kGate) take_gate(i);
      if (op(i).kind == OpKind::kMixer) take_output_norm(i);
    }
    for (int32_t i = 0; i < num_ops(); ++i) {
      if (op(i).kind == OpKind::kMatmul) take_next_norm(i);
    }
    return std::move(plan_);
  }

 private:
  const Op& op(int32_t index) const { return program_.ops[index]; }
  DecodeOp& at(int32_t index) { return plan_[static_cast<size_t>(index)]; }
  int32_t num_ops() const { return static_cast<int32_t>(program_.ops.count); }
  int32_t columns(int32_t buffer) const { return program_.buffers[buffer].columns; }
  const Weight& weight(const Op& op) const { return program_.weights[op.weight]; }

  // Returns true if the matmul reads whole rows, of a buffer that is there in bf16, by weights that
  // take ends.
  bool multiplies_whole_rows(const Op& op) const {
    return op.kind == OpKind::kMatmul && op.in_column == 0 && op.in != op.out &&
           weight(op).columns() == columns(op.in) && columns(op.in) % 8 == 0 &&
           support_.takes_ends(op.weight);
  }
  bool fills_rows(const Op& op) const {
    return op.out_column == 0 && weight(op).rows() == columns(op.out);
  }

  // Puts the operations that read what `writer` writes into `readers`. Returns false if draws read
  // it, or if another operation adds to it.
  bool readers_of(int32_t writer, std::vector<int32_t>* readers) const {
    const int32_t buffer = op(writer).out;
    for (int32_t i = writer + 1; i < num_ops(); ++i) {
      if (op(i).in == buffer) readers->push_back(i);
      if (op(i).out != buffer) continue;
      const bool overwrites =
          op(i).kind != OpKind::kMatmul || (fills_rows(op(i)) && !op(i).accumulate);
      return overwrites && op(i).in != buffer;
    }
    return buffer != program_.last_hidden;
  }
  // Returns true if all that read what `writer` writes are such matmuls.
  bool only_matmuls_read(int32_t writer, std::vector<int32_t>* readers) const {
    return op(writer).out != op(writer).in && readers_of(writer, readers) && !readers->empty() &&
           std::all_of(readers->begin(), readers->end(),
                       [&](int32_t i) { return multiplies_whole_rows(op(i)); });
  }

  void take_norm(int32_t norm) {
    std::vector<int32_t> readers;
    if (!only_matmuls_read(norm, &readers)) return;
    at(norm).action = DecodeAction::kScaleRows;
    for (const int32_t i : readers) {
      at(i).action = DecodeAction::kMatmul;
      at(i).norm = norm;
    }
  }

  void take_output_norm(int32_t mixer) {
    std::vector<int32_t> readers;
    if (!support_.leaves_factors(op(mixer).mixer) || !only_matmuls_read(mixer, &readers)) return;
    at(mixer).leaves_factors = true;
    for (const int32_t i : readers) {
      at(i).action = DecodeAction::kMatmul;
      at(i).norm = mixer;
    }
  }

  void take_gate(int32_t gate) {
    std::vector<int32_t> readers;
    if (op(gate).activation != Activation::kSilu || !only_matmuls_read(gate, &readers)) return;
    // The matmul in front of it, whose result nobody else reads.
    const int32_t matmul = gate - 1;
    if (matmul < 0 || op(matmul).out != op(gate).in) return;
    std::vector<int32_t> others;
    if (!multiplies_whole_rows(op(matmul)) || !fills_rows(op(matmul)) || op(matmul).bias >= 0 ||
        op(matmul).accumulate || op(matmul).in == op(gate).out ||
        columns(op(matmul).out) != 2 * columns(op(gate).out) || !readers_of(matmul, &others) ||
        others.size() != 1) {
      return;
    }
    at(gate).action = DecodeAction::kNothing;
    at(matmul).action = DecodeAction::kMatmul;
    at(matmul).end = MatmulEnd::kGate;
    at(matmul).result = op(gate).out;
    for (const int32_t i : readers) at(i).action = DecodeAction::kMatmul;
  }

  void take_next_norm(int32_t matmul) {
    const Op& of = op(matmul);
    if (!multiplies_whole_rows(of) || !fills_rows(of) || !of.accumulate || of.bias >= 0) return;
    for (int32_t i = matmul + 1; i < num_ops(); ++i) {
      if (op(i).in != of.out && op(i).out != of.out) continue;
      if (op(i).in != of.out || at(i).action != DecodeAction::kScaleRows) return;
      // Nobody wants what stood in the norm's buffer before.
      for (int32_t j = matmul; j < i; ++j) {
        if (op(j).in == op(i).out || op(j).out == op(i).out) return;
      }
      at(i).action = DecodeAction::kNothing;
      at(matmul).action = DecodeAction::kMatmul;
      at(matmul).end = MatmulEnd::kNextNorm;
      at(matmul).next_norm = i;
      at(matmul).result = op(i).out;
      return;
    }
  }

  const Program& program_;
  const DecodeSupport& support_;
  std::vector<DecodeOp> plan_;
};

}  // namespace

std::vector<DecodeOp> plan_decode(const Program& program, const DecodeSupport& support) {
  return Planner(program, support).plan();
}

}  // namespace deltaserve::cuda
