#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/base/dtype.h"
#include "kernels/cpu/quantize.h"

namespace deltaserve::cpu {
namespace {

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Returns the index of output `lane` among the 16-bit halves of a row of 16 words.
int64_t half_of(int64_t lane) {
  return 2 * (lane % 16) + lane / 16;
}

// Returns the index of the bf16 weight from input feature `k` to output `lane` among a panel's
// 16-bit halves.
int64_t bf16_half(Bf16Panels panels, int64_t k, int64_t lane) {
  return panels == Bf16Panels::kPairs ? k / 2 * 2 * kPanelColumns + 2 * lane + k % 2
                                      : k * kPanelColumns + half_of(lane);
}

void put_bf16(unsigned char* halves, int64_t index, uint16_t bits) {
  std::memcpy(halves + 2 * index, &bits, 2);
}

// Returns the byte of a group that holds the nibble of input feature `k` (inside the group); a
// second function says whether it is the high one.
int64_t nibble_byte(int64_t k, int64_t lane) {
  return kInt4ScaleBytes + k / (2 * kQuad) * kQuadBytes + lane * kQuad + k % kQuad;
}
bool high_nibble(int64_t k) {
  return k / kQuad % 2 == 1;
}

void pack_int8_row(const float* weights, int64_t columns, int64_t lane, unsigned char* panel) {
  std::vector<uint8_t> codes(static_cast<size_t>(columns));
  const float scale = quantize_int8(weights, columns, codes.data());
  std::memcpy(panel + 4 * lane, &scale, 4);
  unsigned char* quads = panel + kInt8ScaleBytes;
  for (int64_t k = 0; k < columns; ++k) {
    quads[k / kQuad * kQuadBytes + lane * kQuad + k % kQuad] = codes[static_cast<size_t>(k)];
  }
}

void pack_int4_row(const float* weights, int64_t columns, int64_t lane, unsigned char* panel) {
  for (int64_t first = 0; first < columns; first += kInt4Group, panel += kInt4GroupBytes) {
    float group[kInt4Group] = {};
    uint8_t codes[kInt4Group];
    std::copy_n(weights + first, std::min(kInt4Group, columns - first), group);
    put_bf16(panel, half_of(lane), quantize_int4(group, codes));
    for (int64_t k = 0; k < kInt4Group; ++k) {
      unsigned char& byte = panel[nibble_byte(k, lane)];
      byte = static_cast<unsigned char>(byte | (high_nibble(k) ? codes[k] << 4 : codes[k]));
    }
  }
}

// Writes one output feature to column `lane` of `panel`, which must be zero.
void pack_row(const float* weights, const PackedMatrix& w, int64_t lane, unsigned char* panel) {
  const int64_t columns = w.columns;
  switch (w.format) {
    case WeightFormat::kInt8: return pack_int8_row(weights, columns, lane, panel);
    case WeightFormat::kInt4: return pack_int4_row(weights, columns, lane, panel);
    case WeightFormat::kBf16:
      for (int64_t k = 0; k < columns; ++k) {
        put_bf16(panel, bf16_half(w.bf16_panels, k, lane), f32_to_bf16(weights[k]));
      }
      return;
    default:
      for (int64_t k = 0; k < columns; ++k) {
        std::memcpy(panel + 4 * (k * kPanelColumns + lane), weights + k, 4);
      }
  }
}

// Fills a panel with codes that mean zero, for outputs and input features that do not exist.
void clear_panel(WeightFormat format, size_t bytes, unsigned char* panel) {
  std::memset(panel, 0, bytes);
  if (format == WeightFormat::kInt8) {
    std::memset(panel + kInt8ScaleBytes, kInt8Zero, bytes - kInt8ScaleBytes);
  }
}

WeightFormat stored_format(const HostMatrix* blocks, int num_blocks) {
  const bool bf16 = std::all_of(blocks, blocks + num_blocks,
                                [](const HostMatrix& b) { return b.dtype == Dtype::kBf16; });
  return bf16 ? WeightFormat::kBf16 : WeightFormat::kF32;
}

}  // namespace

size_t PackedMatrix::panel_bytes() const {
  switch (format) {
    case WeightFormat::kInt8:
      return static_cast<size_t>(kInt8ScaleBytes + divide_up(columns, 2 * kQuad) * 2 * kQuadBytes);
    case WeightFormat::kInt4:
      return static_cast<size_t>(divide_up(columns, kInt4Group) * kInt4GroupBytes);
    case WeightFormat::kBf16:
      return static_cast<size_t>((paired_bf16() ? divide_up(columns, 2) * 2 : columns) *
                                 kPanelColumns * 2);
    default: return static_cast<size_t>(columns * kPanelColumns * 4);
  }
}

int PackedMatrix::code(int64_t row, int64_t column) const {
  const unsigned char* from = panel(row / kPanelColumns);
  const int64_t lane = row % kPanelColumns;
  if (format == WeightFormat::kInt8) {
    return from[kInt8ScaleBytes + column / kQuad * kQuadBytes + lane * kQuad + column % kQuad] -
           kInt8Zero;
  }
  const unsigned byte =
      from[column / kInt4Group * kInt4GroupBytes + nibble_byte(column % kInt4Group, lane)];
  return kInt4Levels[high_nibble(column) ? byte >> 4 : byte & 15];
}

float PackedMatrix::scale(int64_t row, int64_t column) const {
  const unsigned char* from = panel(row / kPanelColumns);
  const int64_t lane = row % kPanelColumns;
  if (format == WeightFormat::kInt8)
    return load_as_f32(from, Dtype::kF32, static_cast<size_t>(lane));
  return load_as_f32(from + column / kInt4Group * kInt4GroupBytes, Dtype::kBf16,
                     static_cast<size_t>(half_of(lane)));
}

void PackedMatrix::read_row(int64_t row, float* out) const {
  const unsigned char* from = panel(row / kPanelColumns);
  const int64_t lane = row % kPanelColumns;
  for (int64_t k = 0; k < columns; ++k) {
    if (quantised()) {
      out[k] = static_cast<float>(code(row, k)) * scale(row, k);
    } else if (format == WeightFormat::kBf16) {
      const int64_t half = bf16_half(bf16_panels, k, lane);
      out[k] = load_as_f32(from, Dtype::kBf16, static_cast<size_t>(half));
    } else {
      out[k] = load_as_f32(from, Dtype::kF32, static_cast<size_t>(k * kPanelColumns + lane));
    }
  }
}

PackedMatrix pack_matrix(const HostMatrix* blocks, int num_blocks, WeightFormat format,
                         ThreadPool& threads, Bf16Panels bf16_panels) {
  PackedMatrix packed;
  packed.bf16_panels = bf16_panels;
  packed.format = format == WeightFormat::kAuto ? stored_format(blocks, num_blocks) : format;
  packed.columns = blocks[0].columns;
  for (int i = 0; i < num_blocks; ++i) packed.rows += blocks[i].rows;
  packed.data = allocate_aligned<unsigned char>(packed.bytes());
  if (packed.data == nullptr) return packed;
  const size_t panel_bytes = packed.panel_bytes();
  threads.parallel_for(packed.panels(), [&](int64_t index, int) {
    unsigned char* panel = packed.data.get() + static_cast<size_t>(index) * panel_bytes;
    clear_panel(packed.format, panel_bytes, panel);
    std::vector<float> weights(static_cast<size_t>(packed.columns));
    int64_t first = 0;  // output feature with which the block begins
    for (int i = 0; i < num_blocks; first += blocks[i++].rows) {
      const int64_t begin = std::max(first, index * kPanelColumns);
      const int64_t end = std::min(first + blocks[i].rows, (index + 1) * kPanelColumns);
      for (int64_t row = begin; row < end; ++row) {
        const int64_t at = (row - first) * packed.columns;
        for (int64_t k = 0; k < packed.columns; ++k) {
          weights[static_cast<size_t>(k)] =
              load_as_f32(blocks[i].data, blocks[i].dtype, static_cast<size_t>(at + k));
        }
        pack_row(weights.data(), packed, row - index * kPanelColumns, panel);
      }
    }
  });
  return packed;
}

}  // namespace deltaserve::cpu
