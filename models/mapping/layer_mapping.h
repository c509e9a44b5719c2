// The tensors of one layer and the fields they fill, as declared by a model family (family.h).
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "models/mapping/config.h"
#include "models/mapping/weights.h"

namespace deltaserve {

// The shape of this tensor decides which gate a conditioned query has.
inline constexpr char kConditioningWeight[] = "attn.ccq_lambda_proj.weight";

// A checkpoint without the second tensor has both matrices in the first, as older code of
// flash-linear-attention wrote them.
inline constexpr char kMlpGate[] = "mlp.gate_proj.weight";
inline constexpr char kMlpUp[] = "mlp.up_proj.weight";

// Some rows of a matrix, or elements of a vector, and the field of the layer that they fill.
struct TensorUse {
  int64_t first = 0;
  int64_t count = 0;
  std::function<HostMatrix&(LayerWeights&)> target;
};

enum class Presence {
  kRequired,
  kOptional,  // if absent, its field stays empty
  kUnused,    // exists in old checkpoints, but no rule uses it and new ones are written without it
};

struct LayerTensor {
  std::string name;  // without the layer's prefix
  std::vector<int64_t> shape;
  const char* part = "mixers";  // as in TensorSpec
  std::vector<TensorUse> uses;
  std::string old_name;  // an alternative spelling; empty = none
  Presence presence = Presence::kRequired;
};

// Rows [first, first + count) of a tensor that contains several of our blocks.
struct RowBlock {
  int64_t first = 0;
  int64_t count = 0;
  int32_t ProjectionLayout::*column = nullptr;  // for input projections; null otherwise
};

class LayerMapping {
 public:
  // `config` must outlive the mapping.
  explicit LayerMapping(const LayerConfig& config);

  // ---- Single tensors

  // Adds a tensor that fills one field.
  LayerTensor& add(std::string name, std::vector<int64_t> shape, HostMatrix LayerWeights::*field);
  // Adds a tensor that is one of the mixer's vectors.
  LayerTensor& add(std::string name, std::vector<int64_t> shape, Blocks MixerBlocks::*vector);
  // Works like add(), but counts the tensor among the norms.
  void norm(std::string name, int64_t size, HostMatrix LayerWeights::*field);
  void norm(std::string name, int64_t size, Blocks MixerBlocks::*vector);
  // Adds a tensor that may exist and is ignored.
  void unused(std::string name, std::vector<int64_t> shape);

  // Adds the next columns of the input projection, [rows, hidden]. Returns the first of these
  // columns and stores it in `column`, if given.
  int32_t project(std::string name, int64_t rows, int32_t ProjectionLayout::*column = nullptr);
  // Works like project() for one tensor that is cut into blocks, which are given in the order of
  // our layout. `bias`, if not empty, is the name of a vector that is cut in the same way.
  void project_blocks(std::string name, int64_t total_rows, const std::vector<RowBlock>& blocks,
                      std::string bias);
  // Adds the short convolution's weight, [channels, 1, taps], and, if `bias` is not empty, its
  // bias, [channels]. Both are cut into blocks, which are given in the order of our layout.
  void convolve_blocks(std::string name, int64_t total_channels,
                       const std::vector<RowBlock>& blocks, std::string bias);
  // Adds a second linear map [rows, columns] from the columns of the row that begin at `from` to
  // new columns at its end; it is applied `repeat` times side by side. No project() may follow.
  // Returns the first new column. `name` is without ".weight" and, if `with_bias`, ".bias".
  int32_t expand(const std::string& name, int32_t from, int64_t rows, int64_t columns, int repeat,
                 bool with_bias);

  // ---- Parts that most families have in common

  // Adds the norm before the mixer and the projections to q, k and v.
  void queries_keys_values();
  // Adds one convolution each for q, k and v, if the config has them.
  void convolutions();
  // Adds the gate of a conditioned query, if the config has one.
  void conditioning();
  // Adds the output norm, if it has a weight, and the output projection.
  void output(std::string norm_name);
  // Adds the norm before the MLP and its matrices.
  void mlp();

  const std::vector<LayerTensor>& tensors() const { return tensors_; }
  // Returns the layer without its tensors' data: the projection's columns, the expansions, empty
  // blocks.
  const LayerWeights& layer() const { return layer_; }
  ProjectionLayout& projection() { return layer_.projection; }

 private:
  using List = std::function<Blocks&(LayerWeights&)>;

  LayerTensor& add_tensor(std::string name, std::vector<int64_t> shape);
  // Adds a tensor cut into blocks, which become the next entries of `list`.
  void add_blocks(std::string name, std::vector<int64_t> shape, const std::vector<RowBlock>& blocks,
                  const List& list);

  const LayerConfig& config_;
  LayerWeights layer_;
  std::vector<LayerTensor> tensors_;
};

}  // namespace deltaserve
