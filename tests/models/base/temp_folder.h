// A folder that is removed with the object, and files for it.
#pragma once
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace deltaserve {

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "deltaserve-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  void write(const std::string& name, const std::string& contents) const {
    std::ofstream(file(name), std::ios::binary) << contents;
  }
  std::string read(const std::string& name) const {
    std::ostringstream contents;
    contents << std::ifstream(file(name), std::ios::binary).rdbuf();
    return contents.str();
  }

 private:
  std::string path_;
};

// Returns the bytes of a safetensors file: length, header, data.
inline std::string safetensors_file(const std::string& header, const std::string& data) {
  std::string file;
  for (int byte = 0; byte < 8; ++byte) {
    file += static_cast<char>((header.size() >> (8 * byte)) & 0xff);
  }
  return file + header + data;
}

// Returns a config so small that its random model takes milliseconds.
inline std::string tiny_config(const std::string& type, const std::string& more = "") {
  std::string members = R"(, "num_heads": 2, "intermediate_size": 40)";
  if (type == "mamba2") {
    members = R"(, "head_dim": 8, "state_size": 12)";
  } else if (type != "gla" && type != "linear_attn" && type != "delta_net") {
    members += R"(, "num_v_heads": 4, "head_dim": 8, "expand_v": 1.5)";
  }
  return R"({"model_type": ")" + type + R"(", )" +
         (type == "qdelta" ? R"("lamb_bias": 0.9, )" : "") +
         R"("hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 50)" + members + more + "}";
}

}  // namespace deltaserve
