// One token of the rule on a head's state, by blocks that walk over the rows of S^T. Both sums are
// of the old state with decayed operands, so that a row is read once and waits for one sum only:
//   u = value - S (decay erase)   o = S (decay read) + (write . read) u   S' = decay S + write u
// Rows need nothing of each other, so the number of blocks that share a head changes no bit. Which
// sums and products are rounded is written out, because kernels that share this must have the same
// bits.
#pragma once
#include <algorithm>
#include <cmath>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/state_vector.h"
#include "kernels/program/head_tokens.h"

namespace deltaserve::cuda {

// A StepTile says how a head's state is spread over a block: kWidth neighbouring lanes, a team,
// hold kRows rows of S^T (columns of S) at a time; each lane has kGroups runs of kVector channels
// of every row, so that a team's loads are contiguous. A turn is what all teams of the block hold.
template <class Format_, int kWidth_, int kGroups_>
struct StepTile {
  using Format = Format_;
  using Stored = typename Format::Stored;
  static constexpr int kThreads = 128;
  static constexpr int kWidth = kWidth_;
  static constexpr int kGroups = kGroups_;
  static constexpr int kVector = 16 / static_cast<int>(sizeof(Stored));
  static constexpr int kChannels = kGroups * kVector;  // of a lane
  static constexpr int kAllChannels = kWidth * kChannels;
  // Operands are read four channels at a time.
  static constexpr int kQuads = kChannels / 4;
  static constexpr int kQuadsOfGroup = kVector / 4;
  // 4 KB a warp are under way while the turn before is summed, where registers allow.
  static constexpr int kRows = kWidth >= 16 && kChannels <= 4 ? 8 : 4;
  static constexpr int kTurnRows = kThreads / kWidth * kRows;
  // Blocks of a multiprocessor, so that enough bytes are under way. With five, eight rows of floats
  // and those of the next turn leave the sums no registers.
  static constexpr int kBlocks = kChannels > 8 ? 2 : kRows == 8 || kGroups == 2 ? 4 : 5;
  static_assert(2 * kRows <= kWidth);  // a lane holds one sum after the exchange

  // Returns the channel of a lane's quad.
  static DS_HOST_DEVICE constexpr int channel(int quad, int lane) {
    return (quad / kQuadsOfGroup * kWidth + lane) * kVector + quad % kQuadsOfGroup * 4;
  }
  // Returns where the operand of a channel lies in shared memory: lanes read 16 bytes side by side.
  static DS_HOST_DEVICE constexpr int place(int c) {
    const int quad = c / (kWidth * kVector) * kQuadsOfGroup + c % kVector / 4;
    return (quad * kWidth + c / kVector % kWidth) * 4 + c % 4;
  }
};

// Calls visit(tile) with the narrowest one that covers a state row of `key_stride` channels.
template <class Format, class Visit>
void visit_step_tile(int64_t key_stride, const Visit& visit) {
  using Stored = typename Format::Stored;
  const auto runs = static_cast<int>(key_stride * static_cast<int64_t>(sizeof(Stored)) / 16);
  if (runs <= 8) return visit(StepTile<Format, 8, 1>{});
  if (runs <= 16) return visit(StepTile<Format, 16, 1>{});
  if (runs <= 32) return visit(StepTile<Format, 32, 1>{});
  if (runs <= 64) return visit(StepTile<Format, 32, 2>{});
  if constexpr (sizeof(Stored) == sizeof(float)) return visit(StepTile<Format, 32, 4>{});
}

// StepParts says how the rows of heads are cut into blocks.
struct StepParts {
  int count = 0;  // blocks of a head
  int rows = 0;   // of a block but the last one; a multiple of a turn's
};

// `heads`: of all segments together. `wanted` parts of each; 0 = as many as fill an H200 with three
// blocks a multiprocessor, beyond which a block that lives longer is better.
inline StepParts step_parts(int value_dim, int turn_rows, int64_t heads, int wanted) {
  constexpr int kMost = 16;
  constexpr int64_t kBlocks = 3 * 132;
  const int turns = (value_dim + turn_rows - 1) / turn_rows;
  int parts = wanted;
  if (parts == 0) {
    parts = 1;
    while (parts < kMost && 2 * parts * heads <= kBlocks) parts *= 2;
  }
  parts = std::min(parts, turns);
  const int rows = (turns + parts - 1) / parts * turn_rows;
  return {(value_dim + rows - 1) / rows, rows};
}

// A block shares this of a token in shared memory: the operands by StepTile::place, 0 in channels
// beyond the key's, which keeps the state's padding 0; a head's decay, and write . read; the
// block's values and results. All is read where it is used, because the registers are the state's.
template <class Mixer, class Tile>
class StepOperands {
 public:
  static constexpr bool kDecays = Mixer::kDecay == Decay::kPerChannel;

