// Writes a model down as a program: the list of operations of its layers over named buffers.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/program/program.h"
#include "models/config.h"
#include "models/weights.h"

namespace deltaserve {

// A program with everything that it points to, but for the checkpoint's own tensors.
// Address-stable: it is made once and not moved.
class ModelProgram {
 public:
  // `config` is settled; `weights` point into the checkpoint, which must outlive this. Looks at no
  // weight's data. Under kInt4 the embeddings and the output matrix are int8: their errors would
  // meet every token.
  ModelProgram(const ModelConfig& config, const Weights& weights, WeightFormat format,
               StateFormat state_format);
  ModelProgram(const ModelProgram&) = delete;
  ModelProgram& operator=(const ModelProgram&) = delete;

  // Reads the vectors that a backend wants in another order than the checkpoint has them. Before
  // the program is loaded.
  void read_vectors();

  const Program& program() const { return program_; }
  const StateLayout& layout() const { return layout_; }

 private:
  friend class ProgramWriter;

  Program program_;
  StateLayout layout_;
  std::vector<Buffer> buffers_;
  std::vector<Weight> weights_;
  std::vector<Op> ops_;
  std::vector<MixerLayer> mixers_;
  // What entries of weights_ point to; a deque's elements stay where they are.
  std::deque<std::string> roles_;
  std::deque<Blocks> blocks_;
  std::deque<std::vector<float>> vectors_;
  std::vector<std::function<void()>> reads_;  // each fills one of vectors_
};

}  // namespace deltaserve
