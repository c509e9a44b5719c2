// The filter urlize, which makes links of the words that look like addresses.
#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/template/builtin.h"
#include "server/template/text_operations.h"
#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

using Codes = std::basic_string_view<char32_t>;

// Implements \w of Python's expressions.
bool is_word_code(char32_t code) {
  return code == '_' || is_alphabetic(code) || is_numeric(code) || is_decimal(code) ||
         is_digit_character(code);
}

// Returns true if an expression that ignores case has `code` for the letter `letter`.
bool is_letter(char32_t code, char letter) {
  if (code < 0x80) return (code | 0x20) == static_cast<char32_t>(letter);
  return (letter == 's' && code == 0x17F) || (letter == 'k' && code == 0x212A) ||
         (letter == 'i' && (code == 0x130 || code == 0x131));
}

bool is_any_letter(char32_t code) {
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    if (is_letter(code, letter)) return true;
  }
  return false;
}

bool is_hex(char32_t code) {
  for (char letter = 'a'; letter <= 'f'; ++letter) {
    if (is_letter(code, letter)) return true;
  }
  return is_decimal(code);
}

// Takes the ASCII text `prefix`, whose letters are lower case, off the front of `codes`.
bool take(std::string_view prefix, Codes* codes) {
  if (codes->size() < prefix.size()) return false;
  for (size_t i = 0; i < prefix.size(); ++i) {
    const bool letter = prefix[i] >= 'a' && prefix[i] <= 'z';
    const bool same = letter ? is_letter((*codes)[i], prefix[i])
                             : (*codes)[i] == static_cast<char32_t>(prefix[i]);
    if (!same) return false;
  }
  codes->remove_prefix(prefix.size());
  return true;
}

template <class Is>
size_t count_front(Codes codes, const Is& is) {
  size_t count = 0;
  while (count < codes.size() && is(codes[count])) ++count;
  return count;
}

bool is_label(char32_t code) {
  return is_word_code(code) || code == '%' || code == '-';
}

// Returns true for what may follow a host: a port, then a path, query or fragment.
bool is_behind_host(Codes rest) {
  if (!rest.empty() && rest[0] == ':') {
    const size_t digits = count_front(rest.substr(1), is_decimal);
    if (digits < 1 || digits > 5) return false;
    rest.remove_prefix(1 + digits);
  }
  return rest.empty() || rest[0] == '/' || rest[0] == '?' || rest[0] == '#';
}

bool is_top_domain(Codes label) {
  const size_t letters = count_front(label, is_any_letter);
  if (letters == label.size()) return letters >= 2 && letters <= 63;
  const bool idna = take("xn--", &label);
  const auto is_inner = [](char32_t code) { return is_word_code(code) || code == '%'; };
  return idna && label.size() >= 2 && label.size() <= 59 &&
         count_front(label, is_inner) == label.size();
}

bool is_basic_top_domain(Codes label) {
  for (const std::string_view name : {"com", "net", "int", "edu", "gov", "org", "info", "mil"}) {
    Codes rest = label;
    if (take(name, &rest) && rest.empty()) return true;
  }
  return false;
}

// Returns the labels of a host's name, and what follows it.
std::vector<Codes> labels_of(Codes codes, Codes* rest) {
  std::vector<Codes> labels;
  for (;;) {
    const size_t size = count_front(codes, is_label);
    labels.push_back(codes.substr(0, size));
    codes.remove_prefix(size);
    if (codes.empty() || codes[0] != '.') break;
    codes.remove_prefix(1);
  }
  *rest = codes;
  return labels;
}

bool is_named_host(Codes codes) {
  Codes rest;
  const std::vector<Codes> labels = labels_of(codes, &rest);
  const auto is_empty = [](Codes label) { return label.empty(); };
  return std::none_of(labels.begin(), labels.end(), is_empty) && is_top_domain(labels.back()) &&
         is_behind_host(rest);
}

bool is_basic_host(Codes codes) {
  Codes rest;
  std::vector<Codes> labels = labels_of(codes, &rest);
  if (labels.size() < 2 || !is_basic_top_domain(labels.back()) || !is_behind_host(rest)) {
    return false;
  }
  labels.pop_back();
  return std::all_of(labels.begin(), labels.end(),
                     [](Codes label) { return label.size() >= 2 && label.size() <= 63; });
}

bool is_ipv4(Codes codes) {
  for (int part = 0; part < 4; ++part) {
    if (part > 0 && !take(".", &codes)) return false;
    const size_t digits = count_front(codes, is_decimal);
    if (digits < 1 || digits > 3) return false;
    codes.remove_prefix(digits);
  }
  return is_behind_host(codes);
}