  // Returns the size for blocks of at most `block_rows` rows of a head.
  static constexpr int floats(int block_rows) { return kValues + 2 * block_rows; }

  DS_DEVICE StepOperands(float* shared, int block_rows) : shared_(shared), rows_(block_rows) {}

  // The block's rows: what is written, what is read.
  DS_DEVICE float* values() const { return shared_ + kValues; }
  DS_DEVICE float* out() const { return shared_ + kValues + rows_; }

  // Fills all but the results; what the token gives by rows begins at the block's first. Reached by
  // all threads of the block; a barrier must follow.
  DS_DEVICE void prepare(const Token& token, int key_dim, int num_rows) const {
    for (int j = simt::thread_index(); j < num_rows; j += Tile::kThreads) {
      values()[j] = Mixer::value(token, j);
    }
    const float of_head = Mixer::kDecay == Decay::kPerHead ? expf(token.g[0]) : 1.0f;
    if (simt::warp_index() == 0) {
      const float product = write_read_of(token, key_dim);
      if (simt::lane_index() == 0) {
        shared_[kHead] = of_head;
        shared_[kHead + 1] = product;
      }
    }
    for (int c = simt::thread_index(); c < Tile::kAllChannels; c += Tile::kThreads) {
      const bool inside = c < key_dim;
      float decay = of_head;
      if constexpr (kDecays) decay = inside ? expf(token.g[c]) : 0.0f;
      const auto decayed = [&](float x) {
        return Mixer::kDecay == Decay::kNone ? x : simt::rounded_product(decay, x);
      };
      float* at = shared_ + Tile::place(c);
      at[kWrite] = inside ? Mixer::write(token, c) : 0.0f;
      at[kRead] = inside ? decayed(Mixer::read(token, c)) : 0.0f;
      if constexpr (Mixer::kErases) at[kErase] = inside ? decayed(Mixer::erase(token, c)) : 0.0f;
      if constexpr (kDecays) at[kDecay] = decay;
    }
  }

  DS_DEVICE float head_decay() const { return simt::load_shared(shared_ + kHead).x[0]; }
  DS_DEVICE float write_read() const { return simt::load_shared(shared_ + kHead).x[1]; }
  DS_DEVICE simt::Float4 write(int quad, int lane) const { return load(kWrite, quad, lane); }
  DS_DEVICE simt::Float4 read(int quad, int lane) const { return load(kRead, quad, lane); }
  DS_DEVICE simt::Float4 erase(int quad, int lane) const { return load(kErase, quad, lane); }
  DS_DEVICE simt::Float4 decay(int quad, int lane) const { return load(kDecay, quad, lane); }

 private:
  static constexpr int kWrite = 0;
  static constexpr int kRead = Tile::kAllChannels;
  static constexpr int kErase = 2 * Tile::kAllChannels;
  static constexpr int kDecay = (Mixer::kErases ? 3 : 2) * Tile::kAllChannels;
  static constexpr int kHead = kDecay + (kDecays ? 1 : 0) * Tile::kAllChannels;
  static constexpr int kValues = kHead + 4;

  // Returns write . read. The first team's lanes compute it, but the whole warp must call this.
  DS_DEVICE static float write_read_of(const Token& token, int key_dim) {
    float sum[1] = {0};
    DS_UNROLL
    for (int i = 0; i < Tile::kChannels; ++i) {
      const int c = Tile::channel(i / 4, simt::lane_index() % Tile::kWidth) + i % 4;
      if (c < key_dim) sum[0] = fmaf(Mixer::write(token, c), Mixer::read(token, c), sum[0]);
    }
    simt::lanes_sum<Tile::kWidth>(sum);
    return sum[0];
  }

