// The tensor path of prefill cuts its operands into blocks of 16 x 16 numbers in bf16. They are
// stored in the order in which the lanes of a warp hold them (simt.h, MmaA and MmaB), so that a
// lane reads its part of any block as 16 bytes.
#pragma once
#include <bit>
#include <cstdint>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/prefill_chunk.h"

namespace deltaserve::cuda {

inline constexpr int kBlock = kBlockTokens;  // rows, columns and inner index of a block
inline constexpr int kBlockBytes = kBlock * kBlock * 2;
inline constexpr int kBlockWords = kBlockBytes / 16;  // of 16 bytes, one a lane
// Blocks on and below the diagonal of a chunk's square matrix.
inline constexpr int kLowerBlocks = kChunkBlocks * (kChunkBlocks + 1) / 2;

constexpr int lower_block(int row, int column) {
  return row * (row + 1) / 2 + column;
}

// A lane's four words of a block of rows [16] over an inner index [16] that is contiguous in them:
//   word[0] (group, 2 pair ..)      word[1] (group, 2 pair + 8 ..)
//   word[2] (group + 8, 2 pair ..)  word[3] (group + 8, 2 pair + 8 ..)
// As B it is two products' operands side by side; as A its middle words change places.
DS_DEVICE simt::MmaB left_columns(const simt::Words4& block) {
  return {{{block.word[0]}, {block.word[1]}}};
}
DS_DEVICE simt::MmaB right_columns(const simt::Words4& block) {
  return {{{block.word[2]}, {block.word[3]}}};
}
DS_DEVICE simt::MmaA as_rows(const simt::Words4& block) {
  return {{{block.word[0]}, {block.word[2]}, {block.word[1]}, {block.word[3]}}};
}

// The channels of a block are assigned to positions so that the four of a lane, at the positions 2
// pair, 2 pair + 1, 2 pair + 8 and 2 pair + 9, are neighbours in memory.
constexpr int channel_at(int position) {
  return position % 8 / 2 * 4 + position / 8 * 2 + position % 2;
}
constexpr bool deals_every_channel() {
  unsigned seen = 0;
  for (int i = 0; i < kBlock; ++i) seen |= 1u << channel_at(i);
  for (int pair = 0; pair < 4; ++pair) {
    const int first = channel_at(2 * pair);
    if (channel_at(2 * pair + 1) != first + 1 || channel_at(2 * pair + 8) != first + 2 ||
        channel_at(2 * pair + 9) != first + 3) {
      return false;
    }
  }
  return seen == 0xffff;
}
static_assert(deals_every_channel());

// A pair of floats as two sums of bf16: high + low is each float to 16 bits and more.
struct SplitPair {
  simt::Bf16Pair high, low;
};
DS_DEVICE SplitPair split(float x, float y) {
  const simt::Bf16Pair high = simt::pack_bf16(x, y);
  const float rest_x = x - std::bit_cast<float>(high.bits << 16);
  const float rest_y = y - std::bit_cast<float>(high.bits & 0xffff0000u);
  return {high, simt::pack_bf16(rest_x, rest_y)};
}

// The sums of two products, as high and low parts of the left operand of the next product.
struct SplitA {
  simt::MmaA high, low;
};
DS_DEVICE SplitA split_sums(const simt::MmaD& left, const simt::MmaD& right) {
  const SplitPair a0 = split(left.d[0], left.d[1]);
  const SplitPair a1 = split(left.d[2], left.d[3]);
  const SplitPair a2 = split(right.d[0], right.d[1]);
  const SplitPair a3 = split(right.d[2], right.d[3]);
  return {{{a0.high, a1.high, a2.high, a3.high}}, {{a0.low, a1.low, a2.low, a3.low}}};
}

// (left, right) += a block
DS_DEVICE void add_product(const simt::MmaA& a, const simt::Words4& block, simt::MmaD& left,
                           simt::MmaD& right) {
  simt::multiply_add(a, left_columns(block), left);
  simt::multiply_add(a, right_columns(block), right);
}
// Adds all products except that of the low parts.
DS_DEVICE void add_product(const SplitA& a, const simt::Words4& high, const simt::Words4& low,
                           simt::MmaD& left, simt::MmaD& right) {
  add_product(a.high, high, left, right);
  add_product(a.low, high, left, right);
  add_product(a.high, low, left, right);
}
// Does the same to sums[0] and sums[1].
DS_DEVICE void add_product(const simt::MmaA& a, const simt::Words4& block, simt::MmaD (&sums)[2]) {
  add_product(a, block, sums[0], sums[1]);
}
DS_DEVICE void add_product(const SplitA& a, const simt::Words4& high, const simt::Words4& low,
                           simt::MmaD (&sums)[2]) {
  add_product(a, high, low, sums[0], sums[1]);
}

// The result of the first kernel for one chunk of one head, in pieces in the order in which the
// second reads them. All are blocks of lanes' words; rows after the chunk's last are zero.
struct TensorChunk {
  static constexpr int kRowChannels = 64;    // of a piece of erase and read
  static constexpr int kWriteChannels = 32;  // of a piece of write
  static constexpr int kRowBytes = kRowChannels * kChunkTokens * 2;
  static constexpr int kSquareBytes = 2 * kLowerBlocks * kBlockBytes;
  static constexpr int kWriteDecay = 2 * kWriteChannels * kChunkTokens * 2;  // bytes before it
  static constexpr int kWriteBytes = kWriteDecay + kWriteChannels * static_cast<int>(sizeof(float));
  static constexpr int kLargestPiece = kSquareBytes;
  static_assert(kRowBytes <= kLargestPiece && kWriteBytes <= kLargestPiece);

