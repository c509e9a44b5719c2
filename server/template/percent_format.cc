#include <cmath>

#include "absl/strings/str_format.h"
#include "server/template/big_integer.h"
#include "server/template/text_operations.h"
#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

// One conversion such as "%-10.2f".
struct Conversion {
  std::string_view key;  // of "%(key)s"
  bool has_key = false;
  bool left = false;
  bool zeros = false;
  bool alternate = false;
  char sign = '\0';  // '+' or ' ' before numbers that are not negative
  int64_t width = 0;
  int64_t precision = -1;
  char letter = '\0';  // '\0' = the format ends too early
};

class PercentFormat {
 public:
  PercentFormat(Runtime& runtime, const TaintedText& format, const Value& arguments)
      : runtime_(runtime), format_(format), bytes_(format.bytes()), arguments_(arguments) {
    const SequenceValue* sequence = arguments.sequence();
    if (sequence != nullptr && sequence->type == SequenceValue::Type::kTuple) tuple_ = sequence;
  }

  Value run() {
    while (at_ < bytes_.size() && !runtime_.failed()) {
      const size_t percent = std::min(bytes_.find('%', at_), bytes_.size());
      if (!runtime_.has_room(result_.heap_bytes()) || !runtime_.spend_bytes(percent - at_)) break;
      result_.append(format_, at_, percent);
      at_ = percent;
      if (at_ < bytes_.size()) convert();
    }
    // Python treats anything with items as a dictionary here, and its items need not be used.
    const bool has_items =
        arguments_.dict() != nullptr || (arguments_.sequence() != nullptr && tuple_ == nullptr);
    if (!runtime_.failed() && used_ < argument_count() && !has_items) {
      return runtime_.fail("a format does not use all its arguments");
    }
    return runtime_.failed() ? Value() : runtime_.text(std::move(result_));
  }

 private:
  size_t argument_count() const { return tuple_ == nullptr ? 1 : tuple_->items.size(); }

  char next() { return at_ < bytes_.size() ? bytes_[at_++] : '\0'; }

  int64_t number(char* letter) {
    const int64_t most = runtime_.limits().width;
    int64_t value = 0;
    while (*letter >= '0' && *letter <= '9') {
      value = std::min(value * 10 + (*letter - '0'), most + 1);
      *letter = next();
    }
    if (value > most) runtime_.exceed(str_cat("a format is wider than ", most));
    return value;
  }

  Conversion read_conversion() {
    Conversion conversion;
    ++at_;
    char letter = next();
    if (letter == '(') {
      const size_t end = bytes_.find(')', at_);
      if (end == std::string_view::npos) return conversion;
      conversion.has_key = true;
      conversion.key = bytes_.substr(at_, end - at_);
      at_ = end + 1;
      letter = next();
    }
    for (; letter != '\0' && std::string_view("-0+ #").find(letter) != std::string_view::npos;
         letter = next()) {
      if (letter == '-') conversion.left = true;
      if (letter == '0') conversion.zeros = true;
      if (letter == '#') conversion.alternate = true;
      if (letter == '+' || (letter == ' ' && conversion.sign == '\0')) conversion.sign = letter;
    }
    conversion.width = number(&letter);
    if (letter == '.') {
      letter = next();
      conversion.precision = std::min(number(&letter), runtime_.limits().decimal_places);
    }
    conversion.letter = letter;
    return conversion;
  }

  // Returns the argument of a conversion. If there is none, returns null and the render fails.
  const Value* argument_of(const Conversion& conversion) {
    if (conversion.has_key) {
      const Dict* dict = arguments_.dict();
      const Value* found = dict == nullptr ? nullptr : dict->find(conversion.key);
      if (found == nullptr) runtime_.fail("a format has no argument ", quoted(conversion.key));
      return found;
    }
    if (used_ == argument_count()) {
      runtime_.fail("a format has too few arguments");
      return nullptr;
    }
    ++used_;
    return tuple_ == nullptr ? &arguments_ : &tuple_->items[used_ - 1];
  }

