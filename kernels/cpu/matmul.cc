#include "kernels/cpu/matmul.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cpu/panel_task.h"

namespace deltaserve::cpu {
namespace {

// Rows of a task: with a block of input features they stay in a second-level cache.
constexpr int64_t kTaskRows = 128;
// A last panel that the output has no room for goes through a small buffer, rows at a time.
constexpr int64_t kTailRows = 32;

void multiply_panels(const PanelTask& task) {
  if (!task.w->quantised()) {
    multiply_float_panels(task);
  } else if (task.path == IntegerPath::kPlain) {
    multiply_integer_panels_plainly(task);
  } else {
    multiply_integer_panels(task);
  }
}

// The last panel of w, which `task.out` has no room for.
void multiply_partial_panel(const PanelTask& task) {
  alignas(64) float buffer[kTailRows * kPanelColumns];
  const int64_t columns = task.w->rows - task.first_panel * kPanelColumns;
  for (int64_t r = 0; r < task.num_rows; r += kTailRows) {
    PanelTask piece = task;
    piece.first_row += r;
    piece.num_rows = std::min(kTailRows, task.num_rows - r);
    piece.out = buffer;
    piece.out_stride = kPanelColumns;
    float* to = task.out + r * task.out_stride;
    if (task.accumulate) {
      for (int64_t i = 0; i < piece.num_rows; ++i) {
        std::copy_n(to + i * task.out_stride, columns, buffer + i * kPanelColumns);
        std::fill_n(buffer + i * kPanelColumns + columns, kPanelColumns - columns, 0.0f);
      }
    }
    multiply_panels(piece);
    for (int64_t i = 0; i < piece.num_rows; ++i) {
      std::copy_n(buffer + i * kPanelColumns, columns, to + i * task.out_stride);
    }
  }
}

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// How many panels a task takes: pairs for few rows, more where their rows are worth keeping in the
// cache, but enough tasks for every thread.
int64_t panels_of_task(const PackedMatrix& w, int64_t num_rows, int64_t row_blocks,
                       int num_threads) {
  if (num_rows <= 2) return 2;
  if (num_rows < kTaskRows / 2) return 1;
  return std::clamp<int64_t>(w.panels() * row_blocks / (8 * num_threads), 1, 4);
}

}  // namespace

void matmul(const float* x, int64_t x_stride, const PackedMatrix& w, int64_t num_rows,
            bool accumulate, float* out, int64_t out_stride, IntegerPath path,
            QuantizedRows& scratch, ThreadPool& threads) {
  if (num_rows <= 0) return;
  if (w.quantised()) {
    quantize_rows(x, x_stride, num_rows, w.columns, w.format, path, scratch, threads);
  }
  const int64_t row_blocks = divide_up(num_rows, kTaskRows);
  const int64_t block_rows = divide_up(num_rows, row_blocks);
  const int64_t per_task = panels_of_task(w, num_rows, row_blocks, threads.num_threads());
  const int64_t panel_tasks = divide_up(w.panels(), per_task);
  const int64_t whole = w.rows / kPanelColumns;
  // Neighbouring tasks share their rows.
  threads.parallel_for(row_blocks * panel_tasks, [&](int64_t index, int) {
    PanelTask task;
    task.w = &w;
    task.first_row = index / panel_tasks * block_rows;
    task.num_rows = std::min(block_rows, num_rows - task.first_row);
    task.x = x;
    task.x_stride = x_stride;
    task.integers = &scratch;
    task.path = path;
    task.accumulate = accumulate;
    task.out_stride = out_stride;
    const int64_t first = index % panel_tasks * per_task;
    const int64_t end = std::min(first + per_task, w.panels());
    task.first_panel = first;
    task.num_panels = std::min(end, whole) - first;
    task.out = out + task.first_row * out_stride + first * kPanelColumns;
    if (task.num_panels > 0) multiply_panels(task);
    if (end > whole) {
      task.first_panel = whole;
      task.num_panels = 1;
      task.out = out + task.first_row * out_stride + whole * kPanelColumns;
      multiply_partial_panel(task);
    }
  });
}

}  // namespace deltaserve::cpu
