// The filter pprint: Python's pprint.pformat, which breaks what is wider than 80 columns.
#include <algorithm>

#include "server/template/builtin.h"
#include "server/template/text_operations.h"
#include "server/template/value_format.h"

namespace deltaserve {
namespace {

constexpr int64_t kColumns = 80;

// Returns the value with the entries of all dictionaries in the order of their keys.
Value with_sorted_keys(Runtime& runtime, const Value& value) {
  if (runtime.failed() || !runtime.spend(1)) return Value();
  if (const Dict* dict = value.dict()) {
    if (!runtime.can_make(dict->entries.size() * sizeof(Dict::Entry))) return Value();
    std::vector<Dict::Entry> entries;
    for (const Dict::Entry& entry : dict->entries) {
      entries.push_back({entry.key, with_sorted_keys(runtime, entry.value)});
    }
    std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
      if (a.key.is_none() != b.key.is_none()) return a.key.is_none();
      return compare_keys(a.key, b.key) < 0;
    });
    return runtime.failed() ? Value() : runtime.dict(std::move(entries), value.trusted());
  }
  const SequenceValue* sequence = value.sequence();
  if (sequence == nullptr || sequence->type > SequenceValue::Type::kTuple) return value;
  if (!runtime.can_make(sequence->items.size() * sizeof(Value))) return Value();
  std::vector<Value> items;
  for (const Value& item : sequence->items) items.push_back(with_sorted_keys(runtime, item));
  if (runtime.failed()) return Value();
  return runtime.sequence(sequence->type, std::move(items), value.trusted());
}

// The algorithm of Python's PrettyPrinter. `indent` is the column at which a value begins,
// `allowance` the columns that must stay free after it for closing brackets.
class PrettyPrinter {
 public:
  explicit PrettyPrinter(Runtime& runtime) : runtime_(runtime) {}

  TaintedText print(const Value& value) {
    write(value, 0, 0, true);
    return std::move(out_);
  }

 private:
  TaintedText repr(const Value& value) {
    TaintedText text;
    append_repr(runtime_, value, &text);
    return text;
  }

  TaintedText repr(const TaintedText& text, size_t begin, size_t end) {
    return repr(runtime_.text(text.slice(begin, end)));
  }

  static int64_t columns(const TaintedText& text) {
    return static_cast<int64_t>(count_characters(text.bytes()));
  }

  // Returns whether there is memory for `bytes` more of the result, which the runtime does not
  // count until it is a value.
  bool can_append(size_t bytes) {
    return runtime_.has_room(out_.heap_bytes() + bytes) && runtime_.spend_bytes(bytes);
  }

  void append(const TaintedText& text) {
    if (can_append(text.size())) out_.append(text);
  }

  void append_line(std::string_view before, int64_t indent, bool trusted) {
    const auto spaces = static_cast<size_t>(indent);
    if (can_append(before.size() + 1 + spaces)) {
      out_.append(str_cat(before, "\n", std::string(spaces, ' ')), trusted);
    }
  }

  void write(const Value& value, int64_t indent, int64_t allowance, bool outermost) {
    if (runtime_.failed()) return;
    if (write_on_one_line(value, kColumns - indent - allowance)) return;
    const SequenceValue* sequence = value.sequence();
    if (value.dict() != nullptr) {
      write_dict(value, indent, allowance);
    } else if (sequence != nullptr && sequence->type <= SequenceValue::Type::kTuple) {
      write_sequence(value, indent, allowance);
    } else if (value.is_text() && !value.text()->empty()) {
      write_text(*value.text(), indent, allowance, outermost);
    } else {
      append(repr(value));
    }
  }

  // Returns false if it takes more columns.
  bool write_on_one_line(const Value& value, int64_t most) {
    const TaintedText whole = repr(value);
    if (columns(whole) > most && !runtime_.failed()) return false;
    append(whole);
    return true;
  }

