#include "models/program_builder.h"

#include <algorithm>
#include <utility>

#include "models/base/text.h"

namespace deltaserve {
namespace {

int64_t elements(const Blocks& blocks) {
  int64_t sum = 0;
  for (const HostMatrix& block : blocks) sum += block.rows * block.columns;
  return sum;
}

bool absent(const Blocks& blocks) {
  return std::none_of(blocks.begin(), blocks.end(),
                      [](const HostMatrix& block) { return block.data != nullptr; });
}

float element(const HostMatrix& matrix, int64_t index) {
  return load_as_f32(matrix.data, matrix.dtype, static_cast<size_t>(index));
}

// Concatenates vectors.
void join(const Blocks& blocks, std::vector<float>* out) {
  size_t next = 0;
  for (const HostMatrix& block : blocks) {
    for (int64_t i = 0; i < block.rows * block.columns; ++i) (*out)[next++] = element(block, i);
  }
}

// Joins convolutions [channels, width] to the layout that kernels need, [width, all channels].
void transpose_convolutions(const Blocks& blocks, std::vector<float>* out) {
  const int64_t width = blocks.front().columns;
  const auto channels = static_cast<int64_t>(out->size()) / width;
  int64_t first = 0;
  for (const HostMatrix& block : blocks) {
    for (int64_t c = 0; c < block.rows; ++c) {
      for (int64_t j = 0; j < width; ++j) {
        (*out)[static_cast<size_t>(j * channels + first + c)] = element(block, c * width + j);
      }
    }
    first += block.rows;
  }
}

// Expands D, which is stored per channel or per head, to one number per channel.
void expand_skip(const HostMatrix& skip, std::vector<float>* out) {
  const auto repeat = static_cast<int64_t>(out->size()) / skip.columns;
  for (size_t i = 0; i < out->size(); ++i) {
    (*out)[i] = element(skip, static_cast<int64_t>(i) / repeat);
  }
}

}  // namespace

// Appends the operations of a model to a ModelProgram.
class ProgramWriter {
 public:
  ProgramWriter(ModelProgram* out, const ModelConfig& config, WeightFormat format)
      : out_(*out), config_(config), format_(format) {}

  void write(const Weights& weights) {
    Program& program = out_.program_;
    program.hidden = static_cast<int32_t>(config_.hidden_size);
    program.vocab = static_cast<int32_t>(config_.vocab_size);
    const WeightFormat table = format_ == WeightFormat::kInt4 ? WeightFormat::kInt8 : format_;
    const int32_t embeddings = matrix("embeddings", {weights.embeddings}, table);
    program.output =
        config_.tie_word_embeddings ? embeddings : matrix("lm_head", {weights.lm_head}, table);
    program.final_norm = vector("final norm", weights.norm);
    program.final_eps = config_.norm_eps;
    out_.final_norm_ = {std::vector<float>(static_cast<size_t>(program.hidden)), program.final_eps};
    out_.reads_.push_back(
        [out = &out_.final_norm_.weight, norm = weights.norm] { join({norm}, out); });

    residual_ = buffer("residual", program.hidden);
    normed_ = buffer("normed", program.hidden);
    Op embed;
    embed.kind = OpKind::kEmbed;
    embed.weight = embeddings;
    embed.out = residual_;
    out_.ops_.push_back(embed);
    for (size_t i = 0; i < weights.layers.size(); ++i) write_layer(i, weights.layers[i]);

    program.last_hidden = residual_;
    program.drawn_hidden = buffer("drawn hidden", program.hidden, RowsOf::kDraws);
    program.logits = buffer("logits", program.vocab, RowsOf::kDraws);
  }

 private:
  void write_layer(size_t index, const LayerWeights& weights) {
    const LayerConfig& layer = config_.layers[index];
    layer_ = static_cast<int16_t>(index);
    role_ = str_cat("weights of layer ", index);
    if (layer.has_mixer) write_mixer(layer, weights);
    if (layer.intermediate_size > 0) write_mlp(layer.intermediate_size, weights);
  }

  void write_mixer(const LayerConfig& config, const LayerWeights& weights) {
    const ProjectionLayout& projection = weights.projection;
    const int32_t projected = buffer("projected", projection.columns);
    const int32_t mixed = buffer("mixed", config.mixer.value_columns());
    norm(weights.mixer_norm);
    matmul({normed_, 0}, matrix(role_, weights.in_proj, format_), joined(weights.in_proj_bias),
           {projected, 0});
    for (const Expansion& expansion : weights.expansions) expand(expansion, projected);

    Op& op = add(OpKind::kMixer);
    op.in = projected;
    op.out = mixed;
    op.mixer = static_cast<int32_t>(out_.mixers_.size());
    out_.mixers_.push_back({config.mixer, projection,
                            out_.layout_.layers[static_cast<size_t>(layer_)],
                            mixer_vectors(config.mixer, weights.vectors)});
    matmul_add({mixed, 0}, matrix(role_, {weights.out_proj}, format_),
               vector(role_, weights.out_proj_bias));
  }

  void expand(const Expansion& expansion, int32_t projected) {
    const int32_t weight = matrix(role_, {expansion.weight}, format_);
    const int32_t bias = vector(role_, expansion.bias);
    for (int32_t i = 0; i < expansion.repeat; ++i) {
      const auto from = static_cast<int32_t>(expansion.from_column + i * expansion.weight.columns);
      const auto to = static_cast<int32_t>(expansion.to_column + i * expansion.weight.rows);
      matmul({projected, from}, weight, bias, {projected, to});
    }
  }

