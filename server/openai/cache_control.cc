#include "server/openai/cache_control.h"

#include <boost/json/value.hpp>
#include <utility>

#include "models/base/text.h"

namespace deltaserve {

bool is_mark(const boost::json::value& control) {
  if (!control.is_object()) return false;
  // Any `ttl`, the time for which Anthropic would keep the place, is accepted.
  const boost::json::value* type = control.get_object().if_contains("type");
  const bool has_ttl = control.get_object().contains("ttl");
  const size_t known = has_ttl ? 2 : 1;
  return type != nullptr && *type == "ephemeral" && control.get_object().size() == known;
}

void take_cache_control(FieldReader& fields, std::string_view param, std::string_view place,
                        const ChatMark& mark, boost::json::object* object,
                        std::vector<ChatMark>* marks) {
  const auto found = object->find(kCacheControl);
  if (found == object->end()) return;
  const boost::json::value control = std::move(found->value());
  object->stable_erase(found);
  if (control.is_null()) return;
  if (!is_mark(control)) {
    return fields.fail(param, str_cat(place, ".cache_control must be {\"type\": \"ephemeral\"}"));
  }
  const auto most = static_cast<size_t>(fields.limits().cache_marks);
  if (marks->size() == most) {
    return fields.fail(
        param, str_cat(place, ".cache_control is one too many: a request has at most ", most));
  }
  marks->push_back(mark);
}

}  // namespace deltaserve
