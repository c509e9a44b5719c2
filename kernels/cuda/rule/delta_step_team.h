// One token of the rule on a state that lies in the registers of lanes. Which sums and products are
// rounded is written out, because kernels that share this must have the same bits.
#pragma once
#include <cmath>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/state_vector.h"
#include "kernels/program/head_tokens.h"

namespace deltaserve::cuda {

// How a head's state is spread over lanes: kWidth neighbouring lanes, a team, hold kRows rows of
// S^T (columns of S); each lane has kGroups runs of kVector channels of every row, so that a team's
// loads are contiguous. Rows need nothing of each other.
template <class Format_, int kWidth_, int kGroups_, int kThreads_>
struct StepTile {
  using Format = Format_;
  using Stored = typename Format::Stored;
  static constexpr int kThreads = kThreads_;  // of a block
  static constexpr int kWidth = kWidth_;
  static constexpr int kGroups = kGroups_;
  static constexpr int kVector = 16 / static_cast<int>(sizeof(Stored));
  static constexpr int kChannels = kGroups * kVector;  // of a lane
  // Enough bytes under way to hide the memory's latency, few enough registers for many warps.
  static constexpr int kRows = kChannels <= 4 ? 8 : 4;
  static constexpr int kBlockRows = kThreads / kWidth * kRows;
  static_assert(kRows <= kWidth);  // a lane stores the result of a row
};

// A team's part of one head in one segment.
template <class Mixer, class Tile>
class StepTeam {
 public:
  DS_DEVICE StepTeam(const HeadShape& size, int first_row)
      : key_dim_(static_cast<int>(size.key_dim)),
        stride_(static_cast<int>(size.key_stride())),
        rows_left_(static_cast<int>(size.value_dim) - first_row),
        first_row_(first_row),
        lane_(simt::lane_index() % Tile::kWidth) {}

  DS_DEVICE void clear() {
    DS_UNROLL
    for (int r = 0; r < Tile::kRows; ++r) {
      DS_UNROLL
      for (int i = 0; i < Tile::kChannels; ++i) state_[r][i] = 0;
    }
  }
  // `from_zero`: the state of a sequence that begins, whatever is stored.
  DS_DEVICE void load(const typename Tile::Stored* state, bool from_zero) {
    clear();
    if (from_zero) return;
    each_run([&](int r, int group, int64_t at) {
      load_state(typename Tile::Format{}, state + at, &state_[r][group * Tile::kVector]);
    });
  }
  DS_DEVICE void store(typename Tile::Stored* state) const {
    each_run([&](int r, int group, int64_t at) {
      store_state(typename Tile::Format{}, &state_[r][group * Tile::kVector], state + at);
    });
  }
  // Rounds the state as storing and loading would.
  DS_DEVICE void round() {
    DS_UNROLL
    for (int r = 0; r < Tile::kRows; ++r) {
      DS_UNROLL
      for (int i = 0; i < Tile::kChannels; ++i) {
        state_[r][i] = rounded(typename Tile::Format{}, state_[r][i]);
      }
    }
  }

  // One token; out [value_dim] of the head.
  DS_DEVICE void step(const Token& token, float* out) {
    Operands t;
    load_operands(token, t);
    // All sums of the team in one exchange: of the old state, and write . read.
    float sums[2 * Tile::kRows + 1];
    sums[2 * Tile::kRows] = 0;
    DS_UNROLL
    for (int i = 0; i < Tile::kChannels; ++i) {
      sums[2 * Tile::kRows] = fmaf(t.write[i], t.read[i], sums[2 * Tile::kRows]);
    }
    DS_UNROLL
    for (int r = 0; r < Tile::kRows; ++r) {
      float erased = 0;
      float seen = 0;
      DS_UNROLL
      for (int i = 0; i < Tile::kChannels; ++i) {
        state_[r][i] = simt::rounded_product(state_[r][i], t.decay[i]);
        seen = fmaf(state_[r][i], t.read[i], seen);
        if constexpr (Mixer::kErases) erased = fmaf(state_[r][i], t.erase[i], erased);
      }
      sums[r] = seen;
      sums[Tile::kRows + r] = erased;
    }
    simt::lanes_sum<Tile::kWidth>(sums);
    float own_out = 0;  // of row `lane_`
    DS_UNROLL
    for (int r = 0; r < Tile::kRows; ++r) {
      const float value = r < rows_left_ ? Mixer::value(token, first_row_ + r) : 0.0f;
      const float u = simt::rounded_difference(value, sums[Tile::kRows + r]);
      DS_UNROLL
      for (int i = 0; i < Tile::kChannels; ++i) {
        state_[r][i] = fmaf(t.write[i], u, state_[r][i]);
      }
      const float row_out = fmaf(sums[2 * Tile::kRows], u, sums[r]);
      own_out = lane_ == r ? row_out : own_out;
    }
    if (lane_ < Tile::kRows && lane_ < rows_left_) out[first_row_ + lane_] = own_out;
  }

 private:
  // Holds the lane's channels; those beyond the key's are 0 and keep the state's padding 0.
  struct Operands {
    float decay[Tile::kChannels], erase[Tile::kChannels], write[Tile::kChannels],
        read[Tile::kChannels];
  };

  DS_DEVICE int channel(int i) const {
    return (i / Tile::kVector * Tile::kWidth + lane_) * Tile::kVector + i % Tile::kVector;
  }

  DS_DEVICE void load_operands(const Token& token, Operands& t) const {
    const float decay = Mixer::kDecay == Decay::kPerHead ? expf(token.g[0]) : 1.0f;
    DS_UNROLL
    for (int i = 0; i < Tile::kChannels; ++i) {
      const int c = channel(i);
      const bool inside = c < key_dim_;
      t.decay[i] = decay;
      if constexpr (Mixer::kDecay == Decay::kPerChannel) {
        t.decay[i] = inside ? expf(token.g[c]) : 0.0f;
      }
      t.erase[i] = inside ? Mixer::erase(token, c) : 0.0f;
      t.write[i] = inside ? Mixer::write(token, c) : 0.0f;
      t.read[i] = inside ? Mixer::read(token, c) : 0.0f;
    }
  }

  // visit(row, run of the lane's channels, where it stands in the head's state)
  template <class Visit>
  DS_DEVICE void each_run(const Visit& visit) const {
    DS_UNROLL
    for (int r = 0; r < Tile::kRows; ++r) {
      DS_UNROLL
      for (int group = 0; group < Tile::kGroups; ++group) {
        const int c = channel(group * Tile::kVector);
        if (r < rows_left_ && c < stride_) {
          visit(r, group, static_cast<int64_t>(first_row_ + r) * stride_ + c);
        }
      }
    }
  }

  int key_dim_;
  int stride_;     // of a state row
  int rows_left_;  // of the head, from first_row_ on; negative where the team has none
  int first_row_;
  int lane_;  // in the team
  float state_[Tile::kRows][Tile::kChannels];
};

}  // namespace deltaserve::cuda