bool is_ipv6(Codes codes) {
  if (!take("[", &codes)) return false;
  for (int part = 0; part < 8 && !(part > 2 && !codes.empty() && codes[0] == ']'); ++part) {
    codes.remove_prefix(std::min<size_t>(count_front(codes, is_hex), 4));
    if (!take(":", &codes) && part < 2) return false;
  }
  return take("]", &codes) && is_behind_host(codes);
}

bool is_web_address(Codes codes) {
  Codes behind_scheme = codes;
  const bool has_scheme = take("https://", &behind_scheme) || take("http://", &behind_scheme);
  if (has_scheme) {
    return is_named_host(behind_scheme) || is_ipv4(behind_scheme) || is_ipv6(behind_scheme);
  }
  Codes behind_www = codes;
  return (take("www.", &behind_www) && is_named_host(behind_www)) || is_basic_host(codes);
}

bool is_mail_address(Codes codes) {
  const size_t at = codes.rfind('@');
  if (at == Codes::npos || at == 0) return false;
  const Codes host = codes.substr(at + 1);
  const size_t dot = host.rfind('.');
  if (dot == Codes::npos || dot == 0 || dot + 1 == host.size() || !is_word_code(host[0]))
    return false;
  const auto is_inner = [](char32_t code) {
    return is_word_code(code) || code == '.' || code == '-';
  };
  return count_front(host, is_inner) == host.size() &&
         count_front(host.substr(dot + 1), is_word_code) == host.size() - dot - 1;
}

// A LinkStyle says what is added around addresses, and how they are shown.
struct LinkStyle {
  TaintedText attributes;
  std::optional<int64_t> shown;  // characters of an address
  std::vector<std::string> schemes;
};

// One word, which is text in front of a possible address, the address, and text after it.
class LinkedWord {
 public:
  LinkedWord(const TaintedText& word, const LinkStyle& style) : word_(word), style_(style) {
    const std::string_view bytes = word.bytes();
    end_ = bytes.size();
    for (size_t size = 1; size > 0; begin_ += size) {
      const std::string_view rest = bytes.substr(begin_);
      size = rest.starts_with("&lt;") ? 4 : rest.starts_with('(') || rest.starts_with('<') ? 1 : 0;
    }
    for (size_t size = 1; size > 0; end_ -= size) {
      const std::string_view rest = bytes.substr(begin_, end_ - begin_);
      const bool ends = !rest.empty() && std::string_view(")>.,\n").find(rest.back()) != rest.npos;
      size = rest.ends_with("&gt;") ? 4 : ends ? 1 : 0;
    }
    balance("(", ")");
    balance("<", ">");
    balance("&lt;", "&gt;");
  }

  void append_to(TaintedText* out) const {
    out->append(word_, 0, begin_);
    append_address(out);
    out->append(word_, end_, word_.size());
  }

 private:
  std::string_view address() const {
    return std::string_view(word_.bytes()).substr(begin_, end_ - begin_);
  }

  // Lets the address have as many closing brackets as opening ones.
  void balance(std::string_view open, std::string_view close) {
    const int64_t opened = count_occurrences(address(), open);
    if (opened <= count_occurrences(address(), close)) return;
    for (int64_t i = 0; i < opened; ++i) {
      const size_t at = std::string_view(word_.bytes()).find(close, end_);
      if (at == std::string_view::npos) return;
      end_ = at + close.size();
    }
  }

  void append_address(TaintedText* out) const {
    const std::string_view text = address();
    std::u32string decoded;
    for (size_t i = 0; i < text.size();) {
      const Character character = character_at(text, i);
      decoded.push_back(character.code);
      i += character.bytes;
    }
    const Codes codes = decoded;
    if (is_web_address(codes)) {
      const bool has_scheme = text.starts_with("https://") || text.starts_with("http://");
      return append_link(has_scheme ? "" : "https://", style_.attributes, 0, decoded.size(), out);
    }
    constexpr std::string_view kMail = "mailto:";
    if (text.starts_with(kMail) && is_mail_address(codes.substr(kMail.size()))) {
      return append_link("", {}, kMail.size(), std::nullopt, out);
    }
    if (!text.starts_with("www.") && text.find(':') == text.npos && is_mail_address(codes)) {
      return append_link(kMail, {}, 0, std::nullopt, out);
    }
    for (const std::string& scheme : style_.schemes) {
      if (text == scheme || !text.starts_with(scheme)) continue;
      return append_link("", style_.attributes, 0, std::nullopt, out);
    }
    out->append(word_, begin_, end_);
  }

