#include "server/service/rules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "models/base/text.h"
#include "server/base/json_text.h"

namespace deltaserve {
namespace {

constexpr double kMostBias = 100;

int64_t max_tokens_of(const Parameters& given, Interface interface, const ServerLimits& limits) {
  if (given.max_completion_tokens) return static_cast<int64_t>(*given.max_completion_tokens);
  if (given.max_tokens) return static_cast<int64_t>(*given.max_tokens);
  return interface == Interface::kChat ? limits.default_chat_max_tokens : limits.default_max_tokens;
}

// Whether the format asks for a form that the answer must have.
bool has_form(const std::optional<ResponseFormat>& format) {
  return format && format->type != ResponseFormat::Type::kText;
}

// The name in `interface` of the parameter that `member` of `given` holds.
std::string_view name_of(const Parameters& given, const void* member, Interface interface) {
  std::string_view found;
  for_each_parameter(given, [&](const ParameterNames& names, const auto& one) {
    if (static_cast<const void*>(&one) == member) found = names.of(interface);
  });
  return found;
}

// The lower bound of a number.
struct Above {
  double bound;
};
struct AtLeast {
  double bound;
};

// Runs the rules; the first one that is broken stays. Rules are given members of `given`.
class Rules {
 public:
  Rules(const Parameters& given, Interface interface, const ServedModel& model,
        const ServerLimits& limits)
      : given_(given), interface_(interface), model_(model), limits_(limits) {}

  std::optional<ApiError> run() {
    error_ = check_model_name(given_.model, model_, limits_);
    lengths();
    stops();
    sampling();
    forms();
    reports();
    service();
    return std::move(error_);
  }

 private:
  template <class Member>
  std::string_view name(const Member& member) const {
    return name_of(given_, &member, interface_);
  }

  // The message is the name of the member, then `what`, which may begin with a path inside it.
  template <class Member>
  void fail(const Member& member, std::string_view what) {
    if (error_) return;
    const bool inside = what.starts_with('.');
    error_ = invalid_parameter(std::string(name(member)),
                               str_cat(name(member), inside ? "" : " ", what));
  }

  void integer(const std::optional<Integer>& member, int64_t low, int64_t high) {
    if (!member || (*member >= low && *member <= high)) return;
    fail(member, str_cat("must be between ", low, " and ", high));
  }

  // The comparison is written so that NaN fails.
  void number(const std::optional<double>& member, AtLeast low, double high) {
    if (!member || (*member >= low.bound && *member <= high)) return;
    fail(member, str_cat("must be at least ", low.bound, " and at most ", high));
  }

  // A number above the bound must not round to it.
  void number(const std::optional<double>& member, Above low, double high) {
    if (!member) return;
    const bool inside = *member > low.bound && *member <= high;
    if (inside && static_cast<float>(*member) > low.bound) return;
    fail(member, str_cat("must be above ", low.bound, " and at most ", high));
  }

  void lengths() {
    integer(given_.max_tokens, 0, limits_.max_tokens);
    integer(given_.max_completion_tokens, 0, limits_.max_tokens);
    integer(given_.min_tokens, 0, limits_.max_tokens);
    if (error_) return;
    if (given_.max_tokens && given_.max_completion_tokens &&
        *given_.max_tokens != *given_.max_completion_tokens) {
      fail(given_.max_completion_tokens,
           str_cat("and ", name(given_.max_tokens), " differ: give one of them"));
    }
    const int64_t most = max_tokens_of(given_, interface_, limits_);
    if (given_.min_tokens && *given_.min_tokens > most) {
      fail(given_.min_tokens,
           str_cat("must not be above ", name(given_.max_tokens), ", which is ", most));
    }
  }