  int key_dim;

  constexpr int row_pieces() const { return key_dim / kRowChannels; }
  constexpr int write_pieces() const { return key_dim / kWriteChannels; }

  // ---- Offsets in bytes. Square matrices: the high parts of lower_block() after lower_block(),
  // rows i, inner j; then their low parts.

  // - e^G erase: [row_pieces][4 blocks of channels][4 blocks of tokens], rows are tokens
  constexpr int erase() const { return 0; }
  // (I + A)^-1
  constexpr int inverse() const { return row_pieces() * kRowBytes; }
  // e^G read, as erase
  constexpr int read() const { return inverse() + kSquareBytes; }
  // Q
  constexpr int reads() const { return read() + row_pieces() * kRowBytes; }
  // e^{G_n - G} write: [write_pieces] of high parts [4 blocks of tokens][2 blocks of channels],
  // rows are channels; low parts; e^{G_n} of the channels, float
  constexpr int write() const { return reads() + kSquareBytes; }
  constexpr int bytes() const { return write() + write_pieces() * kWriteBytes; }

  // The pieces in order; without erase the first and the inverse are left out.
  constexpr int pieces(bool erases) const {
    return (erases ? row_pieces() + 1 : 0) + row_pieces() + 1 + write_pieces();
  }
  struct Piece {
    int offset;
    int bytes;
  };
  DS_HOST_DEVICE constexpr Piece piece(int index, bool erases) const {
    if (!erases) index += row_pieces() + 1;
    if (index < row_pieces()) return {erase() + index * kRowBytes, kRowBytes};
    index -= row_pieces();
    if (index == 0) return {inverse(), kSquareBytes};
    --index;
    if (index < row_pieces()) return {read() + index * kRowBytes, kRowBytes};
    index -= row_pieces();
    if (index == 0) return {reads(), kSquareBytes};
    return {write() + (index - 1) * kWriteBytes, kWriteBytes};
  }
};

// Returns where the scratch holds `chunk` of the step and `head`.
DS_DEVICE unsigned char* tensor_chunk(const RuleView& view, int64_t chunk, int64_t head) {
  const TensorChunk layout = {static_cast<int>(view.size().key_dim)};
  return static_cast<unsigned char*>(view.call.prefill_scratch) +
         (chunk * view.heads() + head) * layout.bytes();
}

}  // namespace deltaserve::cuda
