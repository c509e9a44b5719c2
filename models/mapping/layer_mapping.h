// The tensors of one layer and where each goes, written down by a model family (family.h).
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "models/config.h"
#include "models/weights.h"

namespace deltaserve {

// Its shape says which gate a conditioned query has.
inline constexpr char kConditioningWeight[] = "attn.ccq_lambda_proj.weight";

// Rows of a matrix, or elements of a vector, and their place in the layer.
struct TensorUse {
  int64_t first = 0;
  int64_t count = 0;
  std::function<HostMatrix&(LayerWeights&)> target;
};

enum class Presence {
  kRequired,
  kOptional,  // absent leaves its field empty
  kUnused,    // old checkpoints hold it, no rule uses it, new ones are written without
};

struct LayerTensor {
  std::string name;  // below the layer
  std::vector<int64_t> shape;
  const char* part = "mixers";  // of TensorSpec
  std::vector<TensorUse> uses;
  std::string old_name;  // another spelling, empty = none
  Presence presence = Presence::kRequired;
};

// Rows [first, first + count) of a tensor that holds several of our blocks.
struct RowBlock {
  int64_t first = 0;
  int64_t count = 0;
  int32_t ProjectionLayout::*column = nullptr;  // of the input projection; null elsewhere
};

class LayerMapping {
 public:
  // `config` must outlive the mapping.
  explicit LayerMapping(const LayerConfig& config);

  // ---- Single tensors

  // A tensor that fills one field.
  LayerTensor& add(std::string name, std::vector<int64_t> shape, HostMatrix LayerWeights::*field);
  // A tensor that is one of the mixer's vectors.
  LayerTensor& add(std::string name, std::vector<int64_t> shape, Blocks MixerBlocks::*vector);
  // As add(), listed among the norms.
  void norm(std::string name, int64_t size, HostMatrix LayerWeights::*field);
  void norm(std::string name, int64_t size, Blocks MixerBlocks::*vector);
  // A tensor that may be there and is not looked at.
  void unused(std::string name, std::vector<int64_t> shape);

  // [rows, hidden], the next columns of the input projection. Returns the first of them, which
  // `column`, if given, keeps too.
  int32_t project(std::string name, int64_t rows, int32_t ProjectionLayout::*column = nullptr);
  // As project(), of one tensor that is cut into blocks, given in the order of our layout. `bias`,
  // if not empty, is the name of a vector that is cut the same way.
  void project_blocks(std::string name, int64_t total_rows, const std::vector<RowBlock>& blocks,
                      std::string bias);
  // [channels, 1, taps] of the short convolution and, if `bias` is not empty, its [channels]: cut
  // into blocks, given in the order of our layout.
  void convolve_blocks(std::string name, int64_t total_channels,
                       const std::vector<RowBlock>& blocks, std::string bias);
  // A second linear map [rows, columns] from the columns of the row that begin at `from` to new
  // ones at its end; applied `repeat` times side by side. No project() may follow. Returns the
  // first new column. `name` is without ".weight" and, `with_bias`, ".bias".
  int32_t expand(const std::string& name, int32_t from, int64_t rows, int64_t columns, int repeat,
                 bool with_bias);

  // ---- What most families have alike

  // The norm before the mixer and the projections to q, k and v.
  void queries_keys_values();
  // A convolution each for q, k and v, if the config has them.
  void convolutions();
  // The gate of a conditioned query, if the config has one.
  void conditioning();
  // The output norm, if it has a weight, and the output projection.
  void output(std::string norm_name);
  // The norm before the MLP and its matrices.
  void mlp();

  const std::vector<LayerTensor>& tensors() const { return tensors_; }
  // A layer without its tensors' data: the projection's columns, the expansions, empty blocks.
  const LayerWeights& layer() const { return layer_; }
  ProjectionLayout& projection() { return layer_.projection; }

 private:
  using List = std::function<Blocks&(LayerWeights&)>;

  LayerTensor& add_tensor(std::string name, std::vector<int64_t> shape);
  // A tensor cut into blocks, which become the next entries of `list`.
  void add_blocks(std::string name, std::vector<int64_t> shape, const std::vector<RowBlock>& blocks,
                  const List& list);

  const LayerConfig& config_;
  LayerWeights layer_;
  std::vector<LayerTensor> tensors_;
};

}  // namespace deltaserve