  // `hidden`: the bytes of the address that are not shown. `characters`: of an address that may be
  // shown in part.
  void append_link(std::string_view before, const TaintedText& attributes, size_t hidden,
                   std::optional<size_t> characters, TaintedText* out) const {
    out->append(str_cat("<a href=\"", before), true);
    out->append(word_, begin_, end_);
    out->append("\"", true);
    out->append(attributes);
    out->append(">", true);
    const bool cut =
        characters && style_.shown && static_cast<int64_t>(*characters) > *style_.shown;
    if (cut) {
      const auto all = static_cast<int64_t>(*characters);
      const int64_t left =
          std::max<int64_t>(*style_.shown < 0 ? all + *style_.shown : *style_.shown, 0);
      size_t end = begin_;
      for (int64_t i = 0; i < left; ++i) end += character_at(word_.bytes(), end).bytes;
      out->append(word_, begin_, end);
      out->append("...", true);
    } else {
      out->append(word_, begin_ + hidden, end_);
    }
    out->append("</a>", true);
  }

  const TaintedText& word_;
  const LinkStyle& style_;
  size_t begin_ = 0;  // of the address
  size_t end_ = 0;
};

void append_attribute(std::string_view name, const TaintedText& value, TaintedText* out) {
  if (value.empty()) return;
  out->append(str_cat(" ", name, "=\""), true);
  out->append(escape_html(value));
  out->append("\"", true);
}

// Returns the words of `rel` and those that Jinja adds, each once, in order.
TaintedText rel_words(const BuiltinCall& call, const TaintedText& rel) {
  std::map<std::string, TaintedText> words;
  for (const Span& word : split(call.runtime, rel.bytes(), std::nullopt, -1)) {
    TaintedText text = rel.slice(word.begin, word.end);
    words.emplace(text.bytes(), std::move(text));
  }
  if (call.flag(1, false)) words.emplace("nofollow", TaintedText("nofollow", true));
  words.emplace("noopener", TaintedText("noopener", true));
  TaintedText joined;
  for (const auto& [bytes, word] : words) {
    if (!joined.empty()) joined.append(" ", true);
    joined.append(word);
  }
  return joined;
}

bool is_scheme_prefix(std::string_view text) {
  size_t at = 0;
  size_t characters = 0;
  while (at < text.size()) {
    const Character character = character_at(text, at);
    const char32_t code = character.code;
    if (!is_word_code(code) && code != '.' && code != '+' && code != '-') break;
    at += character.bytes;
    ++characters;
  }
  const std::string_view rest = text.substr(at);
  return characters >= 2 && (rest == ":" || rest == ":/" || rest == "://");
}

LinkStyle read_style(const BuiltinCall& call) {
  LinkStyle style;
  if (call.has(0)) style.shown = call.integer(0, 0);
  const TaintedText rel = call.has(3) ? str(call.runtime, *call.arguments[3]) : TaintedText();
  append_attribute("rel", rel_words(call, rel), &style.attributes);
  if (call.has(2)) {
    append_attribute("target", str(call.runtime, *call.arguments[2]), &style.attributes);
  }
  if (!call.has(4)) return style;
  const auto schemes = items_of(call.runtime, *call.arguments[4]);
  if (schemes == nullptr) return style;
  for (const Value& scheme : schemes->items) {
    const TaintedText* text = call.as_text(scheme);
    if (text == nullptr) return style;
    if (!is_scheme_prefix(text->bytes())) {
      call.runtime.fail(quoted(text->bytes()), " is not a valid URI scheme prefix");
      return style;
    }
    style.schemes.push_back(text->bytes());
  }
  return style;
}

}  // namespace

// The parameters are trim_url_limit, nofollow, target, rel and extra_schemes.
Value urlize_filter(const BuiltinCall& call) {
  TaintedText text = call.self_text();
  if (!call.runtime.can_make(5 * text.size())) return Value();
  if (!call.self.is_markup()) text = escape_html(text);
  const LinkStyle style = read_style(call);
  if (call.runtime.failed()) return Value();
  TaintedText result;
  size_t after = 0;  // the end of the word before
  for (const Span& span : split(call.runtime, text.bytes(), std::nullopt, -1)) {
    result.append(text, after, span.begin);
    const TaintedText word = text.slice(span.begin, span.end);
    // Every scheme is compared with every word; a link has its address twice.
    const size_t added = style.attributes.size() + 64;
    if (!call.runtime.can_make(8 * word.size() + added + style.schemes.size())) return Value();
    LinkedWord(word, style).append_to(&result);
    after = span.end;
  }
  result.append(text, after, text.size());
  return call.runtime.text(std::move(result));
}

}  // namespace deltaserve
