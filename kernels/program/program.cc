#include "kernels/program/program.h"

#include <string>

#include "kernels/base/check.h"

namespace deltaserve {
namespace {

class Checker {
 public:
  explicit Checker(const Program& program) : program_(program) {}

  void check() const {
    for (const Buffer& buffer : program_.buffers) DS_CHECK(buffer.columns > 0);
    for (const Weight& weight : program_.weights) check_weight(weight);
    for (const MixerLayer& layer : program_.mixers) check_mixer(layer);
    for (const Op& op : program_.ops) check_op(op);
    check_draws();
    DS_CHECK(program_.slot_bytes >= 0 && program_.slot_bytes % 64 == 0);
  }

 private:
  const Buffer& buffer(int32_t index, RowsOf rows) const {
    DS_CHECK(index >= 0 && index < program_.buffers.count);
    DS_CHECK(program_.buffers[index].rows == rows);
    return program_.buffers[index];
  }
  int64_t columns(int32_t index) const { return buffer(index, RowsOf::kStep).columns; }
  const Weight& weight(int32_t index, WeightKind kind) const {
    DS_CHECK(index >= 0 && index < program_.weights.count);
    DS_CHECK(program_.weights[index].kind == kind);
    return program_.weights[index];
  }
  int64_t vector_size(int32_t index) const {
    const Weight& vector = weight(index, WeightKind::kVector);
    return vector.rows() * vector.columns();
  }
  // Aborts if the columns [first, first + count) are not inside the buffer.
  void check_columns(int32_t index, int64_t first, int64_t count) const {
    DS_CHECK(first >= 0 && first + count <= columns(index));
  }

  void check_weight(const Weight& w) const {
    DS_CHECK(!w.blocks.empty());
    DS_CHECK(w.kind == WeightKind::kMatrix || w.blocks.count == 1);
    for (const HostMatrix& block : w.blocks) {
      DS_CHECK(block.data != nullptr && block.rows > 0 && block.columns == w.columns());
    }
  }

  void check_mixer(const MixerLayer& layer) const {
    map_vectors<bool>(layer.vectors, [this](int32_t vector) {
      DS_CHECK(vector < 0 || vector_size(vector) > 0);
      return true;
    });
    const StateSpan whole = layer.state.whole();
    DS_CHECK(whole.floats > 0);
    DS_CHECK((whole.offset + whole.floats) * static_cast<int64_t>(sizeof(float)) <=
             program_.slot_bytes);
  }

  void check_matmul(const Op& op) const {
    const Weight& matrix = weight(op.weight, WeightKind::kMatrix);
    check_columns(op.in, op.in_column, matrix.columns());
    check_columns(op.out, op.out_column, matrix.rows());
    DS_CHECK(op.bias < 0 || vector_size(op.bias) == matrix.rows());
  }

  void check_op(const Op& op) const {
    switch (op.kind) {
      case OpKind::kEmbed:
        DS_CHECK(weight(op.weight, WeightKind::kMatrix).columns() == columns(op.out));
        DS_CHECK(weight(op.weight, WeightKind::kMatrix).rows() >= program_.vocab);
        return;
      case OpKind::kNorm:
        DS_CHECK(columns(op.in) == columns(op.out) && vector_size(op.weight) == columns(op.in));
        return;
      case OpKind::kMatmul: return check_matmul(op);
      case OpKind::kGate: DS_CHECK(columns(op.in) == 2 * columns(op.out)); return;
      case OpKind::kMixer: {
        DS_CHECK(op.mixer >= 0 && op.mixer < program_.mixers.count);
        const MixerLayer& layer = program_.mixers[op.mixer];
        DS_CHECK(columns(op.in) == layer.projection.columns);
        DS_CHECK(columns(op.out) == layer.shape.value_columns());
        return;
      }
    }
    DS_CHECK(false);
  }

  void check_draws() const {
    const Weight& output = weight(program_.output, WeightKind::kMatrix);
    DS_CHECK(columns(program_.last_hidden) == program_.hidden);
    DS_CHECK(buffer(program_.drawn_hidden, RowsOf::kDraws).columns == program_.hidden);
    DS_CHECK(buffer(program_.logits, RowsOf::kDraws).columns == program_.vocab);
    DS_CHECK(vector_size(program_.final_norm) == program_.hidden);
    DS_CHECK(output.columns() == program_.hidden && output.rows() == program_.vocab);
  }

  const Program& program_;
};

}  // namespace

void check_program(const Program& program) {
  Checker(program).check();
}

std::string complaint_about_growth(const Program& program) {
  for (const StatePart& part : program.parts) {
    if (part.per == Per::kSequence) continue;
    return "each token has " + std::to_string(part.bytes()) + " bytes of " + part.name +
           " of its own in layer " + std::to_string(part.layer) +
           "; there is only memory of a fixed size for each sequence";
  }
  return "";
}

bool reads_only_rows(const Program& program, int32_t weight) {
  if (weight == program.output) return false;
  bool embeds = false;
  for (const Op& op : program.ops) {
    if (op.weight != weight) continue;
    if (op.kind != OpKind::kEmbed) return false;
    embeds = true;
  }
  return embeds;
}

}  // namespace deltaserve
