#include "server/base/request_json.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <cmath>
#include <limits>
#include <set>

#include "models/base/json_numbers.h"
#include "models/base/text.h"
#include "server/base/shown_value.h"
#include "server/base/suggestion.h"

namespace deltaserve {
namespace {

namespace json = boost::json;
using json::error_code;

const ParameterRule* find_rule(const BodyRules& rules, std::string_view key) {
  for (const std::span<const ParameterRule> part : {rules.shared, rules.own}) {
    const auto found = std::find_if(part.begin(), part.end(),
                                    [&](const ParameterRule& rule) { return rule.name == key; });
    if (found != part.end()) return &*found;
  }
  return nullptr;
}

std::vector<std::string> names_of(const BodyRules& rules) {
  std::vector<std::string> names;
  for (const std::span<const ParameterRule> part : {rules.shared, rules.own}) {
    for (const ParameterRule& rule : part) names.emplace_back(rule.name);
  }
  if (!rules.prompt.empty()) names.emplace_back(rules.prompt);
  return names;
}

// Boost's parser calls this for every element. Returning false stops it; `error_` says why.
class BodyHandler {
 public:
  static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_array_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_key_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_string_size = std::numeric_limits<std::size_t>::max();

  BodyHandler(const BodyRules& rules, const ServerLimits& limits, RequestBody* body)
      : rules_(rules), limits_(limits), body_(body) {
    stack_.reset();  // Boost requires this before the first value
  }

  // Makes the document the value of this parameter, as if the parser were inside an object.
  void begin_inside(std::string_view parameter, ParameterSize size) {
    depth_ = 1;
    top_key_ = parameter;
    size_ = size;
  }

  const std::optional<ApiError>& error() const { return error_; }
  // Returns the parameter that is being read.
  const std::string& top_key() const { return top_key_; }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }

  bool on_object_begin(error_code& ec) {
    if (unknown_key_) return refuse_unknown(ec);
    if (in_prompt_) return wrong_prompt("an object", ec);
    ++depth_;
    keys_.emplace_back();
    return true;
  }

  bool on_object_end(std::size_t size, error_code& ec) {
    --depth_;
    keys_.pop_back();
    if (depth_ == 0) return true;
    stack_.push_object(size);
    return value_done(ec);
  }

  bool on_array_begin(error_code& ec) {
    if (depth_ == 0) return fail(ec, "the request body must be a JSON object");
    if (unknown_key_) return refuse_unknown(ec);
    if (!in_prompt_) {
      ++depth_;
      return true;
    }
    if (++prompt_depth_ > 2) return wrong_prompt("a list", ec);
    if (prompt_depth_ == 2) return begin_token_list(ec);
    return true;
  }

  bool on_array_end(std::size_t size, error_code& ec) {
    if (in_prompt_) {
      if (--prompt_depth_ == 0) in_prompt_ = false;
      return true;
    }
    --depth_;
    stack_.push_array(size);
    return value_done(ec);
  }

  bool on_key_part(json::string_view part, std::size_t, error_code& ec) {
    if (depth_ == 1) top_key_.clear();
    if (text_.size() + part.size() > limits_.string_bytes) {
      return too_long(ec, limits_.string_bytes);
    }
    text_.append(part.data(), part.size());
    return true;
  }

  bool on_key(json::string_view part, std::size_t size, error_code& ec) {
    if (!on_key_part(part, size, ec)) return false;
    std::string key = std::move(text_);
    text_.clear();
    if (depth_ == 1 && !open_parameter(key)) {
      unknown_key_ = key;  // its value decides
    }
    if (keys_.back().contains(key)) {
      return fail(ec, str_cat("the key ", quoted(key), " appears twice"));
    }
    if (depth_ > 1) stack_.push_key(key);
    keys_.back().insert(std::move(key));
    return count_value(ec);
  }

  bool on_string_part(json::string_view part, std::size_t size, error_code& ec) {
    if (unknown_key_) return refuse_unknown(ec);
    if (in_prompt_) return prompt_text(part, false, ec);
    if (size > max_string(size_)) return too_long(ec, max_string(size_));
    stack_.push_chars(part);
    return true;
  }

  bool on_string(json::string_view part, std::size_t size, error_code& ec) {
    if (unknown_key_) return refuse_unknown(ec);
    if (in_prompt_) return prompt_text(part, true, ec);
    if (size > max_string(size_)) return too_long(ec, max_string(size_));
    stack_.push_string(part);
    return value_done(ec);
  }

  bool on_number_part(json::string_view, error_code&) { return true; }

  bool on_int64(std::int64_t value, json::string_view, error_code& ec) {
    if (unknown_key_) return refuse_unknown(ec);
    if (in_prompt_) return token_id(value, ec);
    stack_.push_int64(value);
    return value_done(ec);
  }

  bool on_uint64(std::uint64_t value, json::string_view, error_code& ec) {
    if (unknown_key_) return refuse_unknown(ec);
    if (in_prompt_) return token_id(absl::int128(value), ec);
    stack_.push_uint64(value);
    return value_done(ec);
  }

