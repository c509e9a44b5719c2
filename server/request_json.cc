#include "server/request_json.h"

#include <algorithm>
#include <array>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <limits>

#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

namespace json = boost::json;
using json::error_code;

constexpr std::array kKnownKeys = {
    "best_of",
    "echo",
    "frequency_penalty",
    "ignore_eos",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "min_p",
    "model",
    "n",
    "presence_penalty",
    "prompt",
    "prompt_logprobs",
    "return_token_ids",
    "seed",
    "stop",
    "stop_token_ids",
    "stream",
    "stream_options",
    "suffix",
    "temperature",
    "top_k",
    "top_p",
    "user",
};

bool is_known_key(std::string_view key) {
  return std::find(kKnownKeys.begin(), kKnownKeys.end(), key) != kKnownKeys.end();
}

constexpr char kPromptForms[] =
    "prompt must be a string, a list of strings, a list of token ids or a list of lists of token "
    "ids";

// Boost's parser calls this for every element. Returning false stops it; `error_` says why.
class BodyHandler {
 public:
  static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_array_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_key_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_string_size = std::numeric_limits<std::size_t>::max();

  BodyHandler(const ServerLimits& limits, CompletionBody* body) : limits_(limits), body_(body) {
    stack_.reset();  // it must be, before the first value
  }

