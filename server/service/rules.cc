#include "server/service/rules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/base/check.h"
#include "models/base/text.h"
#include "server/base/json_text.h"
#include "server/base/shown_value.h"
#include "server/service/ranges.h"

namespace deltaserve {
namespace {

constexpr double kMostBias = 100;
constexpr std::string_view kAnyModel = "default";  // SGLang's default: the one that is served

int64_t max_tokens_of(const Parameters& given, Interface interface, const ServerLimits& limits) {
  if (!answers_with_tokens(interface)) return 0;
  if (given.max_completion_tokens) return static_cast<int64_t>(*given.max_completion_tokens);
  if (given.max_tokens) return static_cast<int64_t>(*given.max_tokens);
  const bool chat = interface == Interface::kChat || interface == Interface::kGrpcChat;
  return chat ? limits.default_chat_max_tokens : limits.default_max_tokens;
}

// Returns whether the format demands a form of the answer.
bool has_form(const std::optional<ResponseFormat>& format) {
  return format && format->type != ResponseFormat::Type::kText;
}

// Returns the name in `interface` of the parameter that `member` of `given` holds.
std::string_view name_of(const Parameters& given, const void* member, Interface interface) {
  std::string_view found;
  for_each_parameter(given, [&](const ParameterNames& names, const auto& one) {
    if (static_cast<const void*>(&one) == member) found = names.of(interface);
  });
  return found;
}

// Runs the rules and keeps the error of the first broken one. Rules take members of `given`.
class Rules {
 public:
  Rules(const Parameters& given, Interface interface, const ServedModel& model,
        const ServerLimits& limits)
      : given_(given), interface_(interface), model_(model), limits_(limits) {}

  std::optional<ApiError> run() {
    error_ = check_model_name(given_.model, model_, limits_);
    ranges();
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
    const bool inside = what.starts_with('.') || what.starts_with('[');
    error_ = invalid_parameter(std::string(name(member)),
                               str_cat(name(member), inside ? "" : " ", what));
  }

  void ranges() {
    for_each_parameter(given_, [&](const ParameterNames& names, const auto& member) {
      range(names.of(interface_), member);
    });
  }

  template <class Member>
  void range(std::string_view, const Member&) {}  // the parameter is not a number

  void range(std::string_view parameter, const std::optional<Integer>& member) {
    if (!member) return;
    const std::optional<IntegerRange> range = integer_range(parameter, model_, limits_);
    DS_CHECK(range.has_value());
    if (*member >= range->low && *member <= range->high) return;
    if (&member == &given_.dimensions) {
      return fail(member,
                  str_cat("must be ", range->low,
                          ": embeddings of this model cannot be shortened to ", shown(*member)));
    }
    fail(member,
         str_cat("must be between ", range->low, " and ", range->high, ", not ", shown(*member)));
  }

  // The comparisons are written so that NaN fails.
  void range(std::string_view parameter, const std::optional<double>& member) {
    if (!member) return;
    const std::optional<RealRange> range = real_range(parameter);
    DS_CHECK(range.has_value());
    const bool high_enough = range->low_is_outside ? *member > range->low : *member >= range->low;
    if (high_enough && *member <= range->high) return;
    fail(member, str_cat("must be ", range->low_is_outside ? "above " : "at least ", range->low,
                         " and at most ", range->high, ", not ", shown(*member)));
  }

  void lengths() {
    if (error_) return;
    if (given_.max_tokens && given_.max_completion_tokens &&
        *given_.max_tokens != *given_.max_completion_tokens) {
      fail(given_.max_completion_tokens,
           str_cat("and ", name(given_.max_tokens), " differ: give one of them"));
    }
    const int64_t most = max_tokens_of(given_, interface_, limits_);
    if (given_.min_tokens && *given_.min_tokens > most) {
      fail(given_.min_tokens, str_cat("must not be above ", name(given_.max_tokens), ", which is ",
                                      most, ", but is ", shown(*given_.min_tokens)));
    }
    if (given_.truncate_prompt_tokens == 0) {
      fail(given_.truncate_prompt_tokens, "must not be 0: a prompt has tokens");
    }
    const std::optional<std::string>& side = given_.truncation_side;
    if (side && *side != "left" && *side != "right") {
      fail(side, str_cat("must be left or right, not ", shown(std::string_view(*side))));
    }
  }

