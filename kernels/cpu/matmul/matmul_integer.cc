// Matmuls of int8 and int4 weights with 8-bit activations. Sums over a block of activations (with
// int4, over a group of weights) are exact integers, followed by the same chain of float operations
// on every target. This file is built without contraction of multiplications and additions.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/matmul/panel_task.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul/matmul_integer.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#if HWY_TARGET == HWY_SCALAR  // this target has no vectors of bytes
HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {
void MultiplyIntegerPanels(const cpu::PanelTask& task) {
  cpu::multiply_integer_panels_plainly(task);
}
}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();
#else
#include "kernels/cpu/matmul/integer_dot-inl.h"
#include "kernels/cpu/matmul/row_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

constexpr int kVectorBytes = 4 * lanes();
constexpr int64_t kBlock = cpu::kActivationBlock;
// The largest number of rows per tile. With AVX-512 their sums and their totals both stay in
// registers.
constexpr int kMostRows = 6;
constexpr int64_t kOctet = 2 * cpu::kQuad;
constexpr int64_t kGroupUnits = cpu::kInt4Group / kOctet;

// Broadcasts four bytes of activations to every output.
template <class T>
HWY_INLINE Int32Vec broadcast4(const T* from) {
  int32_t word = 0;
  std::memcpy(&word, from, 4);
  return hn::Set(Int32s(), word);
}

// Rows of activations from some block on; the pointers are those of the first row.
struct BlockRows {
  const int8_t* codes;
  const int16_t* words;
  const int32_t* starts;
  const float* scales;
  int64_t stride;  // codes per row

  BlockRows from_row(int64_t row) const {
    return {codes + row * stride, words + row * stride, starts + row * (stride / cpu::kInt4Group),
            scales + row * (stride / kBlock), stride};
  }
  BlockRows from_block(int64_t b) const {
    return {codes + b * kBlock, words + b * kBlock, starts + b * (kBlock / cpu::kInt4Group),
            scales + b, stride};
  }
  BlockRows from_group(int64_t g) const {
    return {codes + g * cpu::kInt4Group, words + g * cpu::kInt4Group, starts + g, scales, stride};
  }
  const int32_t* row_starts(int r) const { return starts + r * (stride / cpu::kInt4Group); }
  float scale(int r) const { return scales[r * (stride / kBlock)]; }
};

// ---- Each kernel combines a format with a way to multiply. `Sum` is the type in which the
// products of a block are summed. In unit i the weights of a vector of outputs are two vectors,
// each to be multiplied by its own factor.

// int8: a unit is a quad as 16-bit numbers, its codes 0 and 2, then 1 and 3.
struct Int8Pairs {
  using Sum = Int32Vec;
  using Weight = Int16Vec;
  static constexpr int64_t kUnit = cpu::kQuad;
  static constexpr int64_t kUnitBytes = cpu::kQuadBytes;

  static HWY_INLINE void load(const unsigned char* unit, Weight* w) {
    const ByteVec codes = hn::Load(Bytes(), unit);
    w[0] = low_unsigned(codes);
    w[1] = high_unsigned(codes);
  }
  static HWY_INLINE Weight factor(const BlockRows& x, int r, int64_t unit, int half) {
    const int16_t* from = x.words + r * x.stride + unit * kUnit + 2 * half;
    return hn::BitCast(Int16s(), broadcast4(from));
  }
  static HWY_INLINE Sum start(const int32_t* at) { return hn::Set(Int32s(), *at); }
  static HWY_INLINE Sum add(Sum sum, Weight w, Weight x) { return add_pairs(sum, w, x); }
  static HWY_INLINE Int32Vec total(Sum sum) { return sum; }
};

// Units of two quads of bytes.
struct ByteUnits {
  using Weight = ByteVec;
  static constexpr int64_t kUnit = kOctet;

  static HWY_INLINE Weight factor(const BlockRows& x, int r, int64_t unit, int half) {
    const int8_t* from = x.codes + r * x.stride + unit * kOctet + cpu::kQuad * half;
    return hn::BitCast(Bytes(), broadcast4(from));
  }
};

struct Int8Quads : ByteUnits {
  using Sum = Int32Vec;
  static constexpr int64_t kUnitBytes = 2 * cpu::kQuadBytes;

