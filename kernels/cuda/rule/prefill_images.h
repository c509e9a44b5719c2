// Operands of the tensor path of prefill with the inverse on the write side (prefill_chain.h): all
// as images, which are squares of [64 rows][64 numbers] in bf16, stored in the layout that shared
// memory needs.
//
// For this path features() leaves q, k and v of every chunk as images, not as floats. Images serve
// mixers with is_delta_of_keys(). All others take the path of prefill_gram.h, which calls the
// mixer's functions.
#pragma once
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/prefill_chunk.h"

namespace deltaserve::cuda {

// Rows of 128 bytes; the 16-byte parts of a row are exchanged by the row's number mod 8, so that
// reading one part of eight rows, or eight parts of one row, uses all banks.
struct Image {
  static constexpr int kSide = 64;
  static constexpr int kRowBytes = kSide * 2;
  static constexpr int kBytes = kSide * kRowBytes;
  static constexpr int kParts = kBytes / 16;
  static constexpr int kBlocks = kSide / 16;  // of 16 rows or numbers

  DS_HOST_DEVICE static constexpr int place(int row, int number) {
    return row * kRowBytes + ((number / 8 ^ row % 8) * 16) + number % 8 * 2;
  }
};
constexpr bool every_place_once() {
  bool seen[Image::kBytes / 2] = {};
  for (int row = 0; row < Image::kSide; ++row) {
    for (int number = 0; number < Image::kSide; ++number) {
      bool& here = seen[Image::place(row, number) / 2];
      if (here) return false;
      here = true;
    }
  }
  return true;
}
static_assert(every_place_once());

// A lane takes its row of the block of 16 x 16 numbers (row block, number block) of an image here
// for simt::load_matrices: the four words are then those of prefill_tiles.h, of the transposed
// block after load_transposed_matrices.
struct ImageLane {
  int plain;

  DS_DEVICE ImageLane() {
    const int lane = simt::lane_index();
    plain = Image::place(lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8);
  }
  DS_DEVICE static int transposed() {
    const int lane = simt::lane_index();
    return Image::place(lane / 8 % 2 * 8 + lane % 8, lane / 16 * 8);
  }
  // Two parts further to the right is an exclusive or: parts are exchanged that way.
  DS_DEVICE simt::Words4 block(const unsigned char* image, int row, int number) const {
    return simt::load_matrices(image + (plain ^ number * 32) + row * 16 * Image::kRowBytes);
  }
  DS_DEVICE simt::Words4 transposed_block(const unsigned char* image, int row, int number) const {
    return simt::load_transposed_matrices(image + (transposed() ^ number * 32) +
                                          row * 16 * Image::kRowBytes);
  }
};

// These scale the tokens of a chunk, in float: P = value_factor v + erase_factor (S erase),
// O = read_factor (S q) + M P. They are zero after the chunk's last token.
struct ChunkFactors {
  float erase[kChunkTokens];
  float value[kChunkTokens];
  float read[kChunkTokens];
  float decay;  // e^{G_n}
  float unused[3];
};
static_assert(sizeof(ChunkFactors) % 16 == 0);

// The result of the token-parallel kernel for one chunk of one head.
struct ChunkOperands {
  int key_dim;
  bool own_erase;  // kErasesQuery; otherwise the erase vector is the key

  constexpr int images() const { return key_dim / Image::kSide; }  // of key channels
  // W~ = (I + A)^-T (e^{G_n - G} write): rows are channels, numbers tokens
  constexpr int write() const { return 0; }
  // M = Q (I + A)^-1: rows are tokens. Zeros right of the block on the diagonal.
  constexpr int reads() const { return images() * Image::kBytes; }
  // The erase vector without its factor: rows are tokens
  constexpr int erase() const { return reads() + Image::kBytes; }
  constexpr int factors() const { return erase() + (own_erase ? images() * Image::kBytes : 0); }
  constexpr int bytes() const { return factors() + static_cast<int>(sizeof(ChunkFactors)); }
};

// The rule's operands in the scratch of prefill: the images of all chunks, then the results of the
// token-parallel kernel.
class PrefillImages {
 public:
  DS_DEVICE explicit PrefillImages(const LayerCall& call)
      : call_(call), operands_{call.mixer.shape().key_dim, erases_query(call.mixer.shape().kind)} {}

  static constexpr int64_t feature_bytes(const MixerShape& shape) {
    return int64_t{shape.channels()} / Image::kSide * Image::kBytes;
  }
  static constexpr int64_t operand_bytes(const MixerShape& shape) {
    return int64_t{shape.heads} * ChunkOperands{shape.key_dim, erases_query(shape.kind)}.bytes();
  }

  // Returns the image whose first channel is `channel`; its rows are tokens.
  DS_DEVICE unsigned char* features(int64_t chunk, int channel) const {
    return scratch() + chunk * feature_bytes(call_.mixer.shape()) +
           channel / Image::kSide * Image::kBytes;
  }
  DS_DEVICE int q_channel(int head) const {
    return group(head, call_.mixer.shape().q_heads) * call_.mixer.shape().key_dim;
  }
  DS_DEVICE int k_channel(int head) const {
    const MixerShape& shape = call_.mixer.shape();
    return shape.q_columns() + group(head, shape.k_heads) * shape.key_dim;
  }
  DS_DEVICE int v_channel(int head) const {
    const MixerShape& shape = call_.mixer.shape();
    return shape.q_columns() + shape.k_columns() + group(head, shape.v_heads) * shape.value_dim;
  }
  DS_DEVICE unsigned char* operands(int64_t chunk, int64_t head) const {
    const MixerShape& shape = call_.mixer.shape();
    return scratch() + call_.num_chunks * feature_bytes(shape) +
           (chunk * shape.heads + head) * operands_.bytes();
  }
  DS_DEVICE const ChunkOperands& layout() const { return operands_; }

 private:
  DS_DEVICE unsigned char* scratch() const {
    return static_cast<unsigned char*>(call_.prefill_scratch);
  }
  DS_DEVICE int group(int head, int count) const {
    return static_cast<int>(call_.mixer.group(head, count));
  }

  const LayerCall& call_;
  ChunkOperands operands_;
};

}  // namespace deltaserve::cuda