  bool on_double(double value, json::string_view given, error_code& ec) {
    if (unknown_key_) return refuse_unknown(ec);
    if (in_prompt_) {
      if (std::trunc(value) != value) return wrong_prompt(shown(value), ec);
      return token_id(std::abs(value) < 1e38 ? absl::int128(value) : absl::Int128Max(), ec);
    }
    const std::string_view text(given.data(), given.size());
    if (size_ != ParameterSize::kSmall && depth_ > 1 && is_integer_text(text)) {
      return push_big_integer(text, ec);
    }
    stack_.push_double(nearest_double(text));
    return value_done(ec);
  }

  bool on_bool(bool value, error_code& ec) {
    if (unknown_key_) return refuse_unknown(ec);
    if (in_prompt_) return wrong_prompt(value ? "true" : "false", ec);
    stack_.push_bool(value);
    return value_done(ec);
  }

  bool on_null(error_code& ec) {
    if (unknown_key_) {  // a null has no effect
      unknown_key_.reset();
      return true;
    }
    if (in_prompt_ && prompt_depth_ > 0) return wrong_prompt("null", ec);
    if (in_prompt_) {
      in_prompt_ = false;
      body_->prompt_given = false;
      return true;
    }
    stack_.push_null();
    return value_done(ec);
  }

  bool on_comment_part(json::string_view, error_code&) { return true; }
  bool on_comment(json::string_view, error_code&) { return true; }

 private:
  // A value outside the prompt is complete. One that belongs to the top-level object is stored.
  bool value_done(error_code& ec) {
    if (depth_ == 0) return fail(ec, "the request body must be a JSON object");
    if (depth_ == 1) {
      body_->fields.emplace(top_key_, stack_.release());
      stack_.reset();
      return true;
    }
    return count_value(ec);
  }

  bool push_big_integer(std::string_view digits, error_code& ec) {
    if (count_digits(digits) > kMostIntegerDigits) {
      return fail(ec, str_cat("an integer has more than ", kMostIntegerDigits, " digits"));
    }
    push_big_integer_on(&stack_, digits);
    return value_done(ec);
  }

  bool refuse_unknown(error_code& ec) {
    error_ = invalid_parameter(
        *unknown_key_,
        str_cat("Unrecognized request argument supplied: ", *unknown_key_, hint(*unknown_key_)));
    return stop(ec);
  }

  // Returns what the client most likely wanted. The prompt of another endpoint is near none of the
  // names here.
  std::string hint(std::string_view key) const {
    if (key == "messages") return "; it belongs to /v1/chat/completions";
    if (key == "prompt") return "; it belongs to /v1/completions";
    if (key == "input") return "; it belongs to /v1/embeddings and /v1/responses";
    if (key == "text" && !rules_.prompt.empty()) {
      return str_cat("; did you mean '", rules_.prompt, "'?");
    }
    return did_you_mean(key, names_of(rules_));
  }

  // Handles a key of the request itself. Returns false if it is unknown.
  bool open_parameter(const std::string& key) {
    in_prompt_ = key == rules_.prompt && !key.empty();
    const ParameterRule* rule = find_rule(rules_, key);
    if (!in_prompt_ && rule == nullptr) return false;
    body_->prompt_given = body_->prompt_given || in_prompt_;
    top_key_ = key;
    size_ = rule != nullptr ? rule->size : ParameterSize::kSmall;
    return true;
  }

  bool count_value(error_code& ec) {
    const int max_values = size_ == ParameterSize::kSmall    ? limits_.json_values
                           : size_ == ParameterSize::kNested ? limits_.nested_values
                                                             : limits_.message_values;
    if (++num_values_[static_cast<size_t>(size_)] <= max_values) return true;
    return fail(ec, str_cat("more than ", max_values, " JSON values"));
  }

  size_t max_string(ParameterSize size) const {
    return size == ParameterSize::kSmall    ? limits_.string_bytes
           : size == ParameterSize::kNested ? limits_.nested_string_bytes
                                            : std::numeric_limits<size_t>::max();
  }

  bool too_long(error_code& ec, size_t max_bytes) {
    return fail(ec, str_cat("a string is longer than ", max_bytes, " bytes"));
  }

  // Returns the place in the prompt that comes next, such as "prompt[3]".
  std::string prompt_place() const {
    const auto& lists = body_->token_lists;
    std::string place(rules_.prompt);
    if (prompt_depth_ == 0) return place;
    if (prompt_depth_ > 1)
      return str_cat(place, "[", lists.size() - 1, "][", lists.back().size(), "]");
    const size_t index = flat_ids_ ? lists.back().size() : body_->texts.size() + lists.size();
    return str_cat(place, "[", index, "]");
  }

  bool wrong_prompt(std::string_view value, error_code& ec) {
    return fail(ec, str_cat(prompt_place(), " is ", value, ": ", rules_.prompt,
                            " must be a string, a list of strings, a list of token ids or a list "
                            "of lists of token ids"));
  }