  MixerVectors<int32_t> mixer_vectors(const MixerShape& shape, const MixerBlocks& blocks) {
    MixerVectors<int32_t> vectors =
        map_vectors<int32_t>(blocks, [this](const Blocks& parts) { return joined(parts); });
    if (shape.conv_width > 0) {
      vectors.conv = prepared(
          shape.conv_width, elements(blocks.conv),
          [from = blocks.conv](std::vector<float>* out) { transpose_convolutions(from, out); });
    }
    if (!absent(blocks.skip)) {
      vectors.skip = prepared(
          1, shape.value_columns(),
          [from = blocks.skip.front()](std::vector<float>* out) { expand_skip(from, out); });
    }
    if (shape.output_norm == OutputNorm::kHead && absent(blocks.norm)) {
      // A norm without a weight gets a weight of ones.
      vectors.norm = prepared(1, shape.value_dim, [](std::vector<float>* out) {
        std::fill(out->begin(), out->end(), 1.0f);
      });
    }
    return vectors;
  }

  void write_mlp(int64_t inner, const LayerWeights& weights) {
    const auto columns = static_cast<int32_t>(inner);
    const int32_t gate_up = buffer("gate and up", 2 * columns);
    const int32_t activated = buffer("activated", columns);
    norm(weights.mlp_norm);
    matmul({normed_, 0}, matrix(role_, {weights.mlp_gate, weights.mlp_up}, format_), -1,
           {gate_up, 0});
    Op& op = add(OpKind::kGate);
    op.in = gate_up;
    op.out = activated;
    op.activation = Activation::kSilu;
    matmul_add({activated, 0}, matrix(role_, {weights.mlp_down}, format_), -1);
  }

  // ---- Operations

  // A range of a buffer's columns that begins at `first`.
  struct Columns {
    int32_t buffer, first;
  };

  Op& add(OpKind kind) {
    Op& op = out_.ops_.emplace_back();
    op.kind = kind;
    op.layer = layer_;
    return op;
  }
  // Normalises the residual stream into normed_.
  void norm(const HostMatrix& weight) {
    const int32_t index = vector(role_, weight);
    Op& op = add(OpKind::kNorm);
    op.in = residual_;
    op.out = normed_;
    op.weight = index;
    op.eps = config_.norm_eps;
  }
  Op& matmul(Columns in, int32_t weight, int32_t bias, Columns out) {
    Op& op = add(OpKind::kMatmul);
    op.in = in.buffer;
    op.in_column = in.first;
    op.out = out.buffer;
    op.out_column = out.first;
    op.weight = weight;
    op.bias = bias;
    return op;
  }
  // Adds a matmul's result to the residual stream.
  void matmul_add(Columns in, int32_t weight, int32_t bias) {
    matmul(in, weight, bias, {residual_, 0}).accumulate = true;
  }

  // ---- Buffers and weights

  // Returns a buffer. Layers share buffers of the same name and width, because one layer is
  // finished before the next begins.
  int32_t buffer(const char* name, int32_t columns, RowsOf rows = RowsOf::kStep) {
    std::vector<Buffer>& all = out_.buffers_;
    const auto found = std::find_if(all.begin(), all.end(), [&](const Buffer& b) {
      return std::string_view(b.name) == name && b.columns == columns;
    });
    const auto index = static_cast<int32_t>(found - all.begin());
    if (found == all.end()) all.push_back({name, rows, columns});
    return index;
  }

  int32_t matrix(const std::string& role, Blocks blocks, WeightFormat format) {
    return weight(role, WeightKind::kMatrix, format, std::move(blocks));
  }
  // Adds a vector of weights; -1 if it has no data.
  int32_t vector(const std::string& role, const HostMatrix& values) {
    if (values.data == nullptr) return -1;
    return weight(role, WeightKind::kVector, WeightFormat::kF32, {values});
  }
  // Adds a vector made of concatenated parts; -1 if there are none.
  int32_t joined(const Blocks& parts) {
    if (absent(parts)) return -1;
    if (parts.size() == 1) return vector(role_, parts.front());
    return prepared(1, elements(parts), [parts](std::vector<float>* out) { join(parts, out); });
  }
  // Adds a vector of `size` numbers, [rows, size / rows], which fill() writes later.
  int32_t prepared(int64_t rows, int64_t size, std::function<void(std::vector<float>*)> fill) {
    std::vector<float>& values = out_.vectors_.emplace_back(static_cast<size_t>(size));
    out_.reads_.push_back([fill = std::move(fill), &values] { fill(&values); });
    return vector(role_, {values.data(), Dtype::kF32, rows, size / rows});
  }
  int32_t weight(const std::string& role, WeightKind kind, WeightFormat format, Blocks blocks) {
    if (out_.roles_.empty() || out_.roles_.back() != role) out_.roles_.push_back(role);
    const Blocks& kept = out_.blocks_.emplace_back(std::move(blocks));
    out_.weights_.push_back({out_.roles_.back().c_str(), kind, format, array_of(kept)});
    return static_cast<int32_t>(out_.weights_.size()) - 1;
  }

  ModelProgram& out_;
  const ModelConfig& config_;
  const WeightFormat format_;
  int32_t residual_ = -1;
  int32_t normed_ = -1;
  int16_t layer_ = -1;
  std::string role_;
};

ModelProgram::ModelProgram(const ModelConfig& config, const Weights& weights, WeightFormat format,
                           StateFormat state_format)
    : layout_(state_layout(config, state_format)) {
  ProgramWriter(this, config, format).write(weights);
  program_.buffers = array_of(buffers_);
  program_.weights = array_of(weights_);
  program_.ops = array_of(ops_);
  program_.mixers = array_of(mixers_);
  program_.parts = array_of(layout_.parts);
  program_.slot_bytes = static_cast<int64_t>(layout_.bytes());
}

void ModelProgram::read_vectors() {
  for (const auto& read : reads_) read();
  reads_.clear();
}

}  // namespace deltaserve