  static HWY_INLINE void load(const unsigned char* unit, Weight* w) {
    w[0] = hn::Load(Bytes(), unit);
    w[1] = hn::Load(Bytes(), unit + cpu::kQuadBytes);
  }
  static HWY_INLINE Sum start(const int32_t* at) { return hn::Set(Int32s(), *at); }
  static HWY_INLINE Sum add(Sum sum, Weight w, Weight x) { return add_byte_quads(sum, w, x); }
  static HWY_INLINE Int32Vec total(Sum sum) { return sum; }
};

struct UnsignedLevels {
  alignas(16) uint8_t bytes[16];
};
constexpr UnsignedLevels unsigned_levels() {
  UnsignedLevels levels = {};
  for (int i = 0; i < 16; ++i) {
    levels.bytes[i] = static_cast<uint8_t>(cpu::kInt4Levels[i] + cpu::kInt4Zero);
  }
  return levels;
}
constexpr UnsignedLevels kUnsignedLevels = unsigned_levels();

// int4: a unit is 128 bytes of nibbles, which are looked up in the levels.
struct Int4Units : ByteUnits {
  static constexpr int64_t kUnitBytes = cpu::kQuadBytes;

  static HWY_INLINE void load(const unsigned char* unit, Weight* w) {
    const Bytes d;
    const auto levels = hn::LoadDup128(d, kUnsignedLevels.bytes);
    const auto mask = hn::Set(d, 15);
    const ByteVec nibbles = hn::Load(d, unit);
    const ByteVec high = hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(Uint16s(), nibbles)));
    w[0] = hn::TableLookupBytes(levels, hn::And(nibbles, mask));
    w[1] = hn::TableLookupBytes(levels, hn::And(high, mask));
  }
};

// int4 with 16-bit sums. They may wrap on the way, but the final sum of a group fits (kInt4Levels).
struct Int4Pairs : Int4Units {
  using Sum = Int16Vec;
  static HWY_INLINE Sum start(const int32_t* at) { return hn::BitCast(Int16s(), broadcast4(at)); }
  static HWY_INLINE Sum add(Sum sum, Weight w, Weight x) { return add_byte_pairs(sum, w, x); }
  static HWY_INLINE Int32Vec total(Sum sum) { return dot_pairs(sum, hn::Set(Int16s(), 1)); }
};

struct Int4Quads : Int4Units {
  using Sum = Int32Vec;
  static HWY_INLINE Sum start(const int32_t* at) { return hn::Set(Int32s(), *at); }
  static HWY_INLINE Sum add(Sum sum, Weight w, Weight x) { return add_byte_quads(sum, w, x); }
  static HWY_INLINE Int32Vec total(Sum sum) { return sum; }
};

// Weights in the panel; every tile that reads them unpacks them.
template <class Kernel>
struct PanelWeights {
  static constexpr bool kUnpacked = false;

  const unsigned char* units;
  int first_vector;

  HWY_INLINE void load(int64_t unit, int v, typename Kernel::Weight* w) const {
    Kernel::load(units + unit * Kernel::kUnitBytes + (first_vector + v) * kVectorBytes, w);
  }
  HWY_INLINE PanelWeights from_unit(int64_t unit) const {
    return {units + unit * Kernel::kUnitBytes, first_vector};
  }
  HWY_INLINE PanelWeights from_group(int64_t g) const {
    return {units + g * cpu::kInt4GroupBytes, first_vector};
  }
};

// Two vectors of outputs of a block, unpacked once for many tiles.
template <class Kernel>
struct UnpackedWeights {
  static constexpr bool kUnpacked = true;

  const unsigned char* vectors;

  HWY_INLINE typename Kernel::Weight load(int64_t unit, int v, int half) const {
    const hn::DFromV<typename Kernel::Weight> d;
    const unsigned char* from = vectors + (4 * unit + 2 * v + half) * kVectorBytes;
    return hn::Load(d, reinterpret_cast<const hn::TFromD<decltype(d)>*>(from));
  }
  HWY_INLINE UnpackedWeights from_unit(int64_t unit) const {
    return {vectors + 4 * unit * kVectorBytes};
  }
  HWY_INLINE UnpackedWeights from_group(int64_t g) const { return from_unit(kGroupUnits * g); }
};

