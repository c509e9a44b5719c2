#include "kernels/cuda/step_memory.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/random.h"

namespace deltaserve::cuda {
namespace {

int64_t mask_words(int64_t vocab) {
  return (vocab + 31) / 32;
}

int64_t num_chunks(const StepView& view) {
  int64_t chunks = 0;
  for (int s = view.num_decode; s < view.num_segments; ++s) {
    chunks += (view.segments[s].num_rows + kChunkTokens - 1) / kChunkTokens;
  }
  return chunks;
}

DeviceHeadRow device_row(const Draw& row) {
  DeviceHeadRow device;
  device.target = row.target;
  device.num_top = row.num_top;
  device.num_adjustments = row.num_adjustments;
  device.top_k = row.top_k;
  device.temperature = row.temperature;
  device.top_p = row.top_p;
  device.min_p = row.min_p;
  device.sample = row.sample;
  device.uniform = uniform(philox(row.seed, row.position, row.choice));
  return device;
}

}  // namespace

int32_t padded_batch(int32_t rows) {
  const auto power = static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(rows)));
  const int32_t between = power / 4 * 3;
  return power > 16 && rows <= between ? between : power;
}

// Byte offsets, from the sizes of a step.
struct StepMemory::Parts {
  int64_t rows, segments, chunks, head_rows;
  int64_t bytes = 0;
  int64_t token_ids, segment_list, row_segments, chunk_list, head_sources, head_list, extra;

  Parts(int64_t num_rows, int64_t num_segments, int64_t chunks_, int64_t num_head_rows)
      : rows(num_rows),
        segments(num_segments),
        chunks(chunks_),
        head_rows(num_head_rows),
        token_ids(take<int32_t>(rows)),
        segment_list(take<Segment>(segments)),
        row_segments(take<int32_t>(rows)),
        chunk_list(take<Chunk>(chunks)),
        head_sources(take<int32_t>(head_rows)),
        head_list(take<DeviceHeadRow>(head_rows)),
        extra(bytes) {}