  const std::optional<ApiError>& error() const { return error_; }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }

  bool on_object_begin(error_code& ec) {
    if (in_prompt_) return fail(ec, kPromptForms);
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
    if (!in_prompt_) {
      ++depth_;
      return true;
    }
    if (++prompt_depth_ > 2) return fail(ec, kPromptForms);
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
    return append(part, ec);
  }

  bool on_key(json::string_view part, std::size_t size, error_code& ec) {
    if (!on_key_part(part, size, ec)) return false;
    std::string key = std::move(text_);
    text_.clear();
    if (depth_ == 1) top_key_ = is_known_key(key) ? key : std::string();
    if (depth_ == 1 && top_key_.empty()) {
      error_ =
          invalid_parameter(key, absl::StrCat("Unrecognized request argument supplied: ", key));
      return stop(ec);
    }
    auto& seen = keys_.back();
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
      return fail(ec, absl::StrCat("the key '", key, "' appears twice"));
    }
    if (depth_ > 1) stack_.push_key(key);
    in_prompt_ = depth_ == 1 && key == "prompt";
    seen.push_back(std::move(key));
    return count_value(ec);
  }

  bool on_string_part(json::string_view part, std::size_t, error_code& ec) {
    return in_prompt_ ? prompt_text(part, false, ec) : append(part, ec);
  }

  bool on_string(json::string_view part, std::size_t, error_code& ec) {
    if (in_prompt_) return prompt_text(part, true, ec);
    if (!append(part, ec)) return false;
    stack_.push_string(text_);
    text_.clear();
    return value_done(ec);
  }

  bool on_number_part(json::string_view, error_code&) { return true; }

  bool on_int64(std::int64_t value, json::string_view, error_code& ec) {
    if (in_prompt_) return token_id(value, ec);
    stack_.push_int64(value);
    return value_done(ec);
  }

  bool on_uint64(std::uint64_t value, json::string_view, error_code& ec) {
    if (in_prompt_) return token_id(std::numeric_limits<int64_t>::max(), ec);
    stack_.push_uint64(value);
    return value_done(ec);
  }

  bool on_double(double value, json::string_view, error_code& ec) {
    if (in_prompt_) return fail(ec, kPromptForms);
    stack_.push_double(value);
    return value_done(ec);
  }

  bool on_bool(bool value, error_code& ec) {
    if (in_prompt_) return fail(ec, kPromptForms);
    stack_.push_bool(value);
    return value_done(ec);
  }

  bool on_null(error_code& ec) {
    if (in_prompt_) return fail(ec, prompt_depth_ == 0 ? "prompt is required" : kPromptForms);
    stack_.push_null();
    return value_done(ec);
  }

  bool on_comment_part(json::string_view, error_code&) { return true; }
  bool on_comment(json::string_view, error_code&) { return true; }

 private:
  // A value outside `prompt` is complete. One that belongs to the top-level object is stored.
  bool value_done(error_code& ec) {
    if (depth_ == 0) return fail(ec, "the request body must be a JSON object");
    if (depth_ == 1) {
      body_->fields.emplace(top_key_, stack_.release());
      stack_.reset();
      return true;
    }
    return count_value(ec);
  }

  bool count_value(error_code& ec) {
    if (++num_values_ <= limits_.json_values) return true;
    return fail(ec, absl::StrCat("more than ", limits_.json_values, " JSON values"));
  }

  bool append(json::string_view part, error_code& ec) {
    if (text_.size() + part.size() > limits_.string_bytes) {
      return fail(ec, absl::StrCat("a string is longer than ", limits_.string_bytes, " bytes"));
    }
    text_.append(part.data(), part.size());
    return true;
  }

  bool begin_token_list(error_code& ec) {
    if (!body_->texts.empty() || flat_ids_) return fail(ec, kPromptForms);
    if (static_cast<int>(body_->token_lists.size()) >= limits_.prompts) return too_many(ec);
    body_->token_lists.emplace_back();
    return true;
  }

  bool too_many(error_code& ec) {
    return fail(ec, absl::StrCat("more than ", limits_.prompts, " prompts in one request"));
  }

  bool prompt_text(json::string_view part, bool last, error_code& ec) {
    if (prompt_depth_ > 1 || !body_->token_lists.empty()) return fail(ec, kPromptForms);
    if (!text_open_) {
      if (static_cast<int>(body_->texts.size()) >= limits_.prompts) return too_many(ec);
      body_->texts.emplace_back();
    }
    body_->texts.back().append(part.data(), part.size());
    text_open_ = !last;
    if (last && prompt_depth_ == 0) in_prompt_ = false;
    return true;
  }

  bool token_id(int64_t id, error_code& ec) {
    if (prompt_depth_ == 0 || !body_->texts.empty()) return fail(ec, kPromptForms);
    if (prompt_depth_ == 1) {
      if (body_->token_lists.empty()) {
        flat_ids_ = true;
        body_->token_lists.emplace_back();
      } else if (!flat_ids_) {
        return fail(ec, kPromptForms);
      }
    }
    if (++num_tokens_ > limits_.prompt_tokens) {
      return fail(ec, absl::StrCat("more than ", limits_.prompt_tokens, " prompt tokens"));
    }
    if (id < 0 || id > std::numeric_limits<int32_t>::max()) {
      return fail(ec, "prompt has a token id outside the vocabulary");
    }
    body_->token_lists.back().push_back(static_cast<int32_t>(id));
    return true;
  }

  bool fail(error_code& ec, std::string message) {
    error_ = invalid_parameter(top_key_, std::move(message));
    return stop(ec);
  }

  static bool stop(error_code& ec) {
    ec = json::error::exception;  // any: the caller looks at error() first
    return false;
  }

  const ServerLimits& limits_;
  CompletionBody* const body_;
  std::optional<ApiError> error_;
  json::value_stack stack_;                     // the value being read, outside `prompt`
  std::string text_;                            // the key or string being read, likewise
  std::vector<std::vector<std::string>> keys_;  // seen so far, per open object
  std::string top_key_;
  int depth_ = 0;  // open objects and arrays outside `prompt`
  int num_values_ = 0;
  bool in_prompt_ = false;
  bool text_open_ = false;  // the last of `texts` is not complete
  bool flat_ids_ = false;   // the prompt is one list of ids
  int prompt_depth_ = 0;
  int64_t num_tokens_ = 0;
};

}  // namespace

std::optional<ApiError> read_completion_body(std::string_view text, const ServerLimits& limits,
                                             CompletionBody* body) {
  json::parse_options options;
  options.max_depth = static_cast<std::size_t>(limits.json_depth);
  json::basic_parser<BodyHandler> parser(options, limits, body);
  error_code ec;
  const std::size_t used = parser.write_some(false, text.data(), text.size(), ec);
  if (parser.handler().error().has_value()) return parser.handler().error();
  if (ec) {
    return invalid_parameter(
        "", absl::StrCat("the request body is not valid JSON: ", ec.message(), " at byte ", used));
  }
  if (used != text.size()) {
    return invalid_parameter("", "the request body has more than one JSON value");
  }
  if (body->texts.empty() && body->token_lists.empty()) {
    return invalid_parameter("prompt", "prompt is required and must not be empty");
  }
  return std::nullopt;
}

}  // namespace deltaserve
