// Weights in the format in which the CPU's matmuls read them: panels of 32 output features.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "kernels/base/weight_format.h"
#include "kernels/cpu/aligned.h"
#include "kernels/program/program.h"

namespace deltaserve::cpu {

// Output features per panel.
inline constexpr int64_t kPanelColumns = 32;

// Integer weights are in quads: four input features of one output are adjacent, followed by those
// of the panel's next output: 32 outputs, 128 bytes of codes.
inline constexpr int64_t kQuad = 4;
inline constexpr int64_t kQuadBytes = kQuad * kPanelColumns;

// An int8 panel is 32 floats, the scales of its outputs, then an even number of quads. A weight is
// (code - 128) * scale.
inline constexpr int kInt8Zero = 128;
inline constexpr int64_t kInt8ScaleBytes = 4 * kPanelColumns;

// An int4 panel is a run of groups of 32 input features. A group is its scales as bf16, in words of
// output j (low half) and output j + 16 (high half), then four times 128 bytes, each of which holds
// one quad in its low nibbles and the next in its high ones. A weight is kInt4Levels[nibble] *
// scale.
inline constexpr int64_t kInt4Group = 32;
inline constexpr int64_t kInt4ScaleBytes = 2 * kPanelColumns;
inline constexpr int64_t kInt4GroupBytes = kInt4ScaleBytes + kInt4Group * kPanelColumns / 2;
// The levels are closer together near zero, like weights: of the levels inside [-16, 16] these have
// the least squared error on normally distributed weights, 8 % less than 16 even steps. Multiplied
// by a byte and summed over half a group they fit 16 bits: 16 * 16 * 127 < 2^15. A negative scale
// mirrors them.
inline constexpr int kInt4Levels[16] = {-14, -11, -9, -7, -5, -3, -2, -1, 0, 1, 3, 5, 7, 9, 12, 16};
inline constexpr int kInt4Zero = 16;  // added to a level if a kernel needs it unsigned

// The memory layout of the panels of a bf16 matrix.
enum class Bf16Panels : uint8_t {
  // Each input feature in order is 16 words, whose low halves belong to the outputs 0..15 and whose
  // high halves to the outputs 16..31, so that widening is a shift and a mask.
  kSingles,
  // Each two input features in order are 32 words, one per output, with the first of the two in the
  // low half: the operands of an instruction that adds two products.
  kPairs,
};

// w [rows = output features, columns = input features]. Missing outputs of the last panel, and
// input features that fill up the last pair, quad or group, are zero. f32 panels hold, for every
// input feature in order, its weights to the panel's outputs side by side.
struct PackedMatrix {
  WeightFormat format = WeightFormat::kF32;  // not kAuto
  Bf16Panels bf16_panels = Bf16Panels::kSingles;
  int64_t rows = 0;
  int64_t columns = 0;
  AlignedArray<unsigned char> data;

  bool quantised() const { return format == WeightFormat::kInt8 || format == WeightFormat::kInt4; }
  bool paired_bf16() const {
    return format == WeightFormat::kBf16 && bf16_panels == Bf16Panels::kPairs;
  }
  // Returns true if matmuls take rounded activations, as integers or bf16, instead of floats.
  bool rounds_activations() const { return quantised() || paired_bf16(); }
  int64_t panels() const { return (rows + kPanelColumns - 1) / kPanelColumns; }
  size_t panel_bytes() const;
  size_t bytes() const { return static_cast<size_t>(panels()) * panel_bytes(); }
  const unsigned char* panel(int64_t index) const {
    return data.get() + static_cast<size_t>(index) * panel_bytes();
  }
  // Reads the weights of one output feature as matmuls see them, [columns].
  void read_row(int64_t row, float* out) const;
  // Returns the code of a quantised weight, which is code * scale.
  int code(int64_t row, int64_t column) const;
  float scale(int64_t row, int64_t column) const;
};

// Packs blocks, stacked by rows. Returns a matrix without data if there is not enough memory.
PackedMatrix pack_matrix(const HostMatrix* blocks, int num_blocks, WeightFormat format,
                         ThreadPool& threads, Bf16Panels bf16_panels = Bf16Panels::kSingles);

}  // namespace deltaserve::cpu