template <class Kernel>
HWY_INLINE void unpack(const PanelWeights<Kernel>& from, int64_t num_units,
                       unsigned char* vectors) {
  using Weight = typename Kernel::Weight;
  const hn::DFromV<Weight> d;
  for (int64_t unit = 0; unit < num_units; ++unit) {
    for (int v = 0; v < 2; ++v) {
      Weight w[2];
      from.load(unit, v, w);
      for (int half = 0; half < 2; ++half) {
        unsigned char* to = vectors + (4 * unit + 2 * v + half) * kVectorBytes;
        hn::Store(w[half], d, reinterpret_cast<hn::TFromD<decltype(d)>*>(to));
      }
    }
  }
}

// The integer sums of a tile. Loops over them are unrolled by hand, here and below: GCC keeps
// arrays in memory that are indexed by anything but constants.
template <int kRows, int kVectors, class Kernel>
struct Sums {
  typename Kernel::Sum at[kRows][kVectors];

  // Sets the sums to the products of the first units.
  template <class Weights>
  HWY_INLINE void multiply(const BlockRows& x, const Weights& weights, const Ahead& ahead,
                           int64_t num_units) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const auto start = Kernel::start(x.row_starts(r));
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) at[r][v] = start;
    }
    for (int64_t unit = 0; unit < num_units; ++unit) {
      ahead.ask(unit);
      typename Kernel::Weight w[kVectors][2];
      if constexpr (!Weights::kUnpacked) {
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) weights.load(unit, v, w[v]);
      }
#pragma GCC unroll 16
      for (int half = 0; half < 2; ++half) {
        if constexpr (Weights::kUnpacked) {
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; ++v) {
            w[v][half] = weights.load(unit, v, half);
            keep(w[v][half]);
          }
        }
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
          const auto factor = Kernel::factor(x, r, unit, half);
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; ++v) {
            at[r][v] = Kernel::add(at[r][v], w[v][half], factor);
          }
        }
      }
    }
  }
  HWY_INLINE FloatVec as_float(int r, int v) const {
    return hn::ConvertTo(Floats(), Kernel::total(at[r][v]));
  }
};

struct OutputRows {
  float* rows;
  int64_t stride;
};

HWY_INLINE void put(FloatVec value, bool first, float* out) {
  const Floats d;
  hn::StoreU(first ? value : hn::Add(hn::LoadU(d, out), value), d, out);
}

// ---- Each block type is some blocks of activations of a panel. The format decides how many blocks
// these are, where units and scales are, and how the integer sums of a tile are scaled.

// out (= | +=) (sum over the blocks of a run of sum * activation scale) * weight scale
template <class K>
struct Int8Run {
  using Kernel = K;
  static constexpr bool kWorthUnpacking = std::is_same_v<Kernel, Int8Pairs>;
  static constexpr int64_t kBlocks = cpu::kInt8RunBlocks;
  static constexpr int64_t kBlockUnits = kBlock / Kernel::kUnit;

  const unsigned char* units;
  const float* scales;  // scales of the panel's outputs
  int64_t num_units;

  Int8Run(const cpu::PackedMatrix& w, int64_t panel, int64_t block)
      : units(w.panel(panel) + cpu::kInt8ScaleBytes + block * kBlock * cpu::kPanelColumns),
        scales(reinterpret_cast<const float*>(w.panel(panel))),
        num_units(std::min(kBlocks * kBlock,
                           (w.columns + kOctet - 1) / kOctet * kOctet - block * kBlock) /
                  Kernel::kUnit) {}

  // Return the range of the panel's memory, for prefetching.
  const unsigned char* begin() const { return units; }
  const unsigned char* end() const { return units + num_units * Kernel::kUnitBytes; }

  HWY_INLINE PanelWeights<Kernel> weights(int first_vector) const { return {units, first_vector}; }

  HWY_INLINE void unpack_vectors(int first_vector, unsigned char* vectors) const {
    unpack(weights(first_vector), num_units, vectors);
  }

