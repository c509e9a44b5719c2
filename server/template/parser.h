// Builds the syntax tree from tokens. Anything that is not supported is an error that names it.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/template/lexer.h"
#include "server/template/limits.h"
#include "server/template/syntax.h"

namespace deltaserve {

class Parser {
 public:
  Parser(std::vector<TemplateToken> tokens, const TemplateLimits& limits);
  // Parses the template; may be called once. INVALID_ARGUMENT or RESOURCE_EXHAUSTED with the line.
  absl::StatusOr<TemplateTree> parse();

 private:
  // ---- Tokens and errors. After an error the current token is the end, and all loops stop.
  const TemplateToken& current() const { return tokens_[at_]; }
  const TemplateToken& following() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void advance() {
    if (current().type != TokenType::kEnd) ++at_;
  }
  bool is_operator(std::string_view text) const { return is(TokenType::kOperator, text); }
  bool is_name(std::string_view text) const { return is(TokenType::kName, text); }
  bool is(TokenType type, std::string_view text) const {
    return current().type == type && current().text == text;
  }
  bool skip_operator(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_operator(std::string_view text);
  void expect(TokenType type, std::string_view what);
  std::string expect_name(std::string_view what);
  bool failed() const { return !status_.ok(); }
  void fail(std::string_view message);
  void fail_at_current();  // "unexpected ..."
  std::string describe_current() const;
  Symbol symbol(std::string_view name);

  // Counts nesting; false and failed() beyond the limit.
  class Nesting;
  bool too_deep(int depth);

  // ---- Statements.
  // Parses up to a tag with one of these names, or to the end of the source if there are none; then
  // the tag's name is the current token.
  Block parse_block(std::initializer_list<std::string_view> ends);
  void parse_tag(Block* block);
  std::unique_ptr<Statement> make(int line, Statement::Node node);
  void end_tag(std::string_view name);
  If parse_if();
  For parse_for();
  Statement::Node parse_set();
  Statement::Node parse_set_block(Target target);
  FilterBlock parse_filter_block();
  MacroDefinition parse_macro();
  CallBlock parse_call_block();
  With parse_with();
  // Parses a macro's parameters, if there are brackets, and its body.
  void parse_signature(Macro* macro);
  void parse_macro_body(std::string_view end, Macro* macro);
  ScopedBlock parse_named_block();
  // Skips a tag that fails when it runs.
  Unsupported parse_unsupported(std::string_view name);
  Statement::Node parse_loop_control(bool is_break);
  ScopedBlock parse_scoped_block(std::string_view end);
  // Parses one target or several, which in a `set` may be attributes.
  Target parse_target(bool with_attributes);
  Target parse_single_target(bool with_attributes);
  Symbol parse_target_name();
  // Parses a body in which break and continue would leave more than a loop's pass.
  Block parse_body_outside_loops(std::string_view end);

  // ---- Expressions, from the loosest to the tightest
  ExpressionPtr parse_tuple(bool with_conditional);
  ExpressionPtr parse_expression();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_comparison();
  std::optional<Comparator> parse_comparator();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concatenation();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filter);
  ExpressionPtr parse_postfix(ExpressionPtr value);
  ExpressionPtr parse_filters(ExpressionPtr value);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_bracketed();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_attribute(ExpressionPtr object);
  ExpressionPtr parse_subscript(ExpressionPtr object);
  ExpressionPtr parse_filter(ExpressionPtr input);
  ExpressionPtr parse_test(ExpressionPtr input);
  bool begins_test_argument() const;
  void note_none_test(const ExpressionPtr& tested);
  // Keeps an error for a filter or test that does not exist.
  void check_known(const Builtin* builtin, std::string_view kind, std::string_view name);
  Arguments parse_arguments();
  ExpressionPtr make(int line, Expression::Node node);
  ExpressionPtr constant(int line, Value::Data data);
  ExpressionPtr text_constant(int line, std::string text);

  const std::vector<TemplateToken> tokens_;
  const TemplateLimits limits_;
  size_t at_ = 0;
  absl::Status status_;
  int nesting_ = 0;
  int loops_ = 0;  // loops that break may leave
  // Errors about filters and tests that do not exist. One inside a conditional is dropped at its
  // end, because it may never run, and then fails only if it does.
  std::vector<absl::Status> unknown_;
  Macro* macro_ = nullptr;  // the innermost
  bool asks_for_none_ = false;
  std::map<std::string, Symbol, std::less<>> symbols_;
  std::vector<std::string> names_;
};

// Enters one level of nesting for its lifetime.
class Parser::Nesting {
 public:
  explicit Nesting(Parser* parser) : parser_(parser) { ++parser_->nesting_; }
  ~Nesting() { --parser_->nesting_; }
  bool too_deep() const { return parser_->too_deep(parser_->nesting_); }

 private:
  Parser* const parser_;
};

}  // namespace deltaserve
