#include "kernels/cuda/layer/rowwise.h"

#include "kernels/cuda/layer/activation.h"
#include "kernels/cuda/layer/row_norm.h"

namespace deltaserve::cuda {
namespace {

// Elementwise kernels: a thread takes kColumns columns of one row, a warp neighbouring ones.
constexpr int kThreads = 128;
constexpr int kColumns = 4;

DS_DEVICE void store(const DeviceRows& out, int64_t row, int64_t column, float x) {
  const int64_t at = row * out.stride + column;
  if (out.data != nullptr) out.data[at] = x;
  if (out.bf16 != nullptr) out.bf16[at] = f32_to_bf16(x);
}

// out[row][first + c] = value(c) for the thread's columns c < n; all are read before one is
// written.
template <class Value>
DS_DEVICE void map_columns(int64_t n, const DeviceRows& out, int64_t first, const Value& value) {
  const int64_t begin = int64_t{simt::block_index().y} * kThreads * kColumns + simt::thread_index();
  float x[kColumns];
  DS_UNROLL
  for (int i = 0; i < kColumns; ++i) {
    const int64_t c = begin + i * kThreads;
    x[i] = c < n ? value(c) : 0.0f;
  }
  DS_UNROLL
  for (int i = 0; i < kColumns; ++i) {
    const int64_t c = begin + i * kThreads;
    if (c < n) store(out, simt::block_index().x, first + c, x[i]);
  }
}

simt::Grid column_grid(int num_rows, int64_t n) {
  constexpr int64_t kBlock = int64_t{kThreads} * kColumns;
  return {num_rows, static_cast<int>((n + kBlock - 1) / kBlock), 1};
}

DS_KERNEL void DS_BOUNDS(kThreads, 8)
    embed_kernel(DeviceMatrix table, RowTokens tokens, DeviceRows out) {
  simt::await_launches_before();
  const int row = simt::block_index().x;
  const Segment& segment = tokens.segments[tokens.row_segments[row]];
  int32_t token = tokens.token_ids[row];
  if (segment.write_slot < 0) {
    token = -1;
  } else if (token == kTokenOfSlot) {
    token = tokens.last_tokens[segment.read_slot];
  }
  const int64_t from = token * table.stride;
  map_columns(out.columns, out, 0, [&](int64_t c) {
    if (token < 0) return 0.0f;
    return table.dtype == Dtype::kF32
               ? static_cast<const float*>(table.data)[from + c]
               : bf16_to_f32(static_cast<const uint16_t*>(table.data)[from + c]);
  });
}

DS_KERNEL void DS_BOUNDS(kMaxRowThreads, 1)
    rms_norm_kernel(DeviceRows x, const int32_t* source_rows, const float* weight, float eps,
                    DeviceRows out) {
  simt::await_launches_before();
  const int row = simt::block_index().x;
  const float* in = x.data + (source_rows == nullptr ? row : source_rows[row]) * x.stride;
  normalise_row(
      static_cast<int>(x.columns), eps, [&](int c) { return in[c]; },
      [&](int c) { return weight[c]; }, [&](int c, float value) { store(out, row, c, value); });
}

// grid [rows, columns by kThreads]
DS_KERNEL void DS_BOUNDS(kThreads, 8)
    scale_rows_kernel(DeviceRows x, const float* weight, DeviceRows out, float* squares) {
  simt::await_launches_before();
  const int64_t row = simt::block_index().x;
  const int64_t c = int64_t{simt::block_index().y} * kThreads + simt::thread_index();
  const bool is_there = c < x.columns;
  const float value = is_there ? x.data[row * x.stride + c] : 0.0f;
  float square[1] = {simt::rounded_product(value, value)};
  simt::lanes_sum<kSquareGroup>(square);
  if (!is_there) return;
  out.bf16[row * out.stride + c] = f32_to_bf16(value * weight[c]);
  if (c % kSquareGroup == 0) {
    squares[row * square_groups(x.columns) + c / kSquareGroup] = square[0];
  }
}

DS_KERNEL void DS_BOUNDS(kThreads, 8)
    add_bias_kernel(const float* bias, int64_t n, DeviceRows out, int64_t column) {
  simt::await_launches_before();
  const float* row = out.data + int64_t{simt::block_index().x} * out.stride + column;
  map_columns(n, out, column, [&](int64_t c) { return row[c] + bias[c]; });
}

DS_KERNEL void DS_BOUNDS(kThreads, 8)
    gate_kernel(Activation activation, DeviceRows x, DeviceRows out) {
  simt::await_launches_before();
  const float* gate = x.data + int64_t{simt::block_index().x} * x.stride;
  const float* up = gate + out.columns;
  map_columns(out.columns, out, 0,
              [&](int64_t c) { return activate(activation, gate[c]) * up[c]; });
}

// A thread of the wide kernel takes this many neighbouring columns, in loads and stores of 16
// bytes.
constexpr int kWideColumns = 8;

DS_DEVICE void load_wide(const float* from, float (&to)[kWideColumns]) {
  const auto* at = reinterpret_cast<const simt::Float4*>(from);
  DS_UNROLL
  for (int i = 0; i < kWideColumns / 4; ++i) {
    const simt::Float4 part = at[i];
    DS_UNROLL
    for (int j = 0; j < 4; ++j) to[4 * i + j] = part.x[j];
  }
}
DS_DEVICE void store_wide(const DeviceRows& out, int64_t row, int64_t column,
                          const float (&x)[kWideColumns]) {
  const int64_t at = row * out.stride + column;
  if (out.data != nullptr) {
    auto* to = reinterpret_cast<simt::Float4*>(out.data + at);
    DS_UNROLL
    for (int i = 0; i < kWideColumns / 4; ++i) {
      to[i] = {{x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]}};
    }
  }
  if (out.bf16 == nullptr) return;
  simt::Words4 rounded;
  DS_UNROLL
  for (int i = 0; i < 4; ++i) rounded.word[i] = simt::pack_bf16(x[2 * i], x[2 * i + 1]).bits;
  *reinterpret_cast<simt::Words4*>(out.bf16 + at) = rounded;
}

// grid [rows, columns by kThreads * kWideColumns]
DS_KERNEL void DS_BOUNDS(kThreads, 8)
    wide_gate_kernel(Activation activation, DeviceRows x, DeviceRows out) {
  simt::await_launches_before();
  const int64_t row = simt::block_index().x;
  const int64_t c =
      (int64_t{simt::block_index().y} * kThreads + simt::thread_index()) * kWideColumns;
  if (c >= out.columns) return;
  float gate[kWideColumns], up[kWideColumns];
  load_wide(x.data + row * x.stride + c, gate);
  load_wide(x.data + row * x.stride + out.columns + c, up);
  DS_UNROLL
  for (int i = 0; i < kWideColumns; ++i) gate[i] = activate(activation, gate[i]) * up[i];
  store_wide(out, row, c, gate);
}

// Whether groups of kWideColumns columns fill the rows and stand where 16 bytes can be loaded.
bool is_wide(const DeviceRows& rows) {
  const auto aligned = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
  return rows.columns % kWideColumns == 0 && rows.stride % kWideColumns == 0 &&
         aligned(rows.data) && aligned(rows.bf16);
}

}  // namespace

