#include "server/template/value_format.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/strings/str_format.h"
#include "models/base/json_numbers.h"
#include "server/template/big_integer.h"
#include "server/template/text_operations.h"

namespace deltaserve {
namespace {

// Returns the text of none, a bool or a number, all of which has the value's trust; nullopt for
// other values.
std::optional<std::string> plain_text(const Value& value) {
  if (value.is_none()) return "None";
  if (const bool* truth = value.as<bool>()) return *truth ? "True" : "False";
  if (const int64_t* number = value.as<int64_t>()) return str_cat(*number);
  if (const BigInteger* number = value.as<BigInteger>()) return (*number)->value.str();
  if (const double* number = value.as<double>()) return python_float(*number);
  return std::nullopt;
}

void append(Runtime& runtime, std::string_view bytes, bool trusted, TaintedText* out) {
  if (runtime.spend_bytes(bytes.size())) out->append(bytes, trusted);
}

// Appends repr of a text: in single quotes unless it contains some and no double ones.
void append_quoted(Runtime& runtime, const TaintedText& text, TaintedText* out) {
  if (!runtime.can_make(out->heap_bytes() + text.size())) return;
  const bool has_single = text.bytes().find('\'') != std::string::npos;
  const bool has_double = text.bytes().find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out->append({&quote, 1}, text.all_trusted());
  append_mapped(
      text,
      [&](const Character& from, std::string* instead) {
        const auto code = static_cast<uint32_t>(from.code);
        switch (code) {
          case '\n': *instead = "\\n"; return true;
          case '\r': *instead = "\\r"; return true;
          case '\t': *instead = "\\t"; return true;
          case '\\': *instead = "\\\\"; return true;
          default: break;
        }
        if (from.code == static_cast<char32_t>(quote)) {
          *instead = {'\\', quote};
        } else if (!is_printable(from.code)) {
          *instead = code < 0x100     ? absl::StrFormat("\\x%02x", code)
                     : code < 0x10000 ? absl::StrFormat("\\u%04x", code)
                                      : absl::StrFormat("\\U%08x", code);
        }
        return !instead->empty();
      },
      out);
  out->append({&quote, 1}, text.all_trusted());
}

void append_sequence(Runtime& runtime, const Value& value, TaintedText* out) {
  const SequenceValue& sequence = *value.sequence();
  const char* prefix = "";
  std::string_view brackets = "[]";
  switch (sequence.type) {
    case SequenceValue::Type::kList: break;
    case SequenceValue::Type::kTuple: brackets = "()"; break;
    case SequenceValue::Type::kKeys: prefix = "dict_keys("; break;
    case SequenceValue::Type::kValues: prefix = "dict_values("; break;
    case SequenceValue::Type::kItems: prefix = "dict_items("; break;
    case SequenceValue::Type::kRange:
    case SequenceValue::Type::kGenerator:
      runtime.fail("a ", value.type_name(), " cannot be printed; use |list");
      return;
  }
  append(runtime, prefix, value.trusted(), out);
  append(runtime, brackets.substr(0, 1), value.trusted(), out);
  for (size_t i = 0; i < sequence.items.size() && !runtime.failed(); ++i) {
    if (i > 0) append(runtime, ", ", value.trusted(), out);
    append_repr(runtime, sequence.items[i], out);
  }
  const bool comma = sequence.type == SequenceValue::Type::kTuple && sequence.items.size() == 1;
  append(runtime, comma ? "," : "", value.trusted(), out);
  append(runtime, brackets.substr(1), value.trusted(), out);
  append(runtime, *prefix != '\0' ? ")" : "", value.trusted(), out);
}

void append_dict(Runtime& runtime, const Value& value, TaintedText* out) {
  append(runtime, "{", value.trusted(), out);
  bool first = true;
  for (const Dict::Entry& entry : value.dict()->entries) {
    if (runtime.failed()) return;
    if (!std::exchange(first, false)) append(runtime, ", ", value.trusted(), out);
    append_repr(runtime, entry.key, out);
    append(runtime, ": ", value.trusted(), out);
    append_repr(runtime, entry.value, out);
  }
  append(runtime, "}", value.trusted(), out);
}

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style, TaintedText* out)
      : runtime_(runtime), style_(style), out_(out) {}

  // Writes a value. Recursion is at most value_depth deep.
  void write(const Value& value, size_t level) {
    if (!runtime_.spend(1) || !runtime_.has_room(out_->heap_bytes())) return;
    if (const TaintedText* text = value.text()) {
      write_text(*text);
    } else if (value.dict() != nullptr) {
      write_dict(value, level);
    } else if (value.sequence() != nullptr &&
               value.sequence()->type <= SequenceValue::Type::kTuple) {
      write_list(value, level);
    } else if (const std::optional<std::string> plain = json_text(value)) {
      append(runtime_, *plain, value.trusted(), out_);
    } else {
      runtime_.fail("tojson cannot write a value of type ", value.type_name());
    }
  }

