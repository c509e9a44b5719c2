// Python's str.format.
#include <cmath>

#include "absl/strings/str_format.h"
#include "models/base/json_numbers.h"
#include "server/template/big_integer.h"
#include "server/template/text_operations.h"
#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

// [[fill]align][sign][#][0][width][grouping][.precision][type]
struct Specification {
  std::string fill = " ";
  char align = '\0';  // '<', '>', '^', '='; '\0' = the type's own
  char sign = '-';
  bool alternate = false;
  int64_t width = 0;
  char grouping = '\0';
  int64_t precision = -1;
  char type = '\0';
};

bool is_align(char c) {
  return c == '<' || c == '>' || c == '^' || c == '=';
}

// Reads digits at `*at`; the result is bounded by `most` + 1.
int64_t read_number(std::string_view text, size_t* at, int64_t most) {
  int64_t value = 0;
  for (; *at < text.size() && text[*at] >= '0' && text[*at] <= '9'; ++*at) {
    value = std::min(value * 10 + (text[*at] - '0'), most + 1);
  }
  return value;
}

std::optional<Specification> read_specification(Runtime& runtime, std::string_view text) {
  Specification spec;
  size_t at = 0;
  const size_t first = text.empty() ? 0 : character_at(text, 0).bytes;
  if (first < text.size() && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    at = 1;
  }
  const auto take = [&](std::string_view choices, char* into) {
    if (at < text.size() && choices.find(text[at]) != std::string_view::npos) *into = text[at++];
  };
  char mark = '\0';
  take("+- ", &spec.sign);
  take("#", &mark);
  spec.alternate = mark != '\0';
  if (at < text.size() && text[at] == '0' && spec.align == '\0') {
    spec.fill = "0";
    spec.align = '=';
  }
  spec.width = read_number(text, &at, runtime.limits().width);
  take(",_", &spec.grouping);
  if (at < text.size() && text[at] == '.') {
    const size_t digits = ++at;
    spec.precision = read_number(text, &at, runtime.limits().width);
    if (at == digits) runtime.fail("a format has a point without a precision");
  }
  take("bcdeEfFgGnosxX%", &spec.type);
  if (at != text.size()) runtime.fail("a format has the bad specification ", quoted(text));
  if (spec.width > runtime.limits().width || spec.precision > runtime.limits().width) {
    runtime.exceed(str_cat("a format is wider than ", runtime.limits().width));
  }
  return runtime.failed() ? std::nullopt : std::optional(spec);
}

// Puts a separator between groups of the digits with which `number` begins.
std::string grouped(const std::string& number, char separator, size_t group) {
  size_t digits = 0;
  while (digits < number.size() && std::isxdigit(static_cast<unsigned char>(number[digits])) != 0) {
    ++digits;
  }
  std::string out;
  for (size_t i = 0; i < digits; ++i) {
    if (i > 0 && (digits - i) % group == 0) out.push_back(separator);
    out.push_back(number[i]);
  }
  return out + number.substr(digits);
}

// Returns the digits of a number that is not negative, in a base that is a power of two.
std::string digits_of(WholeNumber value, int bits, bool capitals) {
  std::string digits;
  do {
    const char* letters = capitals ? "0123456789ABCDEF" : "0123456789abcdef";
    digits.push_back(letters[static_cast<size_t>(value & ((1 << bits) - 1))]);
    value >>= bits;
  } while (!value.is_zero());
  return {digits.rbegin(), digits.rend()};
}

std::string whole_text(const Specification& spec, const WholeNumber& magnitude) {
  switch (spec.type) {
    case 'b': return (spec.alternate ? "0b" : "") + digits_of(magnitude, 1, false);
    case 'o': return (spec.alternate ? "0o" : "") + digits_of(magnitude, 3, false);
    case 'x': return (spec.alternate ? "0x" : "") + digits_of(magnitude, 4, false);
    case 'X': return (spec.alternate ? "0X" : "") + digits_of(magnitude, 4, true);
    default: return magnitude.str();
  }
}

