#include "kernels/cuda/layer/prefill_features.h"

#include "kernels/cuda/layer/activation.h"
#include "kernels/cuda/layer/feature_run.h"
#include "kernels/cuda/layer/gate_runs.h"
#include "kernels/cuda/rule/prefill_images.h"

namespace deltaserve::cuda {
namespace {

using simt::Words4;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / simt::kWarp;
constexpr int kWarpTokens = kChunkTokens / kWarps;
constexpr int kMaxTaps = 4;
constexpr int kTogether = 4;  // tokens whose loads are under way at once

struct alignas(8) TwoChannels {
  float x[2];
};

// Two neighbouring channels of each of kImages images' 64, on their way through a warp's tokens.
template <int kImages, bool kAligned>
class ChannelWindow {
 public:
  // The channels from `first` on, of which the shape may have fewer.
  DS_DEVICE ChannelWindow(const LayerCall& call, const Segment& segment, const Chunk& chunk,
                          int first)
      : call_(call), segment_(segment), chunk_(chunk), first_(first) {
    const MixerShape& shape = call.mixer.shape();
    keys_ = shape.q_columns() + shape.k_columns();
    taps_ = shape.conv_width > 0 ? shape.conv_width : 1;
    const ProjectionLayout& at = call.mixer.layer.projection;
    shift_ = shape.conv_width > 0 ? 0 : first < keys_ ? at.q : at.v - keys_;
    DS_UNROLL
    for (int h = 0; h < kImages; ++h) {
      DS_UNROLL
      for (int j = 0; j < kMaxTaps; ++j) {
        weight_[h][j] = {{1, 1}};
        const int tap = j - (kMaxTaps - taps_);
        if (shape.conv_width == 0 || tap < 0 || !used(h)) continue;
        weight_[h][j] = load(call.mixer.weights.conv +
                             static_cast<int64_t>(tap) * shape.channels() + channel(h));
      }
      bias_[h] = {{0, 0}};
      if (shape.conv_width > 0 && call.mixer.weights.conv_bias != nullptr && used(h)) {
        bias_[h] = load(call.mixer.weights.conv_bias + channel(h));
      }
    }
  }

  // Computes the features of the chunk's tokens [begin, begin + kWarpTokens).
  DS_DEVICE void run(const PrefillImages& images, int64_t chunk, int begin) {
    const int n = chunk_.num_rows;
    TwoChannels rows[kMaxTaps - 1 + kTogether][kImages];  // of the projection
    DS_UNROLL
    for (int j = 0; j < kMaxTaps - 1; ++j) load_row<true>(begin - (kMaxTaps - 1) + j, rows[j]);
    for (int i = begin; i < begin + kWarpTokens; i += kTogether) {
      DS_UNROLL
      for (int t = 0; t < kTogether; ++t) {
        load_row<false>(i + t, rows[kMaxTaps - 1 + t]);
      }
      DS_UNROLL
      for (int t = 0; t < kTogether; ++t) {
        TwoChannels x[kImages];
        convolve(rows + t, x);
        activate(x);
        normalise(x);
        DS_UNROLL
        for (int h = 0; h < kImages; ++h) {
          if (!used(h)) continue;
          const uint32_t pair = i + t < n ? simt::pack_bf16(x[h].x[0], x[h].x[1]).bits : 0;
          unsigned char* image = images.features(chunk, channel(h));
          *reinterpret_cast<uint32_t*>(image + Image::place(i + t, 2 * simt::lane_index())) = pair;
        }
      }
      DS_UNROLL
      for (int j = 0; j < kMaxTaps - 1; ++j) {
        DS_UNROLL
        for (int h = 0; h < kImages; ++h) rows[j][h] = rows[j + kTogether][h];
      }
    }
  }

 private:
  DS_DEVICE int channel(int h) const { return first_ + h * Image::kSide + 2 * simt::lane_index(); }
  // Returns true if the image `h` has channels of the features. Images are used as a whole.
  DS_DEVICE bool used(int h) const {
    return first_ + h * Image::kSide < call_.mixer.shape().channels();
  }
  DS_DEVICE static TwoChannels load(const float* from) {
    if constexpr (kAligned) return *reinterpret_cast<const TwoChannels*>(from);
    return {{from[0], from[1]}};
  }