  void write_dict(const Value& value, int64_t indent, int64_t allowance) {
    const std::vector<Dict::Entry>& entries = value.dict()->entries;
    out_.append("{", value.trusted());
    for (size_t i = 0; i < entries.size() && !runtime_.failed(); ++i) {
      const bool last = i + 1 == entries.size();
      const TaintedText key = repr(entries[i].key);
      append(key);
      out_.append(": ", value.trusted());
      write(entries[i].value, indent + 1 + columns(key) + 2, last ? allowance + 1 : 1, false);
      if (!last) append_line(",", indent + 1, value.trusted());
    }
    out_.append("}", value.trusted());
  }

  void write_sequence(const Value& value, int64_t indent, int64_t allowance) {
    const std::vector<Value>& items = value.sequence()->items;
    const bool is_list = value.sequence()->type == SequenceValue::Type::kList;
    const std::string_view end = is_list ? "]" : items.size() == 1 ? ",)" : ")";
    out_.append(is_list ? "[" : "(", value.trusted());
    for (size_t i = 0; i < items.size() && !runtime_.failed(); ++i) {
      const bool last = i + 1 == items.size();
      const int64_t behind = last ? allowance + static_cast<int64_t>(end.size()) : 1;
      write(items[i], indent + 1, behind, false);
      if (!last) append_line(",", indent + 1, value.trusted());
    }
    out_.append(end, value.trusted());
  }

  // Writes a text as several constants, which break after line ends and words.
  void write_text(const TaintedText& text, int64_t indent, int64_t allowance, bool outermost) {
    if (outermost) ++indent, ++allowance;
    const std::vector<Span> lines = split_lines(runtime_, text.bytes());
    std::vector<TaintedText> chunks;
    chunk_bytes_ = 0;
    for (size_t i = 0; i < lines.size() && !runtime_.failed(); ++i) {
      const bool last = i + 1 == lines.size();
      const Span line = {lines[i].begin, last ? text.size() : lines[i + 1].begin};
      add_line(text, line, kColumns - indent, last ? allowance : 0, &chunks);
    }
    const bool brackets = outermost && chunks.size() > 1;
    const bool trusted = text.all_trusted();
    if (brackets) out_.append("(", trusted);
    for (size_t i = 0; i < chunks.size() && !runtime_.failed(); ++i) {
      if (i > 0) append_line("", indent, trusted);
      append(chunks[i]);
    }
    if (brackets) out_.append(")", trusted);
  }

  // Cuts a line into chunks. `reserved` is the number of columns that must stay free after the
  // last.
  void add_line(const TaintedText& text, Span line, int64_t width, int64_t reserved,
                std::vector<TaintedText>* chunks) {
    TaintedText whole = repr(text, line.begin, line.end);
    if (columns(whole) <= width - reserved) {
      add_chunk(std::move(whole), chunks);
      return;
    }
    Span current = {line.begin, line.begin};
    while (current.end < line.end && !runtime_.failed()) {
      const size_t end = end_of_word(text.bytes(), current.end, line.end);
      const int64_t most = width - (end == line.end ? reserved : 0);
      if (columns(repr(text, current.begin, end)) > most) {
        if (current.end > current.begin) add_chunk(repr(text, current.begin, current.end), chunks);
        current.begin = current.end;
      }
      current.end = end;
    }
    add_chunk(repr(text, current.begin, current.end), chunks);
  }

  void add_chunk(TaintedText chunk, std::vector<TaintedText>* chunks) {
    chunk_bytes_ += sizeof(TaintedText) + chunk.heap_bytes();
    if (runtime_.has_room(out_.heap_bytes() + chunk_bytes_)) chunks->push_back(std::move(chunk));
  }

  // Returns the end of a word and the white space after it.
  static size_t end_of_word(std::string_view text, size_t at, size_t end) {
    for (const bool space : {false, true}) {
      while (at < end) {
        const Character character = character_at(text, at);
        if (is_space(character.code) != space) break;
        at += character.bytes;
      }
    }
    return at;
  }

  Runtime& runtime_;
  TaintedText out_;
  size_t chunk_bytes_ = 0;  // memory of the chunks of the text that is written
};

}  // namespace

Value pprint_filter(const BuiltinCall& call) {
  const Value sorted = with_sorted_keys(call.runtime, call.self);
  if (call.runtime.failed()) return Value();
  return call.runtime.text(PrettyPrinter(call.runtime).print(sorted));
}

}  // namespace deltaserve
