#include "server/service/chat_renderer.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "absl/strings/str_replace.h"
#include "models/base/text.h"
#include "server/base/shown_value.h"
#include "server/base/suggestion.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

// These roles are those of the APIs. A template may leave out messages of some of them, for
// instance the results of tools.
constexpr std::array<const char*, 6> kCommonRoles = {"system",    "developer", "user",
                                                     "assistant", "tool",      "function"};

std::string text_of(const std::vector<RenderedPart>& parts) {
  std::string whole;
  for (const RenderedPart& part : parts) whole += part.text;
  return whole;
}

// Cuts `parts` after the last occurrence of `content`.
absl::Status cut_behind(std::string_view content, std::vector<RenderedPart>* parts) {
  const std::string whole = text_of(*parts);
  size_t at = whole.rfind(content);
  if (at == std::string::npos) {
    // Templates may trim what they are given.
    const size_t first = content.find_first_not_of(" \t\r\n");
    const size_t last = content.find_last_not_of(" \t\r\n");
    if (first != std::string_view::npos) content = content.substr(first, last - first + 1);
    at = whole.rfind(content);
  }
  if (at == std::string::npos) {
    return invalid_argument(
        "continue_final_message: the template does not write the last message as it is");
  }
  size_t keep = at + content.size();
  for (RenderedPart& part : *parts) {
    const size_t kept = std::min(keep, part.text.size());
    part.text.resize(kept);
    keep -= kept;
  }
  return absl::OkStatus();
}

// Returns a made-up tool that differs from all tools of clients.
json::value made_up_tool() {
  const json::object parameters = {{"type", "object"}, {"properties", json::object()}};
  return {{"type", "function"},
          {"function", {{"name", "~"}, {"description", "~"}, {"parameters", parameters}}}};
}

// Returns the default conventions, for a template whose conventions are unknown.
const ChatConventions& plain_conventions() {
  static const ChatConventions kPlain = {
      .markup = std::make_shared<AnswerMarkup>(nullptr, nullptr, nullptr)};
  return kPlain;
}

// Returns the last bytes of a template's output.
std::string end_of(const ChatRenderer::Parts& parts) {
  constexpr size_t kEnough = 256;
  std::string end;
  for (auto part = parts.rbegin(); part != parts.rend() && end.size() < kEnough; ++part) {
    end.insert(0, part->text);
  }
  return end;
}

// Takes the elements from `size` on out of a list, and puts them back at its end.
class Shortened {
 public:
  Shortened(json::array* list, size_t size) : list_(*list) {
    const auto from = list_.begin() + static_cast<std::ptrdiff_t>(std::min(size, list_.size()));
    rest_.assign(std::make_move_iterator(from), std::make_move_iterator(list_.end()));
    list_.erase(from, list_.end());
    size_ = list_.size();
  }
  ~Shortened() {
    list_.erase(list_.begin() + static_cast<std::ptrdiff_t>(size_), list_.end());
    for (json::value& value : rest_) list_.push_back(std::move(value));
  }
  Shortened(const Shortened&) = delete;
  Shortened& operator=(const Shortened&) = delete;