  // Token `i` of the chunk, or its last; those before the segment come from the slot, and
  // those before the sequence, which the convolution leaves out, as zeros. Only the first rows of a
  // run can be before the segment: the code that finds them would cost the others registers.
  template <bool kMayBeBefore>
  DS_DEVICE void load_row(int i, TwoChannels (&to)[kImages]) const {
    const int last = chunk_.num_rows - 1;
    // Row of the segment.
    const int at = chunk_.first_row - segment_.first_row + (i < last ? i : last);
    const float* from = nullptr;
    if (!kMayBeBefore || at >= 0) {
      from = call_.mixer.projected_row(int64_t{segment_.first_row} + at) + shift_;
    } else if (segment_.position + at >= 0 && at + taps_ - 1 >= 0) {
      from = RawRows(call_.mixer, segment_).before(at);
    }
    DS_UNROLL
    for (int h = 0; h < kImages; ++h) {
      to[h] = {{0, 0}};
      if (from != nullptr && used(h)) to[h] = load(from + channel(h));
    }
  }

  DS_DEVICE void convolve(const TwoChannels (*rows)[kImages], TwoChannels (&x)[kImages]) const {
    DS_UNROLL
    for (int h = 0; h < kImages; ++h) {
      x[h] = {{0, 0}};
      DS_UNROLL
      for (int j = 0; j < kMaxTaps; ++j) {
        if (j < kMaxTaps - taps_) continue;
        x[h].x[0] = fmaf(weight_[h][j].x[0], rows[j][h].x[0], x[h].x[0]);
        x[h].x[1] = fmaf(weight_[h][j].x[1], rows[j][h].x[1], x[h].x[1]);
      }
      x[h].x[0] += bias_[h].x[0];
      x[h].x[1] += bias_[h].x[1];
    }
  }
  DS_DEVICE void activate(TwoChannels (&x)[kImages]) const {
    const MixerShape& shape = call_.mixer.shape();
    const bool value = first_ >= keys_;
    const Activation first = value ? shape.v_activation : shape.qk_activation;
    const Activation second = value ? Activation::kNone : shape.feature_map;
    DS_UNROLL
    for (int h = 0; h < kImages; ++h) {
      DS_UNROLL
      for (int c = 0; c < 2; ++c) {
        x[h].x[c] = cuda::activate(second, cuda::activate(first, x[h].x[c]));
      }
    }
  }
  // Normalises one head. All lanes must call this.
  DS_DEVICE void normalise(TwoChannels (&x)[kImages]) const {
    const MixerShape& shape = call_.mixer.shape();
    if (first_ >= keys_) return;
    const FeatureNorm norm = first_ < shape.q_columns() ? shape.q_norm : shape.k_norm;
    if (norm == FeatureNorm::kNone) return;
    float sum = 0;
    DS_UNROLL
    for (int h = 0; h < kImages; ++h) {
      DS_UNROLL
      for (int c = 0; c < 2; ++c) {
        sum += norm == FeatureNorm::kL2 ? x[h].x[c] * x[h].x[c] : x[h].x[c];
      }
    }
    sum = simt::warp_sum(sum);
    float divisor = sum;
    if (norm == FeatureNorm::kL2) divisor = sqrtf(sum + kL2NormEps);
    if (norm == FeatureNorm::kSumPlusEps) divisor = sum + kSumNormEps;
    const float scale = 1.0f / divisor;
    DS_UNROLL
    for (int h = 0; h < kImages; ++h) {
      x[h].x[0] *= scale;
      x[h].x[1] *= scale;
    }
  }

