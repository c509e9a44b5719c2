#include "server/openai_api.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/request_json.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr int64_t kNoLogprobs = -1;

// Typed, range-checked access to the fields. An absent or null field leaves the default. After the
// first error nothing more is read.
class FieldReader {
 public:
  FieldReader(const json::object& fields, const ServerLimits& limits)
      : fields_(fields), limits_(limits) {}

  const std::optional<ApiError>& error() const { return error_; }

  void fail(std::string_view name, std::string_view what) {
    if (!error_) {
      error_ = invalid_parameter(std::string(name),
                                 absl::StrCat(std::string(name), " ", std::string(what)));
    }
  }

  const json::value* find(std::string_view name) const {
    if (error_) return nullptr;
    const json::value* value = fields_.if_contains(name);
    return value != nullptr && !value->is_null() ? value : nullptr;
  }

  void integer(std::string_view name, int64_t low, int64_t high, int64_t* out) {
    const json::value* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number() || value->is_double()) return fail(name, "must be an integer");
    if (!value->is_int64() || value->get_int64() < low || value->get_int64() > high) {
      return fail(name, absl::StrCat("must be between ", low, " and ", high));
    }
    *out = value->get_int64();
  }

  // `open_low` excludes the lower bound itself.
  void number(std::string_view name, double low, bool open_low, double high, float* out) {
    const json::value* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number()) return fail(name, "must be a number");
    const double number = value->to_number<double>();
    // Written so that NaN fails. A positive number must not round to a bound that is excluded.
    const bool above = open_low ? number > low && static_cast<float>(number) > low : number >= low;
    if (!(above && number <= high)) {
      return fail(name, absl::StrCat("must be ", open_low ? "above " : "at least ", low,
                                     " and at most ", high));
    }
    *out = static_cast<float>(number);
  }

  void boolean(std::string_view name, bool* out) { read_bool(name, name, find(name), out); }

  void read_bool(std::string_view param, std::string_view what, const json::value* value,
                 bool* out) {
    if (value == nullptr || value->is_null()) return;
    if (!value->is_bool()) {
      if (!error_) {
        error_ = invalid_parameter(std::string(param),
                                   absl::StrCat(std::string(what), " must be true or false"));
      }
      return;
    }
    *out = value->get_bool();
  }

  void string(std::string_view name, size_t max_bytes, std::string* out) {
    const json::value* value = find(name);
    if (value == nullptr) return;
    if (!value->is_string()) return fail(name, "must be a string");
    const json::string& text = value->get_string();
    if (text.size() > max_bytes) {
      return fail(name, absl::StrCat("is longer than ", max_bytes, " bytes"));
    }
    out->assign(text.data(), text.size());
  }

  void stop_strings(std::vector<std::string>* out) {
    const json::value* value = find("stop");
    if (value == nullptr) return;
    if (value->is_string()) return add_stop(*value, out);
    if (!value->is_array()) return fail("stop", "must be a string or a list of strings");
    if (static_cast<int64_t>(value->get_array().size()) > limits_.stop_strings) {
      return fail("stop", absl::StrCat("has more than ", limits_.stop_strings, " strings"));
    }
    for (const json::value& item : value->get_array()) add_stop(item, out);
  }

  void token_ids(std::string_view name, int max_count, int64_t vocab, std::vector<int32_t>* out) {
    const json::value* value = find(name);
    if (value == nullptr) return;
    if (!value->is_array()) return fail(name, "must be a list of token ids");
    if (static_cast<int64_t>(value->get_array().size()) > max_count) {
      return fail(name, absl::StrCat("has more than ", max_count, " ids"));
    }
    for (const json::value& item : value->get_array()) {
      if (!item.is_int64() || item.get_int64() < 0 || item.get_int64() >= vocab) {
        return fail(name, absl::StrCat("must hold token ids from 0 to ", vocab - 1));
      }
      out->push_back(static_cast<int32_t>(item.get_int64()));
    }
  }

  // A parameter of the API that is not served: clients may send its neutral value.
  void only_neutral(std::string_view name, const json::value& neutral) {
    const json::value* value = find(name);
    if (value == nullptr) return;
    const bool same = neutral.is_number() && value->is_number()
                          ? value->to_number<double>() == neutral.to_number<double>()
                          : *value == neutral;
    if (same) return;
    const std::string accepted = neutral.is_null() ? "" : json::serialize(neutral) + " or ";
    fail(name, absl::StrCat("is not supported: only ", accepted, "null is accepted"));
  }

 private:
  void add_stop(const json::value& item, std::vector<std::string>* out) {
    if (!item.is_string()) return fail("stop", "must be a string or a list of strings");
    const json::string& text = item.get_string();
    if (text.empty()) return fail("stop", "must not hold an empty string");
    if (text.size() > limits_.stop_string_bytes) {
      return fail("stop",
                  absl::StrCat("has a string longer than ", limits_.stop_string_bytes, " bytes"));
    }
    out->emplace_back(text.data(), text.size());
  }

  const json::object& fields_;
  const ServerLimits& limits_;
  std::optional<ApiError> error_;
};

void read_sampling(FieldReader& fields, const ServedModel& model, CompletionRequest* request) {
  SamplingParams& sampling = request->generate.sampling;
  fields.number("temperature", 0, false, 2, &sampling.temperature);
  fields.number("top_p", 0, true, 1, &sampling.top_p);
  fields.number("min_p", 0, false, 1, &sampling.min_p);
  int64_t top_k = 0;
  fields.integer("top_k", -1, model.vocab_size, &top_k);
  sampling.top_k = static_cast<int32_t>(std::max<int64_t>(top_k, 0));
  if (fields.find("seed") != nullptr) {
    int64_t seed = 0;
    fields.integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(),
                   &seed);
    request->seed = static_cast<uint64_t>(seed);
  }
}

