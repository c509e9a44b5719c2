// Fuzzes whole model folders. The files are parts of the input, one after the other, each with two
// bytes for its length before it; the last takes what is left. A folder is opened, or refused with
// a sentence.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "kernels/base/check.h"
#include "models/checkpoint/safetensors.h"
#include "models/model.h"

namespace {

constexpr std::array kNames = {"config.json",
                               "model.safetensors.index.json",
                               "model-00001-of-00002.safetensors",
                               "tokenizer.json",
                               "tokenizer_config.json",
                               "generation_config.json",
                               "special_tokens_map.json",
                               "added_tokens.json",
                               "chat_template.jinja",
                               "model.safetensors"};

// One folder for the process; it is removed at its end.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/model_folder_fuzz.XXXXXX";
    DS_CHECK(mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  // Writes a file, or takes it away if it would be empty.
  void put(const std::string& name, std::string_view bytes) const {
    const std::string path = path_ + "/" + name;
    if (bytes.empty()) {
      std::remove(path.c_str());
    } else {
      std::ofstream(path, std::ios::binary) << bytes;
    }
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// An error is one line.
void check_sentence(const absl::Status& status) {
  const std::string message(status.message());
  if (!message.empty() && message.find('\n') == std::string::npos) return;
  std::fprintf(stderr, "not a sentence: %s\n", message.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const char* name : kNames) {
    size_t length = bytes.size();
    if (name != kNames.back() && length >= 2) {
      length = static_cast<uint8_t>(bytes[0]) + 256 * static_cast<uint8_t>(bytes[1]);
      bytes.remove_prefix(2);
    }
    const std::string_view file = bytes.substr(0, length);
    bytes.remove_prefix(file.size());
    folder.put(name, file);
  }
  const auto opened = deltaserve::open_model_folder(folder.path());
  if (opened.ok()) {
    DS_CHECK(opened->config.num_layers() > 0);
  } else {
    check_sentence(opened.status());
  }
  const auto weights = deltaserve::Checkpoint::open(folder.path());
  if (!weights.ok()) {
    check_sentence(weights.status());
    return 0;
  }
  for (const auto& [name, tensor] : weights->tensors()) {
    DS_CHECK(tensor.info.begin <= tensor.info.end && tensor.data != nullptr);
  }
  return 0;
}