  const LayerCall& call_;
  const Segment& segment_;
  const Chunk& chunk_;
  int first_;
  int keys_;
  int taps_;
  int shift_;  // from a channel to its column of the projection
  TwoChannels weight_[kImages][kMaxTaps];
  TwoChannels bias_[kImages];
};

// grid [chunks, runs of a head's channels, and the gates]
template <int kImages, bool kAligned>
DS_KERNEL void DS_BOUNDS(kThreads, kImages > 2 ? 4 : 6)
    image_features_kernel(LayerCall call, RowRuns runs, int channel_runs) {
  simt::await_launches_before();
  const Chunk chunk = call.chunks[simt::block_index().x];
  const Segment segment = call.mixer.step.segments[chunk.segment];
  if (segment.write_slot < 0) return;
  if (simt::block_index().y == channel_runs) {
    for (int at = simt::thread_index(); at < chunk.num_rows * runs.num_gates; at += kThreads) {
      compute_gate(call.mixer, runs, chunk.first_row + at / runs.num_gates, at % runs.num_gates);
    }
    return;
  }
  const int first = simt::block_index().y * kImages * Image::kSide;
  ChannelWindow<kImages, kAligned> window(call, segment, chunk, first);
  window.run(PrefillImages(call), simt::block_index().x, simt::warp_index() * kWarpTokens);
}

// grid [chunks, images]
DS_KERNEL void DS_BOUNDS(kThreads, 1) rounded_features_kernel(LayerCall call) {
  simt::await_launches_before();
  const Chunk chunk = call.chunks[simt::block_index().x];
  if (call.mixer.step.segments[chunk.segment].write_slot < 0) return;
  const int channel = simt::block_index().y * Image::kSide;
  unsigned char* image = PrefillImages(call).features(simt::block_index().x, channel);
  for (int at = simt::thread_index(); at < Image::kParts; at += kThreads) {
    const int row = at / 8;
    const int number = at % 8 * 8;
    Words4 part = {{0, 0, 0, 0}};
    if (row < chunk.num_rows) {
      const float* from = call.mixer.feature_row(chunk.first_row + row) + channel + number;
      DS_UNROLL
      for (int i = 0; i < 4; ++i) {
        part.word[i] = simt::pack_bf16(from[2 * i], from[2 * i + 1]).bits;
      }
    }
    *reinterpret_cast<Words4*>(image + Image::place(row, number)) = part;
  }
}

template <int kImages, bool kAligned>
void launch_kernel(simt::Stream stream, const LayerCall& call) {
  constexpr int kChannels = kImages * Image::kSide;
  const RowRuns runs = row_runs(call.mixer, simt::kWarp);
  const int channel_runs = (call.mixer.shape().channels() + kChannels - 1) / kChannels;
  const simt::Grid grid = {call.num_chunks, channel_runs + (runs.num_gates > 0 ? 1 : 0), 1};
  simt::launch(stream, grid, kThreads, 0, image_features_kernel<kImages, kAligned>, call, runs,
               channel_runs);
}

template <bool kAligned>
void launch_key_dim(simt::Stream stream, const LayerCall& call) {
  switch (call.mixer.shape().key_dim) {
    case 64: return launch_kernel<1, kAligned>(stream, call);
    case 128: return launch_kernel<2, kAligned>(stream, call);
    case 256: return launch_kernel<4, kAligned>(stream, call);
  }
}

bool even(int64_t a) {
  return a % 2 == 0;
}

}  // namespace

bool has_image_features(const MixerShape& shape, const MixerWeights& weights) {
  return shape.conv_width <= kMaxTaps && !shape.product_features && weights.skip == nullptr;
}

void launch_image_features(simt::Stream stream, const LayerCall& call) {
  const ProjectionLayout& at = call.mixer.layer.projection;
  const bool aligned =
      even(at.columns) && (call.mixer.shape().conv_width > 0 || (even(at.q) && even(at.v)));
  if (aligned) return launch_key_dim<true>(stream, call);
  launch_key_dim<false>(stream, call);
}

void launch_rounded_features(simt::Stream stream, const LayerCall& call) {
  const int images = call.mixer.shape().channels() / Image::kSide;
  simt::launch(stream, {call.num_chunks, images, 1}, kThreads, 0, rounded_features_kernel, call);
}

}  // namespace deltaserve::cuda