  DS_DEVICE simt::Float4 load(int vector, int quad, int lane) const {
    return simt::load_shared(shared_ + vector + (quad * Tile::kWidth + lane) * 4);
  }

  float* shared_;
  int rows_;
};

// The block's rows of one head. States begin at the block's first row.
template <class Mixer, class Tile>
class StepWalk {
 public:
  using Stored = typename Tile::Stored;
  using Operands = StepOperands<Mixer, Tile>;

  DS_DEVICE StepWalk(int key_dim, int num_rows)
      : stride_(static_cast<int>(padded_to_16(key_dim))),
        num_rows_(num_rows),
        team_row_(simt::thread_index() / Tile::kWidth * Tile::kRows),
        lane_(simt::lane_index() % Tile::kWidth) {}

  // Asks for the rows of the first turn, which come while the token is prepared. A sequence that
  // begins has null, whatever is stored.
  DS_DEVICE void begin(const Stored* from) {
    is_stored_ = from != nullptr;
    from_ = from + place();
    load(num_rows_, now_);
  }

  // Computes one token on all rows, from where begin() said. All threads must call this, and a
  // barrier must follow.
  DS_DEVICE void run(const Operands& operands, Stored* to) {
    to += place();
    for (int left = num_rows_; left > 0; left -= Tile::kTurnRows) {
      from_ += int64_t{Tile::kTurnRows} * stride_;
      if (left > Tile::kTurnRows) load(left - Tile::kTurnRows, next_);
      simt::keep_loads_in_front();
      step(num_rows_ - left, operands);
      store(left, to);
      to += int64_t{Tile::kTurnRows} * stride_;
      DS_UNROLL
      for (int r = 0; r < Tile::kRows; ++r) {
        DS_UNROLL
        for (int g = 0; g < Tile::kGroups; ++g) now_[r][g] = next_[r][g];
      }
    }
  }

 private:
  using Words = simt::Words4[Tile::kRows][Tile::kGroups];
  static constexpr int kSums = Mixer::kErases ? 2 : 1;
  static constexpr int kShare = Tile::kWidth / (kSums * Tile::kRows);  // lanes with the same sum

  // visit(row of the team, run, where it stands), of rows that begin at `at`. Rows are found one
  // from the other, because pointers to all of them would take the registers of the rows.
  template <class At, class Visit>
  DS_DEVICE void each_run(At* at, const Visit& visit) const {
    DS_UNROLL
    for (int r = 0; r < Tile::kRows; ++r) {
      DS_UNROLL
      for (int g = 0; g < Tile::kGroups; ++g) visit(r, g, at + g * Tile::kWidth * Tile::kVector);
      at = simt::opaque(at + stride_);
    }
  }
  // Returns the run's first channel.
  DS_DEVICE int channel(int g) const { return (g * Tile::kWidth + lane_) * Tile::kVector; }
  // Returns where the lane's first run stands from the block's first row on.
  DS_DEVICE int64_t place() const { return int64_t{team_row_} * stride_ + channel(0); }

  // Returns true if row r of the team exists, where `left` rows of the block are left.
  DS_DEVICE bool has(int left, int r, int g) const {
    return team_row_ + r < left && channel(g) < stride_;
  }

  DS_DEVICE void load(int left, Words& words) const {
    const auto words_at = [](const Stored* at) {
      return simt::load_once(reinterpret_cast<const simt::Words4*>(at));
    };
    if (is_stored_ && left >= Tile::kTurnRows && stride_ == Tile::kAllChannels) {
      return each_run(from_, [&](int r, int g, const Stored* at) { words[r][g] = words_at(at); });
    }
    each_run(from_, [&](int r, int g, const Stored* at) {
      words[r][g] = is_stored_ && has(left, r, g) ? words_at(at) : simt::Words4{};
    });
  }
  DS_DEVICE void store(int left, Stored* to) const {
    each_run(to, [&](int r, int g, Stored* at) {
      if (!has(left, r, g)) return;
      simt::store_once(reinterpret_cast<simt::Words4*>(at), now_[r][g]);
    });
  }