 private:
  template <class T>
  int64_t take(int64_t count) {
    const int64_t begin = bytes;
    bytes += (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
    return begin;
  }
};

bool StepMemory::reserve(Runtime& runtime, const StepLimits& limits) {
  runtime_ = &runtime;
  limits_ = limits;
  const int64_t worst_row =
      limits.vocab * static_cast<int64_t>(sizeof(LogitAdjustment)) + mask_words(limits.vocab) * 4;
  max_extra_bytes_ = std::max(limits.head_extra_bytes, worst_row);
  const Parts parts(limits.rows, std::max(limits.segments, limits.rows), limits.chunks(),
                    limits.head_rows);
  const int64_t bytes = parts.bytes + max_extra_bytes_;
  device_ = Memory<unsigned char>(runtime, bytes);
  for (auto& staging : staging_) {
    staging = HostMemory<unsigned char>(runtime, bytes);
    if (staging.empty()) return false;
  }
  return !device_.empty();
}

int64_t StepMemory::extra_bytes(const Draw& row) const {
  return row.num_adjustments * static_cast<int64_t>(sizeof(LogitAdjustment)) +
         (row.allowed == nullptr ? 0 : mask_words(limits_.vocab) * 4);
}

int32_t StepMemory::fitting_head_rows(const HostStep& step) const {
  int64_t bytes = 0;
  for (int32_t i = 0; i < step.num_head_rows; ++i) {
    bytes += extra_bytes(step.head_rows[i]);
    if (bytes > max_extra_bytes_) return i;
  }
  return step.num_head_rows;
}

// Rows and segments behind the step's own are padding.
void StepMemory::fill_rows(const StepView& view, const Parts& parts, unsigned char* to) const {
  auto* token_ids = reinterpret_cast<int32_t*>(to + parts.token_ids);
  std::copy_n(view.token_ids, view.num_rows, token_ids);
  std::fill(token_ids + view.num_rows, token_ids + parts.rows, -1);
  auto* segments = reinterpret_cast<Segment*>(to + parts.segment_list);
  std::copy_n(view.segments, view.num_segments, segments);
  for (auto i = static_cast<int32_t>(view.num_segments); i < parts.segments; ++i) {
    segments[i] = {-1, -1, view.num_rows + i - view.num_segments, 1, 0};
  }
  auto* row_segments = reinterpret_cast<int32_t*>(to + parts.row_segments);
  for (int32_t s = 0; s < parts.segments; ++s) {
    std::fill_n(row_segments + segments[s].first_row, segments[s].num_rows, s);
  }
  auto* chunk = reinterpret_cast<Chunk*>(to + parts.chunk_list);
  for (int32_t s = view.num_decode; s < view.num_segments; ++s) {
    const Segment& segment = view.segments[s];
    for (int32_t row = 0; row < segment.num_rows; row += kChunkTokens) {
      *chunk++ = {s, segment.first_row + row, std::min(kChunkTokens, segment.num_rows - row)};
    }
  }
}

void StepMemory::fill_head(const HostStep& step, int32_t count, const Parts& parts,
                           unsigned char* to) const {
  auto* sources = reinterpret_cast<int32_t*>(to + parts.head_sources);
  auto* rows = reinterpret_cast<DeviceHeadRow*>(to + parts.head_list);
  auto* adjustments = reinterpret_cast<LogitAdjustment*>(to + parts.extra);
  int64_t num_adjustments = 0;
  for (int32_t i = 0; i < count; ++i) {
    const Draw& row = step.head_rows[i];
    DS_CHECK(row.row >= 0 && row.row < step.view.num_rows);
    sources[i] = row.row;
    rows[i] = device_row(row);
    rows[i].adjustments = num_adjustments;
    std::copy_n(row.adjustments, row.num_adjustments, adjustments + num_adjustments);
    num_adjustments += row.num_adjustments;
  }
  for (int64_t i = count; i < parts.head_rows; ++i) {
    sources[i] = 0;
    rows[i] = DeviceHeadRow();
  }
  // Masks behind the adjustments; both are whole words.
  static_assert(sizeof(LogitAdjustment) % sizeof(uint32_t) == 0);
  auto* words = reinterpret_cast<uint32_t*>(to + parts.extra);
  auto next = num_adjustments * static_cast<int64_t>(sizeof(LogitAdjustment) / sizeof(uint32_t));
  for (int32_t i = 0; i < count; ++i) {
    if (step.head_rows[i].allowed == nullptr) continue;
    std::copy_n(step.head_rows[i].allowed, mask_words(limits_.vocab), words + next);
    rows[i].allowed = next;
    next += mask_words(limits_.vocab);
  }
}

DeviceStep StepMemory::copy_in(const HostStep& step, int32_t padded_rows,
                               int32_t padded_head_rows) {
  const StepView& view = step.view;
  const int32_t fitting = fitting_head_rows(step);
  DS_CHECK(fitting > 0 || step.num_head_rows == 0);
  const bool all = fitting == step.num_head_rows;
  const int32_t padding = padded_rows > 0 ? padded_rows - view.num_rows : 0;
  DS_CHECK(padding >= 0 && (padding == 0 || view.num_decode == view.num_rows));
  const Parts parts(view.num_rows + padding, view.num_segments + padding, num_chunks(view),
                    all ? std::max(fitting, padded_head_rows) : fitting);
  DS_CHECK(parts.rows <= limits_.rows && parts.chunks <= limits_.chunks());
  DS_CHECK(parts.segments <= std::max(limits_.segments, limits_.rows));
  DS_CHECK(parts.head_rows <= limits_.head_rows);

  unsigned char* to = staging_[turn_].get();
  turn_ = 1 - turn_;
  fill_rows(view, parts, to);
  fill_head(step, fitting, parts, to);
  int64_t bytes = parts.extra;
  for (int32_t i = 0; i < fitting; ++i) bytes += extra_bytes(step.head_rows[i]);
  runtime_->copy_in(device_.get(), to, static_cast<size_t>(bytes));

  const auto at = [&]<class T>(int64_t offset, const T*& pointer) {
    pointer = reinterpret_cast<const T*>(device_.get() + offset);
  };
  DeviceStep device;
  at(parts.token_ids, device.view.token_ids);
  at(parts.segment_list, device.view.segments);
  at(parts.row_segments, device.row_segments);
  at(parts.chunk_list, device.chunks);
  at(parts.head_sources, device.head_sources);
  at(parts.head_list, device.head_rows);
  at(parts.extra, device.adjustments);
  at(parts.extra, device.allowed);
  device.view.num_rows = static_cast<int32_t>(parts.rows);
  device.view.num_segments = static_cast<int32_t>(parts.segments);
  device.view.num_decode = view.num_decode + padding;
  device.num_chunks = static_cast<int32_t>(parts.chunks);
  device.num_head_rows = all ? static_cast<int32_t>(parts.head_rows) : fitting;
  return device;
}

}  // namespace deltaserve::cuda