 private:
  json::array& list_;
  std::vector<json::value> rest_;
  size_t size_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChatRenderer>> ChatRenderer::make(const ServedModel& model,
                                                                 ChatPrompt prompt) {
  std::unique_ptr<ChatRenderer> made(new ChatRenderer(model));
  if (absl::Status status = made->find_template(prompt); !status.ok()) return status;
  made->options_ = with_defaults(prompt);
  made->variables_ = std::move(prompt.variables);
  // Inserts all keys at once, because a later insertion would move the messages while they are
  // shortened.
  made->variables_["add_generation_prompt"] = made->options_.add_generation_prompt;
  for (json::value& message : prompt.messages) made->shaper_->shape(&message.get_object());
  made->variables_["messages"] = std::move(prompt.messages);
  // transformers always gives both variables to a template; they are none if a request has none.
  made->variables_["tools"] = std::move(prompt.tools);
  if (!made->variables_.contains("documents")) made->variables_["documents"] = nullptr;
  made->set_reasoning_effort(prompt.reasoning_effort);
  made->set_verbosity(prompt.verbosity);
  return made;
}

absl::Status ChatRenderer::find_template(const ChatPrompt& prompt) {
  conventions_ = conventions_of(prompt, model_);
  if (prompt.has_template()) {
    absl::StatusOr<std::unique_ptr<const ChatTemplate>> parsed =
        ChatTemplate::parse(*prompt.chat_template);
    if (!parsed.ok()) return prefixed("chat_template", parsed.status());
    own_template_ = *std::move(parsed);
    own_conventions_ = find_conventions(*prompt.chat_template, *own_template_, model_);
    conventions_ = &own_conventions_;
  }
  if (conventions_ == nullptr) conventions_ = &plain_conventions();
  shaper_.emplace(conventions_->history);
  return absl::OkStatus();
}

// Templates know either the effort itself, or only a switch for reasoning.
void ChatRenderer::set_reasoning_effort(const std::optional<std::string>& effort) {
  if (!effort) return;
  const auto set = [&](bool known, const char* name, json::value value) {
    if (known && !variables_.contains(name)) variables_[name] = std::move(value);
  };
  const bool thinks = *effort != "none";
  set(conventions_->knows_reasoning_effort, "reasoning_effort", json::string(*effort));
  set(conventions_->knows_enable_thinking, "enable_thinking", thinks);
  set(conventions_->knows_thinking, "thinking", thinks);
}

void ChatRenderer::set_verbosity(const std::optional<std::string>& verbosity) {
  constexpr const char* kName = "verbosity";
  if (!verbosity || !conventions_->knows_verbosity || variables_.contains(kName)) return;
  variables_[kName] = json::string(*verbosity);
}

std::shared_ptr<const AnswerRules> ChatRenderer::answer_rules(const Parts& prompt) const {
  const AnswerMarkup& markup = *conventions_->markup;
  auto rules = std::make_shared<AnswerRules>();
  rules->markup = conventions_->markup;
  rules->reads_calls =
      num_tools() > 0 && markup.tools() && options_.tool_choice.mode != ToolChoice::Mode::kNone;
  rules->reads_reasoning = markup.reasoning() && options_.separate_reasoning;
  if (!rules->reads_calls && !rules->reads_reasoning) return nullptr;
  rules->tells_reasoning = options_.include_reasoning;
  rules->streams_reasoning = options_.stream_reasoning;
  rules->only_first_call = !options_.parallel_tool_calls;
  rules->calls_decide_finish = options_.tool_choice.mode != ToolChoice::Mode::kNamed;
  rules->calls_before = shaper_->num_calls();
  if (rules->reads_calls) rules->tools = ToolArguments(variables_.at("tools").get_array());
  if (!rules->reads_reasoning) return rules;
  const ReasoningFormat& format = *markup.spelled_reasoning();
  if (options_.continue_final_message) {
    const json::string& content = messages().back().at("content").get_string();
    rules->start = reasoning_within(format, {content.data(), content.size()});
  } else {
    rules->start = reasoning_start(format, end_of(prompt));
  }
  return rules;
}

std::shared_ptr<const AnswerDemand> ChatRenderer::answer_demand(const AnswerRules& rules) const {
  auto demand = std::make_shared<AnswerDemand>();
  demand->markup = rules.markup;
  demand->reads_reasoning = rules.reads_reasoning;
  demand->start = rules.start;
  if (!rules.reads_calls) return demand;
  const ToolChoice& choice = options_.tool_choice;
  const bool named = choice.mode == ToolChoice::Mode::kNamed;
  demand->must_call = named || choice.mode == ToolChoice::Mode::kRequired;
  demand->only_one = named || rules.only_first_call;
  for (const json::value& tool : variables_.at("tools").get_array()) {
    const auto is_it = [&](const std::string& name) {
      return tool.at("function").at("name") == json::string_view(name);
    };
    const bool may_be_called =
        choice.names.empty() || std::any_of(choice.names.begin(), choice.names.end(), is_it);
    if (may_be_called) demand->tools.push_back(tool);
  }
  return demand;
}

const ChatTemplate& ChatRenderer::chat_template() const {
  if (own_template_ != nullptr) return *own_template_;
  const bool for_tools = model_.tool_chat_template != nullptr && !variables_.at("tools").is_null();
  return for_tools ? *model_.tool_chat_template : *model_.chat_template;
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render_variables(bool generation_prompt) {
  variables_.at("add_generation_prompt") = generation_prompt;
  absl::StatusOr<Parts> parts = chat_template().render(variables_, trusted_variables(model_));
  if (!parts.ok()) return prefixed("messages", parts.status());
  text_bytes_ = 0;
  for (const RenderedPart& part : *parts) text_bytes_ += part.text.size();
  return parts;
}

// A template may treat every role that it does not know alike, for instance leave its messages out,
// and the client would never learn of a misspelt one. Each rendering costs time, so only some roles
// are tried.
absl::Status ChatRenderer::check_roles(const Parts& whole) {
  constexpr size_t kMostTried = 4;
  std::vector<std::string> tried;
  for (size_t i = 0; i < messages().size() && tried.size() < kMostTried; ++i) {
    const std::string role(messages()[i].at("role").get_string());
    const auto is_role = [&](std::string_view other) { return other == role; };
    const auto begins_role = [&](std::string_view other) { return role.starts_with(other); };
    if (std::any_of(kCommonRoles.begin(), kCommonRoles.end(), is_role) ||
        std::any_of(tried.begin(), tried.end(), is_role)) {
      continue;
    }
    tried.push_back(role);
    const std::string hint = did_you_mean(role, {kCommonRoles.begin(), kCommonRoles.end()});
    const bool extends = std::any_of(kCommonRoles.begin(), kCommonRoles.end(), begins_role);
    const RoleUse use = use_of_role(role, whole);
    if (use == RoleUse::kKnown || (use == RoleUse::kShown && (hint.empty() || extends))) continue;
    return invalid_argument("messages[", i, "].role ", shown(std::string_view(role)),
                            " is not known to the model's chat template", hint);
  }
  return absl::OkStatus();
}

ChatRenderer::RoleUse ChatRenderer::use_of_role(const std::string& role, const Parts& whole) {
  const std::string made_up = "no-such-role";
  const auto rename = [this](const std::string& from, const std::string& to) {
    for (json::value& message : messages()) {
      json::value& name = message.at("role");
      if (name == json::string_view(from)) name = json::string(to);
    }
  };
  rename(role, made_up);
  const size_t text_bytes = text_bytes_;
  const absl::StatusOr<Parts> other = render_variables(options_.add_generation_prompt);
  text_bytes_ = text_bytes;
  rename(made_up, role);
  if (!other.ok()) return RoleUse::kKnown;
  const std::string text = text_of(*other);
  const std::string wanted = text_of(whole);
  if (text == wanted) return RoleUse::kNone;
  return absl::StrReplaceAll(text, {{made_up, role}}) == wanted ? RoleUse::kShown : RoleUse::kKnown;
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render() {
  absl::StatusOr<Parts> parts = render_variables(options_.add_generation_prompt);
  if (!parts.ok()) return parts;
  if (absl::Status status = check_roles(*parts); !status.ok()) return status;
  if (!options_.continue_final_message) return parts;
  const json::string& content = messages().back().at("content").get_string();
  const absl::Status status = cut_behind({content.data(), content.size()}, &*parts);
  if (!status.ok()) return status;
  return parts;
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render_without_generation_prompt() {
  return render_variables(false);
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render_first(
    size_t count, std::optional<size_t> content_bytes) {
  const Shortened shortened(&messages(), count);
  if (!content_bytes) return render_variables(false);
  json::string& content = messages().back().at("content").get_string();
  const json::string whole = content;
  content.resize(std::min(*content_bytes, content.size()));
  absl::StatusOr<Parts> parts = render_variables(false);
  content = whole;
  return parts;
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render_first_tools(size_t count) {
  json::array& tools = variables_.at("tools").get_array();
  const Shortened shortened(&tools, count);
  tools.push_back(made_up_tool());
  return render_variables(options_.add_generation_prompt);
}

void ChatRenderer::add_answer(const ParsedAnswer& answer) {
  if (options_.continue_final_message && answer.calls.empty()) {
    messages().back().at("content").get_string().append(answer.content);
    return;
  }
  json::object message = message_of(answer);
  shaper_->shape(&message);
  messages().push_back(std::move(message));
  if (answer.calls.empty()) return;
  result_ = {{"role", "tool"}, {"content", ""}};
  result_["name"] = json::string(answer.calls.front().name);
  result_["tool_call_id"] = json::string(answer.calls.front().id);
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render_with_next(std::string_view content) {
  const Shortened shortened(&messages(), messages().size());
  json::object next = result_.empty() ? json::object{{"role", "user"}} : result_;
  next["content"] = json::string(content.data(), content.size());
  shaper_->shape(&next);
  messages().push_back(std::move(next));
  return render_variables(false);
}

size_t ChatRenderer::num_system_messages() const {
  const auto is_other = [](const json::value& message) {
    const json::value& role = message.at("role");
    return role != "system" && role != "developer";
  };
  const auto first = std::find_if(messages().begin(), messages().end(), is_other);
  return static_cast<size_t>(first - messages().begin());
}

size_t ChatRenderer::num_tools() const {
  const json::value* tools = variables_.if_contains("tools");
  return tools != nullptr && tools->is_array() ? tools->get_array().size() : 0;
}

absl::StatusOr<std::vector<int32_t>> encode_parts(const Tokenizer& tokenizer,
                                                  const ChatRenderer::Parts& parts) {
  std::vector<TextPart> texts;
  for (const RenderedPart& part : parts) texts.push_back({part.text, part.trusted});
  return tokenizer.encode_parts(texts);
}

absl::StatusOr<std::vector<int32_t>> encode_chat(const ServedModel& model, ChatPrompt prompt) {
  auto renderer = ChatRenderer::make(model, std::move(prompt));
  if (!renderer.ok()) return renderer.status();
  const absl::StatusOr<ChatRenderer::Parts> parts = (*renderer)->render();
  if (!parts.ok()) return parts.status();
  renderer->reset();  // before the ids are made
  return encode_parts(*model.tokenizer, *parts);
}

}  // namespace deltaserve