  void stops() {
    if (given_.stop) {
      if (given_.stop->size() > static_cast<size_t>(limits_.stop_strings)) {
        fail(given_.stop, str_cat("has more than ", limits_.stop_strings, " strings"));
      }
      for (const std::string& text : *given_.stop) {
        if (text.empty()) fail(given_.stop, "must not hold an empty string");
        if (text.size() > limits_.stop_string_bytes) {
          fail(given_.stop,
               str_cat("has a string longer than ", limits_.stop_string_bytes, " bytes"));
        }
      }
      if (!given_.stop->empty() && model_.tokenizer == nullptr) {
        fail(given_.stop, str_cat("needs a tokenizer, and the model has none: use ",
                                  name(given_.stop_token_ids)));
      }
    }
    if (!given_.stop_token_ids) return;
    if (given_.stop_token_ids->size() > static_cast<size_t>(limits_.stop_token_ids)) {
      fail(given_.stop_token_ids, str_cat("has more than ", limits_.stop_token_ids, " ids"));
    }
    for (const Integer& id : *given_.stop_token_ids) {
      if (is_token(id)) continue;
      fail(given_.stop_token_ids, str_cat("must hold token ids from 0 to ", model_.vocab_size - 1));
    }
  }

  void sampling() {
    integer(given_.n, 1, limits_.choices_per_prompt);
    number(given_.temperature, AtLeast{0}, 2);
    number(given_.top_p, Above{0}, 1);
    integer(given_.top_k, -1, model_.vocab_size);
    number(given_.min_p, AtLeast{0}, 1);
    integer(given_.seed, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
    number(given_.presence_penalty, AtLeast{-2}, 2);
    number(given_.frequency_penalty, AtLeast{-2}, 2);
    number(given_.repetition_penalty, Above{0}, 10);
    if (given_.logit_bias) logit_bias(*given_.logit_bias);
  }

  void logit_bias(const LogitBias& biases) {
    if (biases.size() > static_cast<size_t>(limits_.logit_bias_entries)) {
      return fail(given_.logit_bias,
                  str_cat("has more than ", limits_.logit_bias_entries, " entries"));
    }
    std::vector<Integer> tokens;
    for (const auto& [token, bias] : biases) {
      if (!is_token(token)) {
        return fail(given_.logit_bias, str_cat("must have token ids from 0 to ",
                                               model_.vocab_size - 1, " as its keys"));
      }
      if (!(std::abs(bias) <= kMostBias)) {
        return fail(given_.logit_bias, str_cat("must have numbers from ", -kMostBias, " to ",
                                               kMostBias, " as its values"));
      }
      tokens.push_back(token);
    }
    // In JSON, "1" and "01" are different keys and the same token.
    std::sort(tokens.begin(), tokens.end());
    if (std::adjacent_find(tokens.begin(), tokens.end()) != tokens.end()) {
      fail(given_.logit_bias, "names a token twice");
    }
  }

  void forms() {
    if (!given_.structured_outputs) return;
    const StructuredForms& forms = *given_.structured_outputs;
    if (forms.choice) choices(*forms.choice);
    if (forms.json_object && !*forms.json_object) {
      fail(given_.structured_outputs, ".json_object must be true or null");
    }
    const int count = forms.json.has_value() + forms.regex.has_value() + forms.choice.has_value() +
                      forms.grammar.has_value() + forms.json_object.has_value();
    if (count != 1) {
      fail(given_.structured_outputs,
           "must have one of json, regex, choice, grammar and json_object");
    }
    if (has_form(given_.response_format)) {
      fail(given_.structured_outputs,
           str_cat("and ", name(given_.response_format), " cannot be combined"));
    }
  }

  void choices(const std::vector<std::string>& texts) {
    if (texts.size() > static_cast<size_t>(limits_.structured_choices)) {
      fail(given_.structured_outputs,
           str_cat(".choice has more than ", limits_.structured_choices, " strings"));
    }
    const bool has_empty =
        std::any_of(texts.begin(), texts.end(), [](const std::string& t) { return t.empty(); });
    if (texts.empty() || has_empty) {
      fail(given_.structured_outputs, ".choice must be a list of strings, none of them empty");
    }
  }

  void reports() {
    integer(given_.logprobs, 0, limits_.logprobs);
    integer(given_.top_logprobs, 0, limits_.logprobs);
    integer(given_.prompt_logprobs, 0, limits_.logprobs);
    if (given_.top_logprobs.value_or(0) > 0 && !given_.report_logprobs.value_or(false)) {
      fail(given_.top_logprobs, str_cat("needs ", name(given_.report_logprobs), " to be true"));
    }
    if (given_.stream_options && !given_.stream.value_or(false)) {
      fail(given_.stream_options, str_cat("needs ", name(given_.stream), " to be true"));
    }
  }

  void service() {
    integer(given_.priority, std::numeric_limits<int32_t>::min(),
            std::numeric_limits<int32_t>::max());
    integer(given_.deadline_ms, 1, limits_.request_timeout_ms);
    if (given_.cache_salt) cache_salt(given_.cache_salt->size());
    if (given_.user && given_.user->size() > limits_.user_bytes) {
      fail(given_.user, str_cat("is longer than ", limits_.user_bytes, " bytes"));
    }
    if (given_.metadata) metadata(*given_.metadata);
  }

  void cache_salt(size_t bytes) {
    if (bytes >= 1 && bytes <= limits_.cache_salt_bytes) return;
    fail(given_.cache_salt, str_cat("must have 1 to ", limits_.cache_salt_bytes, " bytes"));
  }

  void metadata(const Metadata& pairs) {
    if (pairs.size() > limits_.metadata_pairs) {
      fail(given_.metadata, str_cat("has more than ", limits_.metadata_pairs, " pairs"));
    }
    for (const auto& [key, value] : pairs) {
      if (key.size() > limits_.metadata_key_bytes) {
        fail(given_.metadata,
             str_cat("has a key longer than ", limits_.metadata_key_bytes, " bytes"));
      }
      if (value.size() > limits_.metadata_value_bytes) {
        fail(given_.metadata,
             str_cat("has a value longer than ", limits_.metadata_value_bytes, " bytes"));
      }
    }
  }

  bool is_token(const Integer& id) const { return id >= 0 && id < model_.vocab_size; }

  const Parameters& given_;
  const Interface interface_;
  const ServedModel& model_;
  const ServerLimits& limits_;
  std::optional<ApiError> error_;
};

template <class Value, class Given>
void take(const std::optional<Given>& given, Value* out) {
  if (given) *out = static_cast<Value>(*given);
}

void take_sampling(const Parameters& given, SamplingParams* sampling) {
  take(given.temperature, &sampling->temperature);
  take(given.top_p, &sampling->top_p);
  take(given.top_k, &sampling->top_k);
  sampling->top_k = std::max(sampling->top_k, 0);  // -1 = all, as 0
  take(given.min_p, &sampling->min_p);
  take(given.presence_penalty, &sampling->presence_penalty);
  take(given.frequency_penalty, &sampling->frequency_penalty);
  take(given.repetition_penalty, &sampling->repetition_penalty);
  for (const auto& [token, bias] : given.logit_bias.value_or(LogitBias())) {
    sampling->logit_bias.emplace_back(static_cast<int32_t>(token), static_cast<float>(bias));
  }
  std::sort(sampling->logit_bias.begin(), sampling->logit_bias.end());
}

// Returns the number of most likely tokens to report; -1 = no log-probabilities.
int32_t logprobs_of(const Parameters& given) {
  if (given.logprobs) return static_cast<int32_t>(*given.logprobs);
  if (!given.report_logprobs.value_or(false)) return -1;
  return static_cast<int32_t>(given.top_logprobs.value_or(0));
}

std::optional<StructuredOutput> structured_of(Parameters* given, Interface interface) {
  using Kind = StructuredOutput::Kind;
  StructuredOutput output;
  if (has_form(given->response_format)) {
    output.param = name_of(*given, &given->response_format, interface);
    if (given->response_format->type == ResponseFormat::Type::kJsonSchema) {
      output.kind = Kind::kJsonSchema;
      output.schema = std::move(given->response_format->schema);
    }
    return output;
  }
  if (!given->structured_outputs) return std::nullopt;
  output.param = name_of(*given, &given->structured_outputs, interface);
  StructuredForms& forms = *given->structured_outputs;
  if (forms.json) {
    output.kind = Kind::kJsonSchema;
    output.schema = *std::move(forms.json);
  } else if (forms.choice) {
    output.kind = Kind::kChoice;
    output.choices = *std::move(forms.choice);
  } else if (forms.regex || forms.grammar) {
    output.kind = forms.regex ? Kind::kRegex : Kind::kGrammar;
    output.text = std::move(forms.regex ? *forms.regex : *forms.grammar);
  }
  return output;
}

std::string metadata_json(const Metadata& pairs) {
  std::string out;
  for (const auto& [key, value] : pairs) {
    out.push_back(out.empty() ? '{' : ',');
    append_json_string(&out, key);
    out.push_back(':');
    append_json_string(&out, value);
  }
  return out.append(out.empty() ? "{}" : "}");
}

}  // namespace

std::optional<ApiError> validate(const Parameters& given, Interface interface,
                                 const ServedModel& model, const ServerLimits& limits) {
  return Rules(given, interface, model, limits).run();
}

GenerationParameters with_defaults(Parameters given, Interface interface,
                                   const ServerLimits& limits) {
  GenerationParameters out;
  GenerateRequest& generate = out.generate;
  generate.max_tokens = max_tokens_of(given, interface, limits);
  take(given.min_tokens, &generate.min_tokens);
  if (given.stop) generate.stop = *std::move(given.stop);
  for (const Integer& id : given.stop_token_ids.value_or(std::vector<Integer>())) {
    generate.stop_token_ids.push_back(static_cast<int32_t>(id));
  }
  take(given.include_stop_str_in_output, &generate.include_stop);
  take(given.ignore_eos, &generate.ignore_eos);
  out.split_special_tokens = given.split_special_tokens;
  take_sampling(given, &generate.sampling);
  take(given.priority, &generate.priority);
  take(given.n, &out.n);
  if (given.seed) out.seed = static_cast<uint64_t>(static_cast<int64_t>(*given.seed));
  out.structured = structured_of(&given, interface);

  take(given.echo, &out.echo);
  generate.logprobs = logprobs_of(given);
  generate.prompt_logprobs = out.echo ? generate.logprobs : -1;
  take(given.prompt_logprobs, &generate.prompt_logprobs);
  take(given.return_token_ids, &out.return_token_ids);
  take(given.stream, &out.stream);
  if (given.stream_options) {
    take(given.stream_options->include_usage, &out.include_usage);
    take(given.stream_options->continuous_usage_stats, &out.continuous_usage_stats);
  }
  if (given.deadline_ms) out.deadline_ms = static_cast<int64_t>(*given.deadline_ms);
  if (given.cache_salt) generate.reuse.salt = *std::move(given.cache_salt);
  if (given.user) out.user = *std::move(given.user);
  if (given.metadata) out.metadata = metadata_json(*given.metadata);
  return out;
}

std::optional<ApiError> check_model_name(const std::optional<std::string>& name,
                                         const ServedModel& model, const ServerLimits& limits) {
  if (!name || *name == model.name) return std::nullopt;
  if (name->size() > limits.model_name_bytes) {
    return invalid_parameter("model",
                             str_cat("model is longer than ", limits.model_name_bytes, " bytes"));
  }
  return ApiError{ErrorKind::kModelNotFound, str_cat("The model `", *name, "` does not exist."),
                  "model"};
}

std::optional<ApiError> check_token_ids(std::string_view param, const std::vector<int32_t>& ids,
                                        const ServedModel& model) {
  const bool inside = std::all_of(ids.begin(), ids.end(),
                                  [&](int32_t id) { return id >= 0 && id < model.vocab_size; });
  if (inside) return std::nullopt;
  return invalid_parameter(
      std::string(param),
      str_cat(param, " has a token id outside the vocabulary of ", model.vocab_size, " tokens"));
}

}  // namespace deltaserve