  bool begin_token_list(error_code& ec) {
    if (!body_->texts.empty() || flat_ids_) {
      --prompt_depth_;
      return wrong_prompt("a list", ec);
    }
    if (static_cast<int>(body_->token_lists.size()) >= limits_.prompts) return too_many(ec);
    body_->token_lists.emplace_back();
    body_->prompt_nested = true;
    return true;
  }

  bool too_many(error_code& ec) {
    return fail(ec, str_cat("more than ", limits_.prompts, " prompts in one request"));
  }

  bool prompt_text(json::string_view part, bool last, error_code& ec) {
    if (prompt_depth_ > 1 || !body_->token_lists.empty()) return wrong_prompt("a string", ec);
    if (!text_open_) {
      if (static_cast<int>(body_->texts.size()) >= limits_.prompts) return too_many(ec);
      body_->texts.emplace_back();
      body_->prompt_nested = prompt_depth_ > 0;
    }
    body_->texts.back().append(part.data(), part.size());
    text_open_ = !last;
    if (last && prompt_depth_ == 0) in_prompt_ = false;
    return true;
  }

  // `Id` is int64_t, or a wider type for larger numbers, because there may be millions of ids and
  // the narrow type is cheaper.
  template <class Id>
  bool token_id(const Id& id, error_code& ec) {
    if (prompt_depth_ == 0 || !body_->texts.empty()) return wrong_prompt("a number", ec);
    if (prompt_depth_ == 1) {
      if (body_->token_lists.empty()) {
        flat_ids_ = true;
        body_->token_lists.emplace_back();
      } else if (!flat_ids_) {
        return wrong_prompt("a number", ec);
      }
    }
    if (++num_tokens_ > limits_.prompt_tokens) {
      return fail(ec, str_cat("more than ", limits_.prompt_tokens, " prompt tokens"));
    }
    if (id < 0 || id > std::numeric_limits<int32_t>::max()) {
      return fail(
          ec, str_cat(prompt_place(), " is ", shown(absl::int128(id)), ", which is no token id"));
    }
    body_->token_lists.back().push_back(static_cast<int32_t>(id));
    return true;
  }

  bool fail(error_code& ec, std::string message) {
    error_ = invalid_parameter(top_key_, std::move(message));
    return stop(ec);
  }

  static bool stop(error_code& ec) {
    ec = json::error::exception;  // any code will do: the caller looks at error() first
    return false;
  }

  const BodyRules& rules_;
  const ServerLimits& limits_;
  RequestBody* const body_;
  std::optional<ApiError> error_;
  json::value_stack stack_;                  // the value being read, outside the prompt
  std::string text_;                         // the key being read
  std::vector<std::set<std::string>> keys_;  // seen so far, per open object
  std::string top_key_;
  std::optional<std::string> unknown_key_;      // of the request itself, until its value is known
  ParameterSize size_ = ParameterSize::kSmall;  // of top_key_
  int depth_ = 0;                               // open objects and arrays outside the prompt
  int num_values_[3] = {};                      // by size
  bool in_prompt_ = false;
  bool text_open_ = false;  // the last of `texts` is not complete
  bool flat_ids_ = false;   // the prompt is one list of ids
  int prompt_depth_ = 0;
  int64_t num_tokens_ = 0;
};

json::parse_options parse_options(const ServerLimits& limits) {
  json::parse_options options;
  options.max_depth = static_cast<std::size_t>(limits.json_depth);
  return options;
}

// Runs the parser over the whole text; `what` is the text, for errors of `param`.
std::optional<ApiError> parse(json::basic_parser<BodyHandler>* parser, std::string_view text,
                              std::string_view param, std::string_view what, int depth) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return invalid_parameter(std::string(param), str_cat(what, " is empty"));
  }
  error_code ec;
  const std::size_t used = parser->write_some(false, text.data(), text.size(), ec);
  if (parser->handler().error().has_value()) return parser->handler().error();
  if (ec == json::error::too_deep) {
    return invalid_parameter(std::string(param.empty() ? parser->handler().top_key() : param),
                             str_cat(what, " is nested deeper than ", depth, " at byte ", used));
  }
  if (ec) {
    return invalid_parameter(
        std::string(param), str_cat(what, " is not valid JSON: ", ec.message(), " at byte ", used));
  }
  if (used == text.size()) return std::nullopt;
  return invalid_parameter(std::string(param), str_cat(what, " has more than one JSON value"));
}

}  // namespace

std::optional<ApiError> read_request_body(std::string_view text, const BodyRules& rules,
                                          const ServerLimits& limits, RequestBody* body) {
  json::basic_parser<BodyHandler> parser(parse_options(limits), rules, limits, body);
  return parse(&parser, text, "", "the request body", limits.json_depth);
}

std::optional<ApiError> read_json_value(std::string_view text, std::string_view name,
                                        const ServerLimits& limits, json::value* value) {
  const BodyRules rules;
  RequestBody body;
  json::basic_parser<BodyHandler> parser(parse_options(limits), rules, limits, &body);
  parser.handler().begin_inside(name, ParameterSize::kNested);
  if (auto error = parse(&parser, text, name, name, limits.json_depth)) return error;
  *value = std::move(body.fields[name]);
  return std::nullopt;
}

}  // namespace deltaserve
