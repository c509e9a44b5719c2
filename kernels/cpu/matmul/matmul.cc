#include "kernels/cpu/matmul/matmul.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/cpu/matmul/panel_task.h"

namespace deltaserve::cpu {
namespace {

// The largest number of rows per task. With a block of input features they stay in a second-level
// cache.
constexpr int64_t kTaskRows = 128;
// This many rows fit into a first-level cache, with any addresses.
constexpr int64_t kCacheWays = 8;
// From this many rows on, a task keeps its sums of outputs, which it updates again and again, in a
// buffer: rows of `out` may have addresses at which they evict each other from the caches.
constexpr int64_t kRowsWorthBuffer = 16;
constexpr int64_t kBufferedPanels = 4;
// Distance of the buffer's rows, chosen so that they do not share sets of the caches.
constexpr int64_t kBufferStride = kBufferedPanels * kPanelColumns + 16;

void multiply_panels(const PanelTask& task) {
  if (!task.w->quantised()) {
    multiply_float_panels(task);
  } else if (task.path == IntegerPath::kPlain) {
    multiply_integer_panels_plainly(task);
  } else {
    multiply_integer_panels(task);
  }
}

// Computes the task through the buffer. `columns` is the number of outputs; it is smaller than that
// of the task's panels if `task.out` has no room for all of the last one.
void multiply_through_buffer(PanelTask task, int64_t columns) {
  alignas(64) float buffer[kTaskRows * kBufferStride];
  float* const out = task.out;
  const int64_t width = task.num_panels * kPanelColumns;
  for (int64_t r = 0; task.accumulate && r < task.num_rows; ++r) {
    float* to = std::copy_n(out + r * task.out_stride, columns, buffer + r * kBufferStride);
    std::fill_n(to, width - columns, 0.0f);
  }
  const int64_t stride = std::exchange(task.out_stride, kBufferStride);
  task.out = buffer;
  multiply_panels(task);
  for (int64_t r = 0; r < task.num_rows; ++r) {
    std::copy_n(buffer + r * kBufferStride, columns, out + r * stride);
  }
}

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Returns how many panels a task takes: two for few rows, more if their rows are worth keeping in
// the cache, but few enough that there are tasks for every thread.
int64_t panels_of_task(const PackedMatrix& w, int64_t num_rows, int64_t row_blocks,
                       int num_threads) {
  if (num_rows <= 2) return 2;
  if (num_rows < kRowsWorthBuffer) return 1;
  return std::clamp<int64_t>(w.panels() * row_blocks / (8 * num_threads), 1, kBufferedPanels);
}

}  // namespace

void matmul(const float* x, int64_t x_stride, const PackedMatrix& w, int64_t num_rows,
            bool accumulate, float* out, int64_t out_stride, IntegerPath path,
            ActivationRows& scratch, ThreadPool& threads) {
  if (num_rows <= 0) return;
  if (w.quantised()) {
    quantize_rows(x, x_stride, num_rows, w.columns, w.format, path, scratch, threads);
  } else if (w.paired_bf16()) {
    round_rows(x, x_stride, num_rows, w.columns, scratch, threads);
  } else if (num_rows > kCacheWays) {
    copy_rows(x, x_stride, num_rows, w.columns, scratch, threads);
    x = scratch.floats.get();
    x_stride = scratch.stride;
  }
  const int64_t row_blocks = divide_up(num_rows, kTaskRows);
  const int64_t block_rows = divide_up(num_rows, row_blocks);
  const int64_t per_task = panels_of_task(w, num_rows, row_blocks, threads.num_threads());
  const int64_t panel_tasks = divide_up(w.panels(), per_task);
  // Tasks next to each other share their rows.
  threads.parallel_for(row_blocks * panel_tasks, [&](int64_t index, int) {
    PanelTask task;
    task.w = &w;
    task.first_row = index / panel_tasks * block_rows;
    task.num_rows = std::min(block_rows, num_rows - task.first_row);
    task.x = x;
    task.x_stride = x_stride;
    task.rounded = &scratch;
    task.path = path;
    task.accumulate = accumulate;
    task.out_stride = out_stride;
    task.first_panel = index % panel_tasks * per_task;
    task.num_panels = std::min(per_task, w.panels() - task.first_panel);
    task.next_panel =
        std::min((index + threads.num_threads()) % panel_tasks * per_task, w.panels() - 1);
    const int64_t column = task.first_panel * kPanelColumns;
    const int64_t columns = std::min(task.num_panels * kPanelColumns, w.rows - column);
    task.out = out + task.first_row * out_stride + column;
    if (columns < task.num_panels * kPanelColumns || task.num_rows >= kRowsWorthBuffer) {
      multiply_through_buffer(task, columns);
    } else {
      multiply_panels(task);
    }
  });
}

}  // namespace deltaserve::cpu
