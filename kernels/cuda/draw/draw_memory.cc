#include "kernels/cuda/draw/draw_memory.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/random.h"
#include "kernels/cuda/device/packed_parts.h"

namespace deltaserve::cuda {
namespace {

constexpr auto kAdjustmentBytes = static_cast<int64_t>(sizeof(LogitAdjustment));
constexpr auto kWordBytes = static_cast<int64_t>(sizeof(uint32_t));

int64_t mask_words(int64_t vocab) {
  return (vocab + 31) / 32;
}

DeviceDraw device_draw(const Draw& draw) {
  DeviceDraw device;
  device.slot = draw.slot;
  device.target = draw.target;
  device.num_top = draw.num_top;
  device.num_adjustments = draw.num_adjustments;
  device.top_k = draw.top_k;
  device.temperature = draw.temperature;
  device.top_p = draw.top_p;
  device.min_p = draw.min_p;
  device.sample = draw.sample;
  device.uniform = uniform(philox(draw.seed, draw.position, draw.choice));
  return device;
}

}  // namespace

struct DrawMemory::Parts : PackedParts {
  Part<int32_t> rows;
  Part<DeviceDraw> list;
  Part<LogitAdjustment> adjustments;
  Part<uint32_t> allowed;

  Parts(int64_t draws, int64_t num_adjustments, int64_t num_words)
      : rows(take<int32_t>(draws)),
        list(take<DeviceDraw>(draws)),
        adjustments(take<LogitAdjustment>(num_adjustments)),
        allowed(take<uint32_t>(num_words)) {}
};

bool DrawMemory::reserve(Runtime& runtime, const DrawLimits& limits) {
  runtime_ = &runtime;
  limits_ = limits;
  const int64_t worst_draw =
      limits.vocab * kAdjustmentBytes + mask_words(limits.vocab) * kWordBytes;
  max_extra_bytes_ = std::max(limits.extra_bytes, worst_draw);
  // There are two paddings, because adjustments and masks are separate parts.
  const int64_t bytes = Parts(limits.draws, 0, 0).bytes + max_extra_bytes_ + 32;
  device_ = Memory<unsigned char>(runtime, bytes);
  staging_ = HostMemory<unsigned char>(runtime, bytes);
  return !device_.empty() && !staging_.empty();
}

int64_t DrawMemory::extra_bytes(const Draw& draw) const {
  return draw.num_adjustments * kAdjustmentBytes +
         (draw.allowed == nullptr ? 0 : mask_words(limits_.vocab) * kWordBytes);
}

int32_t DrawMemory::fitting(Array<Draw> draws) const {
  int64_t bytes = 0;
  int32_t count = 0;
  for (const Draw& draw : draws) {
    bytes += extra_bytes(draw);
    if (bytes > max_extra_bytes_) break;
    ++count;
  }
  return count;
}

void DrawMemory::fill(Array<Draw> draws, const Parts& parts, unsigned char* to) const {
  int32_t* rows = parts.rows.at(to);
  DeviceDraw* list = parts.list.at(to);
  int64_t num_adjustments = 0;
  int64_t num_words = 0;
  for (const Draw& draw : draws) {
    *rows++ = draw.row;
    *list = device_draw(draw);
    list->adjustments = num_adjustments;
    std::copy_n(draw.adjustments, draw.num_adjustments, parts.adjustments.at(to) + num_adjustments);
    num_adjustments += draw.num_adjustments;
    if (draw.allowed != nullptr) {
      list->allowed = num_words;
      std::copy_n(draw.allowed, mask_words(limits_.vocab), parts.allowed.at(to) + num_words);
      num_words += mask_words(limits_.vocab);
    }
    ++list;
  }
}

DeviceDraws DrawMemory::copy_in(Array<Draw> draws) {
  DS_CHECK(draws.count <= limits_.draws);
  const int32_t count = fitting(draws);
  DS_CHECK(count > 0);
  draws.count = count;
  int64_t num_adjustments = 0;
  int64_t num_words = 0;
  for (const Draw& draw : draws) {
    num_adjustments += draw.num_adjustments;
    num_words += draw.allowed == nullptr ? 0 : mask_words(limits_.vocab);
  }
  const Parts parts(count, num_adjustments, num_words);
  DS_CHECK(parts.bytes <= device_.size());
  fill(draws, parts, staging_.get());
  runtime_->copy_in(device_.get(), staging_.get(), static_cast<size_t>(parts.bytes));

  DeviceDraws device;
  device.rows = parts.rows.at(device_.get());
  device.list = parts.list.at(device_.get());
  device.adjustments = parts.adjustments.at(device_.get());
  device.allowed = parts.allowed.at(device_.get());
  device.count = count;
  return device;
}

}  // namespace deltaserve::cuda
