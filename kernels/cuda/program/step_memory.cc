#include "kernels/cuda/program/step_memory.h"

#include <algorithm>
#include <bit>

#include "kernels/base/check.h"
#include "kernels/cuda/device/packed_parts.h"

namespace deltaserve::cuda {
namespace {

int64_t num_chunks(const StepView& step) {
  int64_t chunks = 0;
  for (int32_t s = step.num_decode; s < step.num_segments; ++s) {
    chunks += (step.segments[s].num_rows + kChunkTokens - 1) / kChunkTokens;
  }
  return chunks;
}

}  // namespace

int32_t padded_batch(int32_t rows) {
  const auto power = static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(rows)));
  const int32_t between = power / 4 * 3;
  return power > 16 && rows <= between ? between : power;
}

struct StepMemory::Parts : PackedParts {
  int64_t rows, segments, chunks;
  Part<int32_t> token_ids;
  Part<Segment> segment_list;
  Part<int32_t> row_segments;
  Part<Chunk> chunk_list;

  Parts(int64_t num_rows, int64_t num_segments, int64_t count)
      : rows(num_rows),
        segments(num_segments),
        chunks(count),
        token_ids(take<int32_t>(rows)),
        segment_list(take<Segment>(segments)),
        row_segments(take<int32_t>(rows)),
        chunk_list(take<Chunk>(chunks)) {}
};

bool StepMemory::reserve(Runtime& runtime, const StepLimits& limits) {
  runtime_ = &runtime;
  limits_ = limits;
  // Each padding row is a segment of its own.
  limits_.segments = std::max(limits.segments, limits.rows);
  const int64_t bytes = Parts(limits_.rows, limits_.segments, limits_.chunks()).bytes;
  device_ = Memory<unsigned char>(runtime, bytes);
  for (auto& staging : staging_) {
    staging = HostMemory<unsigned char>(runtime, bytes);
    if (staging.empty()) return false;
  }
  return !device_.empty();
}

// Rows and segments after the step's own are padding.
void StepMemory::fill(const StepView& step, const Parts& parts, unsigned char* to) {
  int32_t* token_ids = parts.token_ids.at(to);
  std::copy_n(step.token_ids, step.num_rows, token_ids);
  std::fill(token_ids + step.num_rows, token_ids + parts.rows, 0);
  Segment* segments = parts.segment_list.at(to);
  std::copy_n(step.segments, step.num_segments, segments);
  for (int32_t i = step.num_segments; i < parts.segments; ++i) {
    Segment padding;
    padding.read_slot = padding.write_slot = -1;
    padding.first_row = step.num_rows + i - step.num_segments;
    padding.num_rows = 1;
    segments[i] = padding;
  }
  int32_t* row_segments = parts.row_segments.at(to);
  for (int32_t s = 0; s < parts.segments; ++s) {
    std::fill_n(row_segments + segments[s].first_row, segments[s].num_rows, s);
  }
  Chunk* chunk = parts.chunk_list.at(to);
  for (int32_t s = step.num_decode; s < step.num_segments; ++s) {
    const Segment& segment = step.segments[s];
    for (int32_t row = 0; row < segment.num_rows; row += kChunkTokens) {
      *chunk++ = {s, segment.first_row + row, std::min(kChunkTokens, segment.num_rows - row)};
    }
  }
}

DeviceStep StepMemory::copy_in(const StepView& step, int32_t padded_rows) {
  const int32_t padding = padded_rows > 0 ? padded_rows - step.num_rows : 0;
  DS_CHECK(padding >= 0 && (padding == 0 || step.num_decode == step.num_rows));
  const Parts parts(step.num_rows + padding, step.num_segments + padding, num_chunks(step));
  DS_CHECK(parts.rows <= limits_.rows && parts.segments <= limits_.segments);
  DS_CHECK(parts.chunks <= limits_.chunks());

  unsigned char* staging = staging_[turn_].get();
  turn_ = 1 - turn_;
  fill(step, parts, staging);
  runtime_->copy_in(device_.get(), staging, static_cast<size_t>(parts.bytes));

  DeviceStep device;
  device.view = step;
  device.view.token_ids = parts.token_ids.at(device_.get());
  device.view.segments = parts.segment_list.at(device_.get());
  device.view.num_rows += padding;
  device.view.num_segments += padding;
  device.view.num_decode += padding;
  device.view.num_decode_rows += padding;
  device.row_segments = parts.row_segments.at(device_.get());
  device.chunks = parts.chunk_list.at(device_.get());
  device.num_chunks = static_cast<int32_t>(parts.chunks);
  return device;
}

}  // namespace deltaserve::cuda