void launch_embed(simt::Stream stream, const DeviceMatrix& table, const RowTokens& tokens,
                  int num_rows, const DeviceRows& out) {
  simt::launch(stream, column_grid(num_rows, out.columns), kThreads, 0, embed_kernel, table, tokens,
               out);
}

void launch_rms_norm(simt::Stream stream, const DeviceRows& x, const int32_t* source_rows,
                     const float* weight, float eps, int num_rows, const DeviceRows& out) {
  const int threads = row_threads(x.columns);
  simt::launch(stream, {num_rows, 1, 1}, threads, row_scratch_bytes(threads), rms_norm_kernel, x,
               source_rows, weight, eps, out);
}

void launch_scale_rows(simt::Stream stream, const DeviceRows& x, const float* weight, int num_rows,
                       const DeviceRows& out, float* squares) {
  const auto blocks = static_cast<int>((x.columns + kThreads - 1) / kThreads);
  simt::launch(stream, {num_rows, blocks, 1}, kThreads, 0, scale_rows_kernel, x, weight, out,
               squares);
}

void launch_add_bias(simt::Stream stream, const float* bias, int64_t n, int num_rows,
                     const DeviceRows& out, int64_t column) {
  simt::launch(stream, column_grid(num_rows, n), kThreads, 0, add_bias_kernel, bias, n, out,
               column);
}

void launch_gate(simt::Stream stream, Activation activation, const DeviceRows& x, int num_rows,
                 const DeviceRows& out) {
  if (is_wide(x) && is_wide(out)) {
    const int64_t groups = out.columns / kWideColumns;
    const auto blocks = static_cast<int>((groups + kThreads - 1) / kThreads);
    return simt::launch(stream, {num_rows, blocks, 1}, kThreads, 0, wide_gate_kernel, activation, x,
                        out);
  }
  simt::launch(stream, column_grid(num_rows, out.columns), kThreads, 0, gate_kernel, activation, x,
               out);
}

}  // namespace deltaserve::cuda
