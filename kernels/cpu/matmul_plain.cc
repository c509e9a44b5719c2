// The definition of the integer matmuls, in scalar code. This file is built without contraction of
// multiplications and additions.
#include <algorithm>

#include "kernels/cpu/panel_task.h"

namespace deltaserve::cpu {
namespace {

// Returns the exact sum of the products of input features [first, end).
int32_t sum_of_products(const PackedMatrix& w, int64_t row, const int8_t* x, int64_t first,
                        int64_t end) {
  int32_t sum = 0;
  for (int64_t k = first; k < end; ++k) sum += w.code(row, k) * x[k];
  return sum;
}

// Return the contribution of one run of int8 blocks, or of one int4 block, with the input features
// [first, end). An output is the sum of these.
float int8_run(const PackedMatrix& w, int64_t row, const int8_t* x, const float* x_scales,
               int64_t first, int64_t end) {
  float total = 0;
  for (int64_t k = first; k < end; k += kActivationBlock) {
    const int32_t sum = sum_of_products(w, row, x, k, std::min(k + kActivationBlock, end));
    const float value = static_cast<float>(sum) * x_scales[k / kActivationBlock];
    total = k == first ? value : total + value;
  }
  return total * w.scale(row, first);
}

float int4_block(const PackedMatrix& w, int64_t row, const int8_t* x, const float* x_scales,
                 int64_t first, int64_t end) {
  float total = 0;
  for (int64_t k = first; k < end; k += kInt4Group) {
    const int32_t sum = sum_of_products(w, row, x, k, std::min(k + kInt4Group, end));
    const float value = static_cast<float>(sum) * w.scale(row, k);
    total = k == first ? value : total + value;
  }
  return total * x_scales[first / kActivationBlock];
}

}  // namespace

void multiply_integer_panels_plainly(const PanelTask& task) {
  const PackedMatrix& w = *task.w;
  const ActivationRows& x = *task.rounded;
  const bool int8 = w.format == WeightFormat::kInt8;
  const int64_t step = int8 ? kInt8RunBlocks * kActivationBlock : kActivationBlock;
  const int64_t first_output = task.first_panel * kPanelColumns;
  const int64_t outputs = std::min(w.rows - first_output, task.num_panels * kPanelColumns);
  for (int64_t r = 0; r < task.num_rows; ++r) {
    const int64_t at = (task.first_row + r) * x.stride;
    for (int64_t o = 0; o < outputs; ++o) {
      float* out = task.out + r * task.out_stride + o;
      for (int64_t k = 0; k < w.columns; k += step) {
        const float value = (int8 ? int8_run : int4_block)(w, first_output + o, x.codes.get() + at,
                                                           x.scales.get() + at / kActivationBlock,
                                                           k, std::min(k + step, w.columns));
        *out = k == 0 && !task.accumulate ? value : *out + value;
      }
    }
  }
}

}  // namespace deltaserve::cpu