  void convert() {
    const size_t begin = at_;
    const Conversion conversion = read_conversion();
    const bool trusted = format_.trusted_at(begin);
    if (conversion.letter == '%') {
      result_.append("%", trusted);
      return;
    }
    if (std::string_view("srdiufFeEgGoxXc").find(conversion.letter) == std::string_view::npos ||
        conversion.letter == '\0') {
      runtime_.fail("a format has the unknown conversion ",
                    quoted(bytes_.substr(begin, at_ - begin)));
      return;
    }
    const Value* argument = argument_of(conversion);
    if (argument != nullptr) append_padded(conversion, text_of(conversion, *argument), trusted);
  }

  TaintedText text_of(const Conversion& conversion, const Value& value) {
    TaintedText text;
    if (conversion.letter == 's') return precise(conversion, str(runtime_, value));
    if (conversion.letter == 'r') {
      append_repr(runtime_, value, &text);
      return precise(conversion, text);
    }
    if (conversion.letter == 'c' && value.is_text()) {
      if (count_characters(value.text()->bytes()) == 1) return *value.text();
      runtime_.fail("the conversion 'c' needs one character");
      return text;
    }
    if (!value.is_number()) {
      runtime_.fail("a format needs a number, not a value of type ", value.type_name());
      return text;
    }
    return number_text(conversion, value);
  }

  // Formats a number by the rules of format specifications, except for the differences below.
  TaintedText number_text(const Conversion& conversion, const Value& value) {
    const double* real = value.as<double>();
    const bool whole =
        std::string_view("diuoxXc").find(conversion.letter) != std::string_view::npos;
    const bool truncates =
        std::string_view("diu").find(conversion.letter) != std::string_view::npos;
    if (whole && conversion.precision >= 0) {
      runtime_.fail("a format of an integer has a precision, which is not supported");
      return {};
    }
    Value number = value;
    if (real != nullptr && whole) {
      if (!truncates) {
        runtime_.fail("a format needs an integer");
        return {};
      }
      if (!std::isfinite(*real)) {
        runtime_.fail("a number has no integer part");
        return {};
      }
      number = truncated_integer(runtime_, *real, value.trusted());
    }
    std::string specification;
    if (conversion.sign != '\0' && conversion.letter != 'c')
      specification.push_back(conversion.sign);
    if (conversion.alternate && whole) specification.push_back('#');
    if (!whole && conversion.precision >= 0) specification += str_cat(".", conversion.precision);
    specification.push_back(truncates ? 'd' : conversion.letter);
    return formatted(runtime_, number, specification, value.trusted());
  }

  // Cuts the text of '%.3s' to that many characters.
  static TaintedText precise(const Conversion& conversion, const TaintedText& text) {
    if (conversion.precision < 0) return text;
    size_t end = 0;
    for (int64_t i = 0; i < conversion.precision && end < text.size(); ++i) {
      end += character_at(text.bytes(), end).bytes;
    }
    return text.slice(0, end);
  }

  void append_padded(const Conversion& conversion, const TaintedText& text, bool trusted) {
    const int64_t missing = conversion.width - static_cast<int64_t>(count_characters(text.bytes()));
    const auto pad = static_cast<size_t>(std::max<int64_t>(missing, 0));
    if (!runtime_.can_make(text.size() + pad)) return;
    const bool number = std::string_view("src").find(conversion.letter) == std::string_view::npos;
    const bool zeros = conversion.zeros && number && !conversion.left;
    const bool has_sign =
        !text.empty() && std::string_view("+- ").find(text.bytes()[0]) != std::string_view::npos;
    const size_t sign = zeros && has_sign ? 1 : 0;
    result_.append(text, 0, sign);
    if (!conversion.left) result_.append(std::string(pad, zeros ? '0' : ' '), trusted);
    result_.append(text, sign, text.size());
    if (conversion.left) result_.append(std::string(pad, ' '), trusted);
  }

  Runtime& runtime_;
  const TaintedText& format_;
  const std::string_view bytes_;
  const Value& arguments_;
  const SequenceValue* tuple_ = nullptr;  // the arguments, if there are several
  size_t used_ = 0;
  size_t at_ = 0;
  TaintedText result_;
};

}  // namespace

Value percent_format(Runtime& runtime, const TaintedText& format, const Value& arguments) {
  return PercentFormat(runtime, format, arguments).run();
}

}  // namespace deltaserve