void read_length_and_stops(FieldReader& fields, const ServedModel& model,
                           const ServerLimits& limits, CompletionRequest* request) {
  GenerateRequest& generate = request->generate;
  fields.integer("max_tokens", 0, limits.max_tokens, &generate.max_tokens);
  fields.stop_strings(&generate.stop);
  if (!generate.stop.empty() && model.tokenizer == nullptr) {
    fields.fail("stop", "needs a tokenizer, and the model has none: use stop_token_ids");
  }
  fields.token_ids("stop_token_ids", limits.stop_token_ids, model.vocab_size,
                   &generate.stop_token_ids);
  fields.boolean("ignore_eos", &generate.ignore_eos);
}

void read_output(FieldReader& fields, const ServerLimits& limits, CompletionRequest* request) {
  int64_t logprobs = kNoLogprobs;
  fields.integer("logprobs", 0, limits.logprobs, &logprobs);
  fields.boolean("echo", &request->echo);
  request->generate.logprobs = static_cast<int32_t>(logprobs);
  request->generate.prompt_logprobs = request->echo ? request->generate.logprobs : -1;
  fields.boolean("return_token_ids", &request->return_token_ids);
  fields.string("user", limits.user_bytes, &request->user);

  fields.boolean("stream", &request->stream);
  const json::value* options = fields.find("stream_options");
  if (options == nullptr) return;
  if (!request->stream) return fields.fail("stream_options", "needs stream to be true");
  if (!options->is_object()) return fields.fail("stream_options", "must be an object");
  for (const auto& [key, value] : options->get_object()) {
    if (key == "include_usage") {
      fields.read_bool("stream_options", "stream_options.include_usage", &value,
                       &request->include_usage);
    } else if (key == "continuous_usage_stats") {
      fields.read_bool("stream_options", "stream_options.continuous_usage_stats", &value,
                       &request->continuous_usage_stats);
    } else {
      fields.fail("stream_options", absl::StrCat("has an unknown key: ", std::string(key)));
    }
  }
}

void read_unsupported(FieldReader& fields) {
  fields.only_neutral("n", 1);
  fields.only_neutral("best_of", 1);
  fields.only_neutral("frequency_penalty", 0);
  fields.only_neutral("presence_penalty", 0);
  fields.only_neutral("logit_bias", json::object());
  fields.only_neutral("suffix", nullptr);
  fields.only_neutral("prompt_logprobs", nullptr);
}

// Prompts as far as they can be judged without encoding them.
std::optional<ApiError> check_prompts(const ServedModel& model, const CompletionRequest& request) {
  if (!request.text_prompts.empty() && model.tokenizer == nullptr) {
    return invalid_parameter("prompt",
                             "the model has no tokenizer: the prompt must be a list of token ids");
  }
  for (const std::vector<int32_t>& ids : request.token_prompts) {
    if (ids.empty()) return invalid_parameter("prompt", "a prompt must not be empty");
    const bool inside = std::all_of(ids.begin(), ids.end(), [&](int32_t id) {
      return id < model.vocab_size;  // negative ones were refused when they were read
    });
    if (!inside) {
      return invalid_parameter("prompt",
                               absl::StrCat("prompt has a token id outside the vocabulary of ",
                                            model.vocab_size, " tokens"));
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> parse_completion_request(std::string_view text, const ServedModel& model,
                                                 const ServerLimits& limits,
                                                 CompletionRequest* request) {
  CompletionBody body;
  if (std::optional<ApiError> error = read_completion_body(text, limits, &body)) return error;
  request->text_prompts = std::move(body.texts);
  request->token_prompts = std::move(body.token_lists);

  FieldReader fields(body.fields, limits);
  std::string name = model.name;
  fields.string("model", limits.model_name_bytes, &name);
  read_sampling(fields, model, request);
  read_length_and_stops(fields, model, limits, request);
  read_output(fields, limits, request);
  read_unsupported(fields);
  if (fields.error()) return fields.error();
  if (name != model.name) {
    return ApiError{404, absl::StrCat("The model `", name, "` does not exist."),
                    "invalid_request_error", "model", "model_not_found"};
  }
  return check_prompts(model, *request);
}

std::optional<ApiError> take_prompts(const ServedModel& model, const ServerLimits& limits,
                                     CompletionRequest* request,
                                     std::vector<std::vector<int32_t>>* prompts) {
  *prompts = std::move(request->token_prompts);
  request->token_prompts.clear();
  int64_t num_tokens = 0;
  for (const std::string& text : request->text_prompts) {
    std::vector<int32_t> ids = model.tokenizer->encode(text);
    if (model.bos_to_prepend >= 0) ids.insert(ids.begin(), model.bos_to_prepend);
    if (ids.empty()) return invalid_parameter("prompt", "a prompt has no tokens");
    num_tokens += static_cast<int64_t>(ids.size());
    if (num_tokens > limits.prompt_tokens) {
      return invalid_parameter("prompt",
                               absl::StrCat("more than ", limits.prompt_tokens, " prompt tokens"));
    }
    prompts->push_back(std::move(ids));
  }
  if (request->generate.logprobs < 0) return std::nullopt;
  int64_t entries = 0;
  for (const std::vector<int32_t>& ids : *prompts) {
    entries += request->generate.max_tokens;
    if (request->echo) entries += static_cast<int64_t>(ids.size());
  }
  if (entries > limits.logprob_entries / (1 + request->generate.logprobs)) {
    return invalid_parameter(
        "logprobs", absl::StrCat("(tokens) x (1 + logprobs) is above ", limits.logprob_entries,
                                 ": ask for fewer logprobs or tokens, or send several requests"));
  }
  return std::nullopt;
}

}  // namespace deltaserve