 private:
  static std::optional<std::string> json_text(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* truth = value.as<bool>()) return *truth ? "true" : "false";
    if (const double* number = value.as<double>(); number != nullptr && !std::isfinite(*number)) {
      return std::isnan(*number) ? "NaN" : *number > 0 ? "Infinity" : "-Infinity";
    }
    return plain_text(value);
  }

  void write_text(const TaintedText& text) {
    if (!runtime_.can_make(text.size())) return;
    out_->append("\"", text.all_trusted());
    const bool ascii = style_.ensure_ascii;
    append_mapped(
        text,
        [ascii](const Character& from, std::string* instead) {
          return escape(static_cast<uint32_t>(from.code), ascii, instead);
        },
        out_);
    out_->append("\"", text.all_trusted());
  }

  static bool escape(uint32_t code, bool ascii, std::string* instead) {
    switch (code) {
      case '"': *instead = "\\\""; return true;
      case '\\': *instead = "\\\\"; return true;
      case '\n': *instead = "\\n"; return true;
      case '\r': *instead = "\\r"; return true;
      case '\t': *instead = "\\t"; return true;
      case '\b': *instead = "\\b"; return true;
      case '\f': *instead = "\\f"; return true;
      default: break;
    }
    if (code >= ' ' && (!ascii || code < 0x7f)) return false;
    if (code < 0x10000) {
      *instead = absl::StrFormat("\\u%04x", code);
    } else {
      const uint32_t high = 0xd800 + ((code - 0x10000) >> 10);
      *instead = absl::StrFormat("\\u%04x\\u%04x", high, 0xdc00 + (code & 0x3ff));
    }
    return true;
  }

  void write_list(const Value& value, size_t level) {
    const std::vector<Value>& items = value.sequence()->items;
    out_->append("[", value.trusted());
    for (size_t i = 0; i < items.size() && !runtime_.failed(); ++i) {
      begin_item(i == 0, value, level + 1);
      write(items[i], level + 1);
    }
    end_items(items.empty(), value, level);
    out_->append("]", value.trusted());
  }

  // Writes a number, true or none as a key, which in JSON is a text.
  void write_key(const Value& key) {
    if (key.is_text()) return write_text(*key.text());
    const std::optional<std::string> plain = json_text(key);
    if (!plain) {
      runtime_.fail("tojson cannot write a key of type ", key.type_name());
      return;
    }
    append(runtime_, str_cat("\"", *plain, "\""), key.trusted(), out_);
  }

  void write_dict(const Value& value, size_t level) {
    std::vector<const Dict::Entry*> entries;
    if (!runtime_.can_make(value.dict()->entries.size() * sizeof(Dict::Entry*))) return;
    for (const Dict::Entry& entry : value.dict()->entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) {
        return compare_keys(a->key, b->key) < 0;
      });
    }
    out_->append("{", value.trusted());
    for (size_t i = 0; i < entries.size() && !runtime_.failed(); ++i) {
      begin_item(i == 0, value, level + 1);
      write_key(entries[i]->key);
      append_separator(style_.key_separator, value);
      write(entries[i]->value, level + 1);
    }
    end_items(entries.empty(), value, level);
    out_->append("}", value.trusted());
  }

  // Appends a separator. Punctuation is trusted only if both the container and the separator are.
  void append_separator(const TaintedText& separator, const Value& value) {
    append(runtime_, separator.bytes(), value.trusted() && separator.all_trusted(), out_);
  }

  void begin_item(bool first, const Value& value, size_t level) {
    if (!first) append_separator(style_.item_separator, value);
    if (style_.indent) new_line(value, level);
  }

  void end_items(bool none, const Value& value, size_t level) {
    if (style_.indent && !none) new_line(value, level);
  }

  void new_line(const Value& value, size_t level) {
    out_->append("\n", value.trusted());
    for (size_t i = 0; i < level; ++i) append(runtime_, *style_.indent, value.trusted(), out_);
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  TaintedText* out_;
};

}  // namespace

void append_str(Runtime& runtime, const Value& value, TaintedText* out) {
  if (value.is_undefined()) return;
  if (const TaintedText* text = value.text()) {
    if (runtime.spend_bytes(text->size())) out->append(*text);
  } else {
    append_repr(runtime, value, out);
  }
}

TaintedText str(Runtime& runtime, const Value& value) {
  TaintedText text;
  if (value.text() != nullptr && !runtime.can_make(value.text()->size())) return text;
  append_str(runtime, value, &text);
  return text;
}

// Recursion is at most value_depth deep.
void append_repr(Runtime& runtime, const Value& value, TaintedText* out) {
  if (!runtime.spend(1) || !runtime.has_room(out->heap_bytes())) return;
  if (const TaintedText* text = value.text()) {
    append_quoted(runtime, *text, out);
  } else if (value.sequence() != nullptr) {
    append_sequence(runtime, value, out);
  } else if (value.dict() != nullptr) {
    append_dict(runtime, value, out);
  } else if (value.is_undefined()) {
    append(runtime, "Undefined", true, out);
  } else if (const std::optional<std::string> plain = plain_text(value)) {
    append(runtime, *plain, value.trusted(), out);
  } else {
    runtime.fail("a value of type ", value.type_name(), " cannot be printed");
  }
}

void append_json(Runtime& runtime, const Value& value, const JsonStyle& style, TaintedText* out) {
  JsonWriter(runtime, style, out).write(value, 0);
}

}  // namespace deltaserve
