// Translates a model to a program: the list of operations of its layers over named buffers.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/program/program.h"
#include "models/base/final_norm.h"
#include "models/mapping/config.h"
#include "models/mapping/weights.h"

namespace deltaserve {

// A program and everything that it points to, except for the checkpoint's own tensors. The object
// must not be moved, because its parts point to each other.
class ModelProgram {
 public:
  // `config` must be settled; `weights` point into the checkpoint, which must outlive this object.
  // Reads no weight's data. Under kInt4 the embeddings and the output matrix are int8, because
  // their errors would affect every token.
  ModelProgram(const ModelConfig& config, const Weights& weights, WeightFormat format,
               StateFormat state_format);
  ModelProgram(const ModelProgram&) = delete;
  ModelProgram& operator=(const ModelProgram&) = delete;

  // Reads the vectors that a backend needs in another order than the checkpoint's, and the final
  // norm. Must be called before the program is loaded.
  void read_vectors();

  const Program& program() const { return program_; }
  const StateLayout& layout() const { return layout_; }
  const FinalNorm& final_norm() const { return final_norm_; }

 private:
  friend class ProgramWriter;

  Program program_;
  StateLayout layout_;
  FinalNorm final_norm_;
  std::vector<Buffer> buffers_;
  std::vector<Weight> weights_;
  std::vector<Op> ops_;
  std::vector<MixerLayer> mixers_;
  // Storage that entries of weights_ point to; the elements of a deque never move.
  std::deque<std::string> roles_;
  std::deque<Blocks> blocks_;
  std::deque<std::vector<float>> vectors_;
  std::vector<std::function<void()>> reads_;  // each fills one of vectors_
};

}  // namespace deltaserve
