// The path that an argument `attribute` of a filter names.
#pragma once
#include <string_view>
#include <vector>

#include "server/template/builtin.h"
#include "server/template/number_parsing.h"
#include "server/template/text_operations.h"
#include "server/template/value_operations.h"

namespace deltaserve {

// A path is "a", "a.b", "a.0" or 3.
class AttributePath {
 public:
  // A null or none argument means the item itself. Fails for anything else than a text or an
  // integer.
  AttributePath(const BuiltinCall& call, const Value* path) {
    if (path == nullptr || path->is_none()) return;
    if (path->is<int64_t>()) {
      parts_.push_back(*path);
      return;
    }
    const TaintedText* text = call.as_text(*path);
    if (text == nullptr) return;
    const std::string_view bytes = text->bytes();
    if (bytes.find(',') != std::string_view::npos) {
      call.runtime.fail("several attributes at once are not supported: ", quoted(bytes));
    }
    for (const Span& span : split(call.runtime, bytes, ".", -1)) {
      const std::string_view part = bytes.substr(span.begin, span.end - span.begin);
      WholeNumber place;
      const bool digits = part.find_first_not_of("0123456789") == std::string_view::npos;
      parts_.push_back(digits && parse_integer(part, 10, &place) == NumberError::kNone
                           ? make_integer(call.runtime, place, false)
                           : call.runtime.text(part, true));
    }
  }

  Value of(Runtime& runtime, Value item) const {
    for (const Value& part : parts_) item = get_item(runtime, item, part, nullptr);
    return item;
  }

 private:
  std::vector<Value> parts_;
};

}  // namespace deltaserve
