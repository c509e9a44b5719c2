// One task of a matmul: some rows times some panels.
#pragma once
#include <cstdint>

#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/quantize.h"

namespace deltaserve::cpu {

struct PanelTask {
  const PackedMatrix* w = nullptr;
  int64_t first_panel = 0;
  int64_t num_panels = 0;
  int64_t next_panel = 0;  // the panel whose weights the thread probably reads next; a hint
  int64_t first_row = 0;
  int64_t num_rows = 0;
  // The activations: `rounded` for int8, int4 and paired bf16, x for the others.
  const float* x = nullptr;
  int64_t x_stride = 0;
  const ActivationRows* rounded = nullptr;
  IntegerPath path = IntegerPath::kPairs;
  bool accumulate = false;
  // The output at first_row and first_panel; there must be room for whole panels.
  float* out = nullptr;
  int64_t out_stride = 0;
};

void multiply_float_panels(const PanelTask& task);
void multiply_integer_panels(const PanelTask& task);
// Computes the result of multiply_integer_panels in scalar code.
void multiply_integer_panels_plainly(const PanelTask& task);

}  // namespace deltaserve::cpu