  // This is a function of its own, so that the sums are in registers.
  template <int kRows, int kVectors, class Weights>
  HWY_NOINLINE void tile(const BlockRows& x, const Weights& w, const Ahead& ahead, int first_vector,
                         bool first, const OutputRows& out) const {
    const Floats d;
    FloatVec total[kRows][kVectors];
    for (int64_t b = 0, unit = 0; unit < num_units; ++b, unit += kBlockUnits) {
      const BlockRows from = x.from_block(b);
      Sums<kRows, kVectors, Kernel> sums;
      sums.multiply(from, w.from_unit(unit), ahead.from_unit(unit),
                    std::min(kBlockUnits, num_units - unit));
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const FloatVec scale = hn::Set(d, from.scale(r));
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          const FloatVec value = hn::Mul(sums.as_float(r, v), scale);
          total[r][v] = b == 0 ? value : hn::Add(total[r][v], value);
        }
      }
    }
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const int64_t column = (first_vector + v) * lanes();
      const FloatVec scale = hn::Load(d, scales + column);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        put(hn::Mul(total[r][v], scale), first, out.rows + r * out.stride + column);
      }
    }
  }
};

// out (= | +=) activation scale * (sum over groups of sum * weight scale)
template <class K>
struct Int4Block {
  using Kernel = K;
  static constexpr bool kWorthUnpacking = true;
  static constexpr int64_t kBlocks = 1;

  const unsigned char* groups;
  int64_t num_groups;
  int64_t num_units;

  Int4Block(const cpu::PackedMatrix& w, int64_t panel, int64_t block)
      : groups(w.panel(panel) + block * (kBlock / cpu::kInt4Group) * cpu::kInt4GroupBytes),
        num_groups((std::min(kBlock, w.columns - block * kBlock) + cpu::kInt4Group - 1) /
                   cpu::kInt4Group),
        num_units(kGroupUnits * num_groups) {}

  const unsigned char* begin() const { return groups; }
  const unsigned char* end() const { return groups + num_groups * cpu::kInt4GroupBytes; }

  HWY_INLINE PanelWeights<Kernel> weights(int first_vector) const {
    return {groups + cpu::kInt4ScaleBytes, first_vector};
  }

  HWY_INLINE void unpack_vectors(int first_vector, unsigned char* vectors) const {
    for (int64_t g = 0; g < num_groups; ++g) {
      unpack(weights(first_vector).from_group(g), kGroupUnits,
             vectors + 4 * kGroupUnits * g * kVectorBytes);
    }
  }

  HWY_INLINE FloatVec scale(int64_t g, int64_t column) const {
    const hn::RebindToUnsigned<Floats> words;
    const auto* from = reinterpret_cast<const uint32_t*>(groups + g * cpu::kInt4GroupBytes);
    const auto pair = hn::Load(words, from + column % 16);
    return hn::BitCast(Floats(), column < 16 ? hn::ShiftLeft<16>(pair)
                                             : hn::And(pair, hn::Set(words, 0xffff0000u)));
  }

  template <int kRows, int kVectors, class Weights>
  HWY_NOINLINE void tile(const BlockRows& x, const Weights& w, const Ahead& ahead, int first_vector,
                         bool first, const OutputRows& out) const {
    const Floats d;
    FloatVec total[kRows][kVectors];
    for (int64_t g = 0; g < num_groups; ++g) {
      Sums<kRows, kVectors, Kernel> sums;
      sums.multiply(x.from_group(g), w.from_group(g), ahead.from_unit(kGroupUnits * g),
                    kGroupUnits);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        const FloatVec weight_scale = scale(g, (first_vector + v) * lanes());
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
          const FloatVec value = hn::Mul(sums.as_float(r, v), weight_scale);
          total[r][v] = g == 0 ? value : hn::Add(total[r][v], value);
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        put(hn::Mul(total[r][v], hn::Set(d, x.scale(r))), first,
            out.rows + r * out.stride + (first_vector + v) * lanes());
      }
    }
  }
};

// Computes tiles, each of which unpacks its weights itself.
template <class Block>
struct PanelTile {
  const Block& block;
  const BlockRows& x;
  bool first;
  const OutputRows& out;
  Lookahead& lookahead;

  template <int kRows>
  HWY_INLINE void run(int64_t row) const {
    constexpr int kVectors = 2 * kTileGroups<kRows>;
    const OutputRows to = {out.rows + row * out.stride, out.stride};
    for (int v = 0; v < 2 * kGroups; v += kVectors) {
      block.template tile<kRows, kVectors>(x.from_row(row), block.weights(v),
                                           lookahead.take(block.num_units), v, first, to);
    }
  }
};

