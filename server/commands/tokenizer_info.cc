#include "server/commands/tokenizer_info.h"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <string_view>

#include "models/checkpoint/file.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr size_t kConfigBytes = 8u << 20;

json::object config_of(const std::string& folder) {
  const absl::StatusOr<std::string> text =
      read_file(folder + "/tokenizer_config.json", kConfigBytes);
  if (!text.ok()) return {};  // a folder need not have one
  boost::system::error_code ec;
  json::value value = json::parse(*text, ec);
  return !ec && value.is_object() ? std::move(value.get_object()) : json::object();
}

}  // namespace

std::string tokenizer_info(const ModelFolder& folder) {
  if (folder.tokenizer == nullptr) return {};
  json::object info = config_of(folder.path);
  for (const auto& [name, text] : folder.settings.named_tokens) {
    if (!info.contains(name)) info[name] = text;
  }
  const json::value* kind = info.if_contains("tokenizer_class");
  if (kind == nullptr || !kind->is_string()) {
    const std::string_view name = folder.tokenizer->kind();
    info["tokenizer_class"] = json::string_view(name.data(), name.size());
  }
  info["chat_template"] = nullptr;
  if (!folder.settings.chat_template.empty()) info["chat_template"] = folder.settings.chat_template;
  return json::serialize(info);
}

}  // namespace deltaserve