  DS_DEVICE void step(int first, const Operands& operands) {
    // A lane has one sum of one row after the exchange.
    const int row = first + team_row_ + lane_ % (Tile::kWidth / kSums) / kShare;
    const float own = old_state_sums(operands);
    float u = row < num_rows_ ? operands.values()[row] : 0.0f;
    float seen = own;
    bool first_of_row = lane_ % kShare == 0;
    if constexpr (Mixer::kErases) {
      const float other = simt::exchange(own, Tile::kWidth / 2);
      const bool reads = lane_ >= Tile::kWidth / 2;
      u = simt::rounded_difference(u, reads ? other : own);
      seen = reads ? own : other;
      first_of_row = first_of_row && !reads;
    }
    if (first_of_row && row < num_rows_) operands.out()[row] = fmaf(operands.write_read(), u, seen);
    float us[Tile::kRows];
    simt::from_lanes<kShare>(u, simt::lane_index() / Tile::kWidth * Tile::kWidth, us);
    update(operands, us);
  }

  // Returns a sum of the team's old rows: with the erase vector in its first half of lanes, with
  // the read vector in the second; or with the read vector alone.
  DS_DEVICE float old_state_sums(const Operands& operands) const {
    constexpr int kReads = (kSums - 1) * Tile::kRows;
    float sums[kSums * Tile::kRows] = {};
    DS_UNROLL
    for (int j = 0; j < Tile::kQuads; ++j) {
      const simt::Float4 read = operands.read(j, lane_);
      simt::Float4 erase = {};
      if constexpr (Mixer::kErases) erase = operands.erase(j, lane_);
      DS_UNROLL
      for (int r = 0; r < Tile::kRows; ++r) {
        float s[Tile::kVector];
        unpack_state(typename Tile::Format{}, now_[r][j / Tile::kQuadsOfGroup], s);
        DS_UNROLL
        for (int i = 0; i < 4; ++i) {
          const float x = s[j % Tile::kQuadsOfGroup * 4 + i];
          sums[kReads + r] = fmaf(x, read.x[i], sums[kReads + r]);
          if constexpr (Mixer::kErases) sums[r] = fmaf(x, erase.x[i], sums[r]);
        }
      }
    }
    return simt::scattered_sum<Tile::kWidth>(sums);
  }

  DS_DEVICE void update(const Operands& operands, const float (&us)[Tile::kRows]) {
    const float decay = operands.head_decay();
    DS_UNROLL
    for (int g = 0; g < Tile::kGroups; ++g) {
      simt::Float4 write[Tile::kQuadsOfGroup], decays[Tile::kQuadsOfGroup];
      DS_UNROLL
      for (int q = 0; q < Tile::kQuadsOfGroup; ++q) {
        write[q] = operands.write(g * Tile::kQuadsOfGroup + q, lane_);
        if constexpr (Operands::kDecays) {
          decays[q] = operands.decay(g * Tile::kQuadsOfGroup + q, lane_);
        }
      }
      DS_UNROLL
      for (int r = 0; r < Tile::kRows; ++r) {
        float s[Tile::kVector];
        unpack_state(typename Tile::Format{}, now_[r][g], s);
        DS_UNROLL
        for (int i = 0; i < Tile::kVector; ++i) {
          float kept = s[i];
          if constexpr (Operands::kDecays) {
            kept = simt::rounded_product(s[i], decays[i / 4].x[i % 4]);
          } else if constexpr (Mixer::kDecay == Decay::kPerHead) {
            kept = simt::rounded_product(s[i], decay);
          }
          s[i] = fmaf(write[i / 4].x[i % 4], us[r], kept);
        }
        now_[r][g] = pack_state(typename Tile::Format{}, s);
      }
    }
  }

  int stride_;                    // of a state row
  int num_rows_;                  // of the block
  bool is_stored_ = false;        // else they are zero whatever is stored
  int team_row_;                  // first of the team in a turn
  int lane_;                      // in the team
  const Stored* from_ = nullptr;  // the rows of the turn that is asked for next
  Words now_, next_;
};

}  // namespace deltaserve::cuda