// Computes tiles over a group that was unpacked before.
template <class Block>
struct UnpackedTile {
  const Block& block;
  const unsigned char* vectors;
  int first_vector;
  const BlockRows& x;
  bool first;
  const OutputRows& out;
  Lookahead& lookahead;

  template <int kRows>
  HWY_INLINE void run(int64_t row) const {
    const OutputRows to = {out.rows + row * out.stride, out.stride};
    const UnpackedWeights<typename Block::Kernel> weights = {vectors};
    block.template tile<kRows, 2>(x.from_row(row), weights, lookahead.take(block.num_units),
                                  first_vector, first, to);
  }
};

// From this many rows on, unpacking a group once into memory costs less than unpacking it for every
// tile.
constexpr int64_t kUnpackRows = 3 * kMostRows;

template <class Block>
HWY_INLINE void multiply_block(const Block& block, const Block& next, const BlockRows& x,
                               int64_t num_rows, bool first, const OutputRows& out) {
  // If a panel has only one tile, that tile reads memory at full speed and prefetches nothing.
  Lookahead lookahead = {num_rows > kMostRows ? next.begin() : next.end(), next.end()};
  if (Block::kWorthUnpacking && num_rows >= kUnpackRows) {
    alignas(64) unsigned char
        vectors[4 * Block::kBlocks * kBlock / Block::Kernel::kUnit * kVectorBytes];
    for (int v = 0; v < 2 * kGroups; v += 2) {
      block.unpack_vectors(v, vectors);
      const UnpackedTile<Block> tile = {block, vectors, v, x, first, out, lookahead};
      for_row_tiles<kMostRows>(tile, num_rows);
    }
  } else {
    for_row_tiles<kMostRows>(PanelTile<Block>{block, x, first, out, lookahead}, num_rows);
  }
}

// Up to this many rows, a task reads its weights in the order of memory, which the processor's
// prefetching follows. With more rows it takes the panels run by run, whose rows stay in the
// caches.
constexpr int64_t kStreamRows = 48;

template <class Block>
HWY_NOINLINE void multiply_panels(const cpu::PanelTask& task) {
  const cpu::ActivationRows& rows = *task.rounded;
  const int64_t first = task.first_row * rows.stride;
  const BlockRows x = {rows.codes.get() + first, rows.words.get() + first,
                       rows.starts.get() + first / cpu::kInt4Group,
                       rows.scales.get() + first / kBlock, rows.stride};
  const int64_t runs =
      (cpu::activation_blocks(task.w->columns) + Block::kBlocks - 1) / Block::kBlocks;
  const bool streams = task.num_rows <= kStreamRows;
  struct Place {
    int64_t panel;  // relative to the task's first
    int64_t block;
  };
  const auto place_of = [&](int64_t i) -> Place {
    if (streams) return {i / runs, i % runs * Block::kBlocks};
    return {i % task.num_panels, i / task.num_panels * Block::kBlocks};
  };
  const int64_t count = runs * task.num_panels;
  for (int64_t i = 0; i < count; ++i) {
    const Place at = place_of(i);
    const Place then =
        i + 1 < count ? place_of(i + 1) : Place{task.next_panel - task.first_panel, 0};
    const Block block(*task.w, task.first_panel + at.panel, at.block);
    const Block next(*task.w, task.first_panel + then.panel, then.block);
    multiply_block(block, next, x.from_block(at.block), task.num_rows,
                   at.block == 0 && !task.accumulate,
                   {task.out + at.panel * cpu::kPanelColumns, task.out_stride});
  }
}

void MultiplyIntegerPanels(const cpu::PanelTask& task) {
  const bool quads = task.path == cpu::IntegerPath::kQuads;
  if (task.w->format == WeightFormat::kInt8) {
    quads ? multiply_panels<Int8Run<Int8Quads> >(task) : multiply_panels<Int8Run<Int8Pairs> >(task);
  } else {
    quads ? multiply_panels<Int4Block<Int4Quads> >(task)
          : multiply_panels<Int4Block<Int4Pairs> >(task);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET == HWY_SCALAR

#if HWY_ONCE
namespace deltaserve {
HWY_EXPORT(MultiplyIntegerPanels);
namespace cpu {

void multiply_integer_panels(const PanelTask& task) {
  HWY_DYNAMIC_DISPATCH(MultiplyIntegerPanels)(task);
}

}  // namespace cpu
}  // namespace deltaserve
#endif