std::string real_text(const Specification& spec, double magnitude) {
  if (!std::isfinite(magnitude)) {
    const bool capitals = spec.type == 'E' || spec.type == 'F' || spec.type == 'G';
    if (std::isnan(magnitude)) return capitals ? "NAN" : "nan";
    return capitals ? "INF" : "inf";
  }
  const int places = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
  switch (spec.type) {
    case 'e': return absl::StrFormat("%.*e", places, magnitude);
    case 'E': return absl::StrFormat("%.*E", places, magnitude);
    case 'f':
    case 'F': return absl::StrFormat("%.*f", places, magnitude);
    case 'G': return absl::StrFormat("%.*G", places, magnitude);
    case 'g':
    case 'n': return absl::StrFormat("%.*g", places, magnitude);
    case '%': return absl::StrFormat("%.*f%%", places, magnitude * 100);
    default: break;
  }
  if (spec.precision < 0) return python_float(magnitude);
  std::string text = absl::StrFormat("%.*g", std::max(places, 1), magnitude);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

// Pads `text`; the padding of '=' goes between a sign and the digits.
TaintedText aligned(Runtime& runtime, const Specification& spec, const std::string& sign,
                    const TaintedText& text, char own_align, bool trusted) {
  const char align = spec.align == '\0' ? own_align : spec.align;
  const TaintedText fill(spec.fill, trusted);
  TaintedText whole(sign, text.all_trusted());
  if (align == '=') {
    const auto used = static_cast<int64_t>(sign.size());
    whole.append(padded(runtime, text, fill, spec.width - used, Padding::kBefore));
    return whole;
  }
  whole.append(text);
  if (align == '^') {
    // Unlike str.center, a format puts the odd character after.
    const auto size = static_cast<int64_t>(count_characters(whole.bytes()));
    const int64_t before = std::max<int64_t>(spec.width - size, 0) / 2;
    whole = padded(runtime, whole, fill, size + before, Padding::kBefore);
    return padded(runtime, whole, fill, spec.width, Padding::kBehind);
  }
  return padded(runtime, whole, fill, spec.width,
                align == '<' ? Padding::kBehind : Padding::kBefore);
}

TaintedText formatted_text(Runtime& runtime, const TaintedText& text, const Specification& spec,
                           bool trusted) {
  if ((spec.type != '\0' && spec.type != 's') || spec.align == '=' || spec.grouping != '\0') {
    runtime.fail("a text cannot have such a format");
    return {};
  }
  size_t end = text.size();
  if (spec.precision >= 0) {
    end = 0;
    for (int64_t i = 0; i < spec.precision && end < text.size(); ++i) {
      end += character_at(text.bytes(), end).bytes;
    }
  }
  return aligned(runtime, spec, "", text.slice(0, end), '<', trusted);
}

TaintedText formatted_number(Runtime& runtime, const Value& value, const Specification& spec,
                             bool trusted) {
  const double* real = value.as<double>();
  const WholeNumber whole = whole_number(value).value_or(0);
  const bool as_real =
      real != nullptr ||
      (spec.type != '\0' && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos);
  const bool whole_type =
      spec.type != '\0' && std::string_view("bcdoxX").find(spec.type) != std::string_view::npos;
  if (spec.type == 's' || (real != nullptr && whole_type) || (!as_real && spec.precision >= 0)) {
    runtime.fail("a number cannot have such a format");
    return {};
  }
  if (spec.type == 'c') {
    std::string character;
    if (whole < 0 || whole > 0x10ffff || (whole >= 0xd800 && whole < 0xe000)) {
      runtime.fail("a format has the bad character ", whole.str());
    } else {
      append_utf8(static_cast<char32_t>(whole), &character);
    }
    return aligned(runtime, spec, "", {character, value.trusted()}, '<', trusted);
  }
  std::string digits;
  bool negative = false;
  if (as_real) {
    const std::optional<double> number = real != nullptr ? *real : double_of(whole);
    if (!number.has_value()) {
      runtime.fail("an integer is too large for a float");
      return {};
    }
    negative = std::signbit(*number) && !std::isnan(*number);
    digits = real_text(spec, std::abs(*number));
  } else {
    negative = whole < 0;
    digits = whole_text(spec, negative ? WholeNumber(-whole) : whole);
  }
  const bool powers = spec.type == 'b' || spec.type == 'o' || spec.type == 'x' || spec.type == 'X';
  if (spec.grouping != '\0') digits = grouped(digits, spec.grouping, powers ? 4 : 3);
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  return aligned(runtime, spec, sign, {digits, value.trusted()}, '>', trusted);
}

class BraceFormat {
 public:
  BraceFormat(Runtime& runtime, const TaintedText& format, const CallArguments& arguments)
      : runtime_(runtime), format_(format), bytes_(format.bytes()), arguments_(arguments) {}

  Value run() {
    while (at_ < bytes_.size() && !runtime_.failed()) {
      const size_t brace = std::min(bytes_.find_first_of("{}", at_), bytes_.size());
      if (!runtime_.has_room(result_.heap_bytes()) || !runtime_.spend_bytes(brace - at_)) break;
      result_.append(format_, at_, brace);
      at_ = brace;
      if (at_ < bytes_.size()) brace_at();
    }
    return runtime_.failed() ? Value() : runtime_.text(std::move(result_));
  }

 private:
  void brace_at() {
    if (at_ + 1 < bytes_.size() && bytes_[at_ + 1] == bytes_[at_]) {
      result_.append(format_, at_, at_ + 1);
      at_ += 2;
      return;
    }
    if (bytes_[at_] == '}') {
      runtime_.fail("a format has a single '}'");
      return;
    }
    const bool trusted = format_.trusted_at(at_);
    const size_t end = field_end(at_ + 1);
    if (end == std::string_view::npos) {
      runtime_.fail("a format has a '{' without its '}'");
      return;
    }
    result_.append(field(bytes_.substr(at_ + 1, end - at_ - 1), trusted, 0));
    at_ = end + 1;
  }

  // Returns the place of the brace that ends a field. A field may have fields in its specification.
  size_t field_end(size_t at) const {
    for (int depth = 0; at < bytes_.size(); ++at) {
      if (bytes_[at] == '{') ++depth;
      if (bytes_[at] == '}' && depth-- == 0) return at;
    }
    return std::string_view::npos;
  }

  // Returns the text of a field, which is written name[!conversion][:specification] between braces.
  TaintedText field(std::string_view text, bool trusted, int level) {
    const size_t name_end = std::min(text.find_first_of("!:"), text.size());
    const Value value = value_of(text.substr(0, name_end));
    std::string_view rest = text.substr(name_end);
    char conversion = '\0';
    if (rest.starts_with('!')) {
      conversion = rest.size() > 1 ? rest[1] : '?';
      rest.remove_prefix(std::min<size_t>(rest.size(), 2));
    }
    if (!rest.empty() && rest[0] != ':') runtime_.fail("a format has a bad field ", quoted(text));
    const std::string specification = rest.empty() ? "" : filled_in(rest.substr(1), trusted, level);
    if (runtime_.failed()) return {};
    if (conversion == '\0') return formatted(runtime_, value, specification, trusted);
    TaintedText converted;
    if (conversion == 's') {
      converted = str(runtime_, value);
    } else if (conversion == 'r') {
      append_repr(runtime_, value, &converted);
    } else {
      runtime_.fail("a format has an unknown conversion");
    }
    if (runtime_.failed()) return {};
    return formatted(runtime_, runtime_.text(std::move(converted)), specification, trusted);
  }

  // Returns a specification whose own fields are replaced.
  std::string filled_in(std::string_view text, bool trusted, int level) {
    std::string out;
    while (!text.empty() && !runtime_.failed()) {
      const size_t open = text.find('{');
      out += text.substr(0, open);
      if (open == std::string_view::npos) return out;
      const size_t end = text.find('}', open);
      if (end == std::string_view::npos || level > 0) {
        runtime_.fail("a format is nested too deep");
        return out;
      }
      out += field(text.substr(open + 1, end - open - 1), trusted, level + 1).bytes();
      text.remove_prefix(end + 1);
    }
    return out;
  }

  // Returns the value of a name such as "", "0", "user.name" or "list[2]".
  Value value_of(std::string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, end));
    name.remove_prefix(end);
    while (!name.empty() && !runtime_.failed()) {
      if (name[0] == '.') {
        const size_t stop = std::min(name.find_first_of(".[", 1), name.size());
        const std::string attribute(name.substr(1, stop - 1));
        value = get_attribute(runtime_, value, &attribute);
        name.remove_prefix(stop);
      } else {
        const size_t stop = name.find(']');
        if (name[0] != '[' || stop == std::string_view::npos) {
          return runtime_.fail("a format has a bad field");
        }
        size_t digits = 1;
        const int64_t index = read_number(name, &digits, INT32_MAX);
        const bool is_index = digits == stop && stop > 1;
        value = get_item(
            runtime_, value,
            is_index ? Value::integer(index) : runtime_.text(name.substr(1, stop - 1), true),
            nullptr);
        name.remove_prefix(stop + 1);
      }
      // The name that it refers to is destroyed soon.
      if (value.is_undefined()) value = Value();
    }
    return value;
  }

  Value argument(std::string_view name) {
    size_t digits = 0;
    int64_t index = read_number(name, &digits, INT32_MAX);
    if (name.empty()) index = next_++;
    if (name.empty() || digits == name.size()) {
      (name.empty() ? counted_ : numbered_) = true;
      if (counted_ && numbered_) return runtime_.fail("a format mixes {} and {0}");
      const auto place = static_cast<size_t>(index);
      if (place < arguments_.positional.size()) return arguments_.positional[place];
      return runtime_.fail("a format has too few arguments");
    }
    for (const auto& [known, value] : arguments_.named) {
      if (known == name) return value;
    }
    return runtime_.fail("a format has no argument ", quoted(name));
  }

  Runtime& runtime_;
  const TaintedText& format_;
  const std::string_view bytes_;
  const CallArguments& arguments_;
  int64_t next_ = 0;
  bool counted_ = false;   // there was a field {}
  bool numbered_ = false;  // there was a field {0}
  size_t at_ = 0;
  TaintedText result_;
};

}  // namespace

TaintedText formatted(Runtime& runtime, const Value& value, std::string_view specification,
                      bool trusted) {
  if (specification.empty()) return str(runtime, value);
  const std::optional<Specification> spec = read_specification(runtime, specification);
  if (!spec) return {};
  if (const TaintedText* text = value.text()) return formatted_text(runtime, *text, *spec, trusted);
  if (value.is_number()) return formatted_number(runtime, value, *spec, trusted);
  runtime.fail("a value of type ", value.type_name(), " has no format ", quoted(specification));
  return {};
}

Value brace_format(Runtime& runtime, const TaintedText& format, const CallArguments& arguments) {
  return BraceFormat(runtime, format, arguments).run();
}

}  // namespace deltaserve
