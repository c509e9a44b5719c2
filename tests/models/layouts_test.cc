// Checkpoints of the same model under the names of different authors: the weights must be the same.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>

#include "models/checkpoint/safetensors.h"
#include "models/mapping/weights.h"
#include "models/model.h"
#include "models/random_model.h"
#include "tests/models/base/temp_folder.h"

namespace deltaserve {
namespace {

struct NamedBytes {
  std::vector<int64_t> shape;
  std::string bytes;
};
using Tensors = std::map<std::string, NamedBytes>;

Tensors read_tensors(const std::string& folder) {
  Tensors tensors;
  const auto checkpoint = Checkpoint::open(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const auto& [name, tensor] : checkpoint->tensors()) {
    const size_t bytes = tensor.info.end - tensor.info.begin;
    tensors[name] = {tensor.info.shape, std::string(static_cast<const char*>(tensor.data), bytes)};
  }
  return tensors;
}

void write_tensors(const std::string& path, const Tensors& tensors) {
  std::vector<TensorToWrite> list;
  std::vector<const std::string*> data;
  for (const auto& [name, tensor] : tensors) {
    list.push_back({name, Dtype::kF32, tensor.shape});
    data.push_back(&tensor.bytes);
  }
  const auto fill = [&](size_t tensor, uint64_t first, uint64_t bytes, char* out) {
    std::memcpy(out, data[tensor]->data() + first, bytes);
  };
  ASSERT_TRUE(write_safetensors(path, list, fill).ok());
}

std::string bytes_of(const HostMatrix& matrix) {
  const auto size = static_cast<size_t>(matrix.rows * matrix.columns) * dtype_size(matrix.dtype);
  return matrix.data == nullptr ? "" : std::string(static_cast<const char*>(matrix.data), size);
}

// Returns the bytes of all weights by role.
std::string weights_of(const std::string& folder) {
  const auto model = open_model_folder(folder);
  EXPECT_TRUE(model.ok()) << model.status();
  const auto checkpoint = Checkpoint::open(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  if (!model.ok() || !checkpoint.ok()) return "";
  const auto weights = bind_weights(settled_config(model->config, *checkpoint), *checkpoint);
  EXPECT_TRUE(weights.ok()) << weights.status();
  if (!weights.ok()) return "";
  std::string all = bytes_of(weights->embeddings) + bytes_of(weights->norm);
  for (const LayerWeights& layer : weights->layers) {
    for (const HostMatrix* matrix : {&layer.mixer_norm, &layer.out_proj, &layer.mlp_norm,
                                     &layer.mlp_gate, &layer.mlp_up, &layer.mlp_down}) {
      all += bytes_of(*matrix);
    }
    for (const HostMatrix& block : layer.in_proj) all += bytes_of(block);
    for (const HostMatrix& block : layer.vectors.conv) all += bytes_of(block);
  }
  return all + bytes_of(weights->lm_head);
}

class Layouts : public testing::Test {
 protected:
  // Makes a model, and a second folder with its config whose tensors have other names.
  void make(const std::string& config) {
    own_.write("small.json", config);
    ASSERT_TRUE(
        write_random_model(own_.file("small.json"), 1, Dtype::kF32, own_.file("model")).ok());
    other_.write("config.json", config);
    tensors_ = read_tensors(own_.file("model"));
  }
  void rename(const std::function<std::string(std::string)>& new_name) {
    Tensors renamed;
    for (auto& [name, tensor] : tensors_) renamed[new_name(name)] = std::move(tensor);
    tensors_ = std::move(renamed);
  }
  void expect_same() { EXPECT_EQ(weights_of(other_.path()), weights_of(own_.file("model"))); }

  TempFolder own_, other_;
  Tensors tensors_;
};

std::string without(std::string name, const std::string& prefix) {
  return name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : name;
}

TEST_F(Layouts, ABaseModelHasNoPrefix) {
  make(tiny_config("gla", R"(, "tie_word_embeddings": true)"));
  rename([](const std::string& name) { return without(name, "model."); });
  write_tensors(other_.file("model.safetensors"), tensors_);
  expect_same();
}

TEST_F(Layouts, OlderMlpsHaveOneMatrixForGateAndUp) {
  make(tiny_config("delta_net"));
  for (const char* layer : {"model.layers.0.mlp.", "model.layers.1.mlp."}) {
    NamedBytes& gate = tensors_[std::string(layer) + "gate_proj.weight"];
    const auto up = tensors_.find(std::string(layer) + "up_proj.weight");
    gate.shape[0] *= 2;
    gate.bytes += up->second.bytes;
    tensors_.erase(up);
  }
  write_tensors(other_.file("model.safetensors"), tensors_);
  expect_same();
}

TEST_F(Layouts, MambaSsmSaysEmbedding) {
  make(tiny_config("mamba2"));
  rename([](const std::string& name) {
    return name == "backbone.embeddings.weight" ? "backbone.embedding.weight" : name;
  });
  other_.write("config.json",
               R"({"d_model": 32, "n_layer": 2, "vocab_size": 41, "pad_vocab_size_multiple": 10,
      "ssm_cfg": {"layer": "Mamba2", "headdim": 8, "d_state": 12}, "tie_embeddings": false})");
  write_tensors(other_.file("model.safetensors"), tensors_);
  expect_same();
}

TEST_F(Layouts, MistralPutsModelBeforeEveryName) {
  make(R"({"model_type": "mamba2", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 50})");
  rename([](const std::string& name) {
    return "model." + (name == "backbone.embeddings.weight" ? "backbone.embedding.weight" : name);
  });
  std::filesystem::remove(other_.file("config.json"));
  other_.write("params.json", R"({"dim": 32, "n_layers": 2, "vocab_size": 50, "n_groups": 1,
      "pad_vocab_size_multiple": 1, "tie_embeddings": false, "model_type": "mamba"})");
  write_tensors(other_.file("consolidated.safetensors"), tensors_);
  expect_same();
}

// A person must be able to copy the command out of the message.
TEST_F(Layouts, TorchWeightsAreRefusedWithTheCommandThatConvertsThem) {
  make(tiny_config("gla"));
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    other_.write(name, "x");
    const auto checkpoint = Checkpoint::open(other_.path());
    ASSERT_FALSE(checkpoint.ok());
    const std::string text(checkpoint.status().message());
    EXPECT_LE(text.size(), 200u);
    for (const char* part : {"pytorch_model.bin", "model.safetensors", "python -c \""}) {
      EXPECT_NE(text.find(part), std::string::npos) << text;
    }
    std::filesystem::remove(other_.file(name));
  }
}

}  // namespace
}  // namespace deltaserve
