// 16 rows of S^T at 8 channels in the registers of a warp, laid out as sums of a product: `half` of
// a lane's values are those of row `group`, or of row `group` + 8. Both tensor paths of prefill
// hold states in this layout.
#pragma once
#include <bit>

#include "kernels/cuda/rule/state_vector.h"

namespace deltaserve::cuda {

// The tile keeps floats and rounds them between chunks, as in their slot.
template <class Format>
class StateTile {
 public:
  using Stored = typename Format::Stored;

  DS_DEVICE simt::MmaD sums() const { return sums_; }
  DS_DEVICE void set(const simt::MmaD& sums) {
    DS_UNROLL
    for (int i = 0; i < 4; ++i) sums_.d[i] = rounded(Format{}, sums.d[i]);
  }
  // Returns the channels of a row as an operand of the next product.
  DS_DEVICE simt::Bf16Pair operand(int half) const {
    return simt::pack_bf16(sums_.d[2 * half], sums_.d[2 * half + 1]);
  }

  // These load and store two neighbouring channels of a row.
  DS_DEVICE void load(const Stored* from, int half) {
    const Channels<2> two = *reinterpret_cast<const Channels<2>*>(from);
    take(two.x[0], two.x[1], half);
  }
  DS_DEVICE void store(int half, Stored* to) const {
    *reinterpret_cast<Channels<2>*>(to) = {{stored(2 * half), stored(2 * half + 1)}};
  }

  // These load and store four neighbouring channels of a row, in two tiles.
  DS_DEVICE static void load(const Stored* from, int half, StateTile& left, StateTile& right) {
    Channels<4> four;
    if constexpr (sizeof four == sizeof(simt::Words4)) {
      four =
          std::bit_cast<Channels<4>>(simt::load_once(reinterpret_cast<const simt::Words4*>(from)));
    } else {
      four = *reinterpret_cast<const Channels<4>*>(from);
    }
    left.take(four.x[0], four.x[1], half);
    right.take(four.x[2], four.x[3], half);
  }
  DS_DEVICE static void store(const StateTile& left, const StateTile& right, int half, Stored* to) {
    const Channels<4> four = {{left.stored(2 * half), left.stored(2 * half + 1),
                               right.stored(2 * half), right.stored(2 * half + 1)}};
    if constexpr (sizeof four == sizeof(simt::Words4)) {
      simt::store_once(reinterpret_cast<simt::Words4*>(to), std::bit_cast<simt::Words4>(four));
    } else {
      *reinterpret_cast<Channels<4>*>(to) = four;
    }
  }

 private:
  template <int kCount>
  struct alignas(kCount * sizeof(Stored)) Channels {
    Stored x[kCount];
  };

  DS_DEVICE void take(Stored first, Stored second, int half) {
    sums_.d[2 * half] = Format::load(first);
    sums_.d[2 * half + 1] = Format::load(second);
  }
  DS_DEVICE Stored stored(int i) const { return Format::store(sums_.d[i]); }

  simt::MmaD sums_ = {{0, 0, 0, 0}};
};

// In bf16 a tile keeps the stored form, which is also the operand, in half as many registers.
template <>
class StateTile<Bf16State> {
 public:
  DS_DEVICE simt::MmaD sums() const {
    simt::MmaD sums;
    DS_UNROLL
    for (int half = 0; half < 2; ++half) {
      sums.d[2 * half] = std::bit_cast<float>(pairs_[half].bits << 16);
      sums.d[2 * half + 1] = std::bit_cast<float>(pairs_[half].bits & 0xffff0000u);
    }
    return sums;
  }
  DS_DEVICE void set(const simt::MmaD& sums) {
    DS_UNROLL
    for (int half = 0; half < 2; ++half) {
      pairs_[half] = simt::pack_bf16(sums.d[2 * half], sums.d[2 * half + 1]);
    }
  }
  DS_DEVICE simt::Bf16Pair operand(int half) const { return pairs_[half]; }

  DS_DEVICE void load(const uint16_t* from, int half) {
    pairs_[half] = *reinterpret_cast<const simt::Bf16Pair*>(from);
  }
  DS_DEVICE void store(int half, uint16_t* to) const {
    *reinterpret_cast<simt::Bf16Pair*>(to) = pairs_[half];
  }
  DS_DEVICE static void load(const uint16_t* from, int half, StateTile& left, StateTile& right) {
    const FourChannels four = *reinterpret_cast<const FourChannels*>(from);
    left.pairs_[half] = four.low;
    right.pairs_[half] = four.high;
  }
  DS_DEVICE static void store(const StateTile& left, const StateTile& right, int half,
                              uint16_t* to) {
    *reinterpret_cast<FourChannels*>(to) = {left.pairs_[half], right.pairs_[half]};
  }

 private:
  struct alignas(8) FourChannels {
    simt::Bf16Pair low, high;
  };
  simt::Bf16Pair pairs_[2] = {{0}, {0}};
};

}  // namespace deltaserve::cuda