  void stops() {
    if (given_.stop) {
      if (given_.stop->size() > static_cast<size_t>(limits_.stop_strings)) {
        fail(given_.stop, str_cat("has more than ", limits_.stop_strings, " strings"));
      }
      for (size_t i = 0; i < given_.stop->size(); ++i) {
        const std::string& text = (*given_.stop)[i];
        if (text.empty()) fail(given_.stop, str_cat("[", i, "] must not be empty"));
        if (text.size() > limits_.stop_string_bytes) {
          fail(given_.stop,
               str_cat("[", i, "] is longer than ", limits_.stop_string_bytes, " bytes"));
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
    for (size_t i = 0; i < given_.stop_token_ids->size(); ++i) {
      const Integer& id = (*given_.stop_token_ids)[i];
      if (is_token(id)) continue;
      fail(given_.stop_token_ids, str_cat("[", i, "] must be a token id from 0 to ",
                                          model_.vocab_size - 1, ", not ", shown(id)));
    }
  }

  void sampling() {
    if (given_.logit_bias) logit_bias(*given_.logit_bias);
  }

  void logit_bias(const LogitBias& biases) {
    if (biases.size() > static_cast<size_t>(limits_.logit_bias_entries)) {
      return fail(given_.logit_bias,
                  str_cat("has more than ", limits_.logit_bias_entries, " entries"));
    }
    std::vector<Integer> tokens;
    for (const auto& [token, bias] : biases) {
      const std::string key = str_cat("[\"", shown(token), "\"]");
      if (!is_token(token)) {
        return fail(given_.logit_bias,
                    str_cat(key, ": the key must be a token id from 0 to ", model_.vocab_size - 1));
      }
      if (!(std::abs(bias) <= kMostBias)) {
        return fail(given_.logit_bias, str_cat(key, " must be at least ", -kMostBias,
                                               " and at most ", kMostBias, ", not ", shown(bias)));
      }
      tokens.push_back(token);
    }
    // In JSON, "1" and "01" are different keys, but here they are the same token.
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
      fail_form(".json_object", " must be true or null");
    }
    const int count = forms.json.has_value() + forms.regex.has_value() + forms.choice.has_value() +
                      forms.grammar.has_value() + forms.json_object.has_value();
    if (count != 1) {
      fail(given_.structured_outputs,
           "must have one of json, regex, choice, grammar and json_object");
    }
    if (has_form(given_.response_format)) {
      fail_form("", str_cat(" and ", name(given_.response_format), " cannot be combined"));
    }
  }

  void choices(const std::vector<std::string>& texts) {
    if (texts.size() > static_cast<size_t>(limits_.structured_choices)) {
      fail_form(".choice", str_cat(" has more than ", limits_.structured_choices, " strings"));
    }
    if (texts.empty()) fail_form(".choice", " must not be empty");
    for (size_t i = 0; i < texts.size(); ++i) {
      if (texts[i].empty()) fail_form(".choice", str_cat("[", i, "] must not be empty"));
    }
  }

  // `place` is the place of the form in structured_outputs; empty for a form with a parameter of
  // its own.
  void fail_form(std::string_view place, std::string_view what) {
    const std::string_view own = given_.structured_outputs->name;
    if (error_) return;
    const std::string spelled =
        own.empty() ? str_cat(name(given_.structured_outputs), place) : std::string(own);
    error_ = invalid_parameter(std::string(own.empty() ? name(given_.structured_outputs) : own),
                               str_cat(spelled, what));
  }

  void reports() {
    if (given_.top_logprobs.value_or(0) > 0 && !given_.report_logprobs.value_or(false)) {
      fail(given_.top_logprobs, str_cat("needs ", name(given_.report_logprobs), " to be true"));
    }
    if (given_.stream_options && !given_.stream.value_or(false)) {
      fail(given_.stream_options, str_cat("needs ", name(given_.stream), " to be true"));
    }
    if (given_.prompt_logprobs && given_.stream.value_or(false)) {
      fail(given_.prompt_logprobs, str_cat("needs ", name(given_.stream), " to be false"));
    }
  }

  void service() {
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

// Takes a number above 0, which may be too small for a float.
void take_positive(const std::optional<double>& given, float* out) {
  if (given) *out = std::max(static_cast<float>(*given), std::numeric_limits<float>::min());
}

void take_sampling(const Parameters& given, SamplingParams* sampling) {
  take(given.temperature, &sampling->temperature);
  take_positive(given.top_p, &sampling->top_p);
  take(given.top_k, &sampling->top_k);
  sampling->top_k = std::max(sampling->top_k, 0);  // -1 = all, as 0
  take(given.min_p, &sampling->min_p);
  take(given.presence_penalty, &sampling->presence_penalty);
  take(given.frequency_penalty, &sampling->frequency_penalty);
  take_positive(given.repetition_penalty, &sampling->repetition_penalty);
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
  StructuredForms& forms = *given->structured_outputs;
  output.param =
      forms.name.empty() ? name_of(*given, &given->structured_outputs, interface) : forms.name;
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
  generate.include_stop = generate.include_stop || given.no_stop_trim.value_or(false);
  take(given.ignore_eos, &generate.ignore_eos);
  out.split_special_tokens = given.split_special_tokens;
  take_sampling(given, &generate.sampling);
  take(given.priority, &generate.priority);
  take(given.n, &out.n);
  if (given.seed) out.seed = static_cast<uint64_t>(static_cast<int64_t>(*given.seed));
  out.structured = structured_of(&given, interface);

  take(given.echo, &out.echo);
  generate.logprobs = logprobs_of(given);
  take(given.prompt_logprobs, &out.prompt_logprobs);
  generate.prompt_logprobs = std::max(out.echo ? generate.logprobs : -1, out.prompt_logprobs);
  take(given.skip_special_tokens, &out.skip_special_tokens);
  generate.show_control_tokens = !out.skip_special_tokens;
  take(given.return_tokens_as_token_ids, &out.tokens_as_ids);
  take(given.add_special_tokens, &out.add_special_tokens);
  if (given.truncate_prompt_tokens.value_or(-1) > 0) {
    take(given.truncate_prompt_tokens, &out.truncate_prompt_tokens);
  }
  out.truncate_left = given.truncation_side.value_or("left") == "left";
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
  if (!name || *name == model.name || *name == kAnyModel) return std::nullopt;
  if (name->size() > limits.model_name_bytes) {
    return invalid_parameter("model",
                             str_cat("model is longer than ", limits.model_name_bytes, " bytes"));
  }
  return model_not_found(*name, model);
}

ApiError model_not_found(std::string_view name, const ServedModel& model) {
  return {ErrorKind::kModelNotFound,
          str_cat("The model `", name, "` does not exist; this server serves `", model.name, "`."),
          "model"};
}

std::optional<ApiError> check_token_ids(std::string_view param, std::string_view place,
                                        const std::vector<int32_t>& ids, const ServedModel& model) {
  const auto outside = std::find_if(ids.begin(), ids.end(),
                                    [&](int32_t id) { return id < 0 || id >= model.vocab_size; });
  if (outside == ids.end()) return std::nullopt;
  return invalid_parameter(std::string(param),
                           str_cat(place, "[", outside - ids.begin(), "] is ", *outside,
                                   ": token ids are from 0 to ", model.vocab_size - 1));
}

}  // namespace deltaserve
