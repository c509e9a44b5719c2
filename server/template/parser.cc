#include "server/template/parser.h"

#include <algorithm>

#include "models/base/text.h"

namespace deltaserve {

Parser::Parser(std::vector<TemplateToken> tokens, const TemplateLimits& limits)
    : tokens_(std::move(tokens)), limits_(limits) {}

absl::StatusOr<TemplateTree> Parser::parse() {
  TemplateTree tree;
  tree.loop = symbol("loop");
  tree.caller = symbol("caller");
  tree.varargs = symbol("varargs");
  tree.kwargs = symbol("kwargs");
  tree.body = parse_block({});
  if (failed()) return status_;
  if (!unknown_.empty()) return unknown_.front();
  tree.names = std::move(names_);
  tree.asks_for_none = asks_for_none_;
  return tree;
}

// ---- Tokens and errors

void Parser::fail(std::string_view message) {
  if (failed()) return;
  status_ = invalid_argument("chat template line ", current().line, ": ", message);
  at_ = tokens_.size() - 1;
}

std::string Parser::describe_current() const {
  switch (current().type) {
    case TokenType::kOutputEnd: return "'}}'";
    case TokenType::kBlockEnd: return "'%}'";
    case TokenType::kString: return "a string";
    case TokenType::kInteger:
    case TokenType::kFloat: return "a number";
    case TokenType::kName:
    case TokenType::kOperator: return quoted(current().text);
    default: return "the end of the template";
  }
}

void Parser::fail_at_current() {
  fail(str_cat("unexpected ", describe_current()));
}

bool Parser::too_deep(int depth) {
  if (depth <= limits_.nesting) return failed();
  if (!failed()) {
    const int line = current().line;
    fail("");
    status_ = absl::ResourceExhaustedError(
        str_cat("chat template line ", line, ": nested deeper than ", limits_.nesting));
  }
  return true;
}

bool Parser::skip_operator(std::string_view text) {
  if (!is_operator(text)) return false;
  advance();
  return true;
}

bool Parser::skip_name(std::string_view text) {
  if (!is_name(text)) return false;
  advance();
  return true;
}

void Parser::expect_operator(std::string_view text) {
  if (!skip_operator(text)) fail(str_cat("expected ", quoted(text), ", not ", describe_current()));
}

void Parser::expect(TokenType type, std::string_view what) {
  if (current().type == type) {
    advance();
  } else {
    fail(str_cat("expected ", what, ", not ", describe_current()));
  }
}

std::string Parser::expect_name(std::string_view what) {
  std::string name = current().text;
  expect(TokenType::kName, what);
  return name;
}

Symbol Parser::symbol(std::string_view name) {
  const auto found = symbols_.find(name);
  if (found != symbols_.end()) return found->second;
  const auto made = static_cast<Symbol>(names_.size());
  names_.emplace_back(name);
  symbols_.emplace(std::string(name), made);
  return made;
}

// ---- Statements

std::unique_ptr<Statement> Parser::make(int line, Statement::Node node) {
  return std::unique_ptr<Statement>(new Statement{line, std::move(node)});
}

Block Parser::parse_block(std::initializer_list<std::string_view> ends) {
  const Nesting nesting(this);
  Block block;
  const int first_line = at_ > 0 ? tokens_[at_ - 1].line : 1;
  while (!failed() && !nesting.too_deep()) {
    const int line = current().line;
    if (current().type == TokenType::kEnd) {
      if (ends.size() > 0) {
        fail(str_cat("'", *(ends.end() - 1), "' is missing for the block of line ", first_line));
      }
      return block;
    }
    if (current().type == TokenType::kData) {
      block.push_back(make(line, Data{TaintedText(current().text, true)}));
      advance();
    } else if (current().type == TokenType::kOutputBegin) {
      advance();
      ExpressionPtr value = parse_tuple(true);
      expect(TokenType::kOutputEnd, "'}}'");
      block.push_back(make(line, Output{std::move(value)}));
    } else {
      advance();
      if (std::find(ends.begin(), ends.end(), current().text) != ends.end() &&
          current().type == TokenType::kName) {
        return block;
      }
      parse_tag(&block);
    }
  }
  return block;
}

void Parser::parse_tag(Block* block) {
  const int line = current().line;
  if (current().type != TokenType::kName) return fail("a block tag has no name");
  const std::string name = current().text;
  advance();
  if (name == "if") {
    block->push_back(make(line, parse_if()));
  } else if (name == "for") {
    block->push_back(make(line, parse_for()));
  } else if (name == "set") {
    block->push_back(make(line, parse_set()));
  } else if (name == "macro") {
    block->push_back(make(line, parse_macro()));
  } else if (name == "filter") {
    block->push_back(make(line, parse_filter_block()));
  } else if (name == "break" || name == "continue") {
    block->push_back(make(line, parse_loop_control(name == "break")));
  } else if (name == "generation") {
    block->push_back(make(line, parse_scoped_block("endgeneration")));
  } else if (name == "autoescape") {
    parse_expression();  // nothing is escaped either way
    block->push_back(make(line, parse_scoped_block("endautoescape")));
  } else if (name == "call") {
    block->push_back(make(line, parse_call_block()));
  } else if (name == "with") {
    block->push_back(make(line, parse_with()));
  } else if (name == "block") {
    block->push_back(make(line, parse_named_block()));
  } else if (name == "include" || name == "import" || name == "from" || name == "extends") {
    block->push_back(make(line, parse_unsupported(name)));
  } else if (name.starts_with("end") || name == "else" || name == "elif") {
    fail(str_cat("unexpected tag ", quoted(name)));
  } else {
    fail(str_cat("the tag ", quoted(name), " is not supported"));
  }
}

void Parser::end_tag(std::string_view name) {
  if (!skip_name(name)) fail(str_cat("expected the tag ", quoted(name)));
  expect(TokenType::kBlockEnd, "'%}'");
}

If Parser::parse_if() {
  If statement;
  const size_t known_errors = unknown_.size();
  while (!failed()) {
    ExpressionPtr condition = parse_tuple(false);
    expect(TokenType::kBlockEnd, "'%}'");
    Block body = parse_block({"elif", "else", "endif"});
    statement.branches.emplace_back(std::move(condition), std::move(body));
    if (skip_name("elif")) continue;
    if (skip_name("else")) {
      expect(TokenType::kBlockEnd, "'%}'");
      statement.otherwise = parse_block({"endif"});
    }
    end_tag("endif");
    break;
  }
  unknown_.resize(known_errors);
  return statement;
}

Symbol Parser::parse_target_name() {
  if (is_name("loop") || is_name("true") || is_name("false") || is_name("none") ||
      is_name("True") || is_name("False") || is_name("None")) {
    fail(str_cat("cannot assign to ", quoted(current().text)));
  }
  return symbol(expect_name("a name"));
}

Target Parser::parse_single_target(bool with_attributes) {
  const Nesting nesting(this);
  Target target;
  if (nesting.too_deep()) return target;
  const bool is_list = is_operator("[");
  if (is_list || is_operator("(")) {
    advance();
    target = parse_target(with_attributes);
    expect_operator(is_list ? "]" : ")");
    return target;
  }
  target.symbol = parse_target_name();
  if (with_attributes && skip_operator(".")) target.attribute = expect_name("an attribute's name");
  return target;
}

Target Parser::parse_target(bool with_attributes) {
  Target first = parse_single_target(with_attributes);
  if (!is_operator(",")) return first;
  Target target;
  target.several.push_back(std::move(first));
  while (!failed() && skip_operator(",")) {
    const bool more = (current().type == TokenType::kName && !is_name("in")) || is_operator("(") ||
                      is_operator("[");
    if (more) target.several.push_back(parse_single_target(with_attributes));
  }
  return target;
}

For Parser::parse_for() {
  For statement;
  statement.target = parse_target(false);
  if (!skip_name("in")) fail(str_cat("expected 'in', not ", describe_current()));
  statement.items = parse_tuple(false);
  if (skip_name("if")) statement.filter = parse_expression();
  statement.recursive = skip_name("recursive");
  expect(TokenType::kBlockEnd, "'%}'");
  ++loops_;
  statement.body = parse_block({"else", "endfor"});
  --loops_;
  if (skip_name("else")) {
    expect(TokenType::kBlockEnd, "'%}'");
    statement.otherwise = parse_block({"endfor"});
  }
  end_tag("endfor");
  return statement;
}

Statement::Node Parser::parse_set() {
  Set statement;
  statement.target = parse_target(true);
  if (!skip_operator("=")) return parse_set_block(std::move(statement.target));
  statement.value = parse_tuple(true);
  expect(TokenType::kBlockEnd, "'%}'");
  return statement;
}

Block Parser::parse_body_outside_loops(std::string_view end) {
  const int loops = std::exchange(loops_, 0);
  Block body = parse_block({end});
  loops_ = loops;
  end_tag(end);
  return body;
}

Statement::Node Parser::parse_set_block(Target target) {
  SetBlock statement;
  if (!target.several.empty()) fail("a set block takes one name");
  statement.target = std::move(target);
  if (is_operator("|")) statement.filter = parse_filters(nullptr);
  expect(TokenType::kBlockEnd, "'%}'");
  statement.body = parse_body_outside_loops("endset");
  return statement;
}

FilterBlock Parser::parse_filter_block() {
  FilterBlock statement;
  statement.filter = parse_filters(parse_filter(nullptr));
  expect(TokenType::kBlockEnd, "'%}'");
  statement.body = parse_body_outside_loops("endfilter");
  return statement;
}

ScopedBlock Parser::parse_scoped_block(std::string_view end) {
  expect(TokenType::kBlockEnd, "'%}'");
  return ScopedBlock{parse_body_outside_loops(end)};
}

With Parser::parse_with() {
  With statement;
  while (!failed() && current().type != TokenType::kBlockEnd) {
    if (!statement.variables.empty()) expect_operator(",");
    Target target = parse_single_target(false);
    expect_operator("=");
    statement.variables.emplace_back(std::move(target), parse_expression());
  }
  expect(TokenType::kBlockEnd, "'%}'");
  statement.body = parse_block({"endwith"});
  end_tag("endwith");
  return statement;
}

ScopedBlock Parser::parse_named_block() {
  expect_name("a block's name");
  while (skip_name("scoped") || skip_name("required")) {
  }
  expect(TokenType::kBlockEnd, "'%}'");
  const int loops = std::exchange(loops_, 0);
  ScopedBlock block{parse_block({"endblock"}), true};
  loops_ = loops;
  if (!skip_name("endblock")) fail("expected the tag 'endblock'");
  if (current().type == TokenType::kName) advance();
  expect(TokenType::kBlockEnd, "'%}'");
  return block;
}

Unsupported Parser::parse_unsupported(std::string_view name) {
  while (!failed() && current().type != TokenType::kBlockEnd && current().type != TokenType::kEnd) {
    advance();
  }
  expect(TokenType::kBlockEnd, "'%}'");
  return {str_cat("the tag ", quoted(name), " needs other templates, and there are none")};
}

void Parser::parse_signature(Macro* macro) {
  expect_operator("(");
  while (!failed() && !is_operator(")")) {
    Macro::Parameter parameter;
    parameter.symbol = parse_target_name();
    if (skip_operator("=")) {
      parameter.otherwise = parse_expression();
    } else if (!macro->parameters.empty() && macro->parameters.back().otherwise != nullptr) {
      fail("a parameter without a default follows one with a default");
    }
    macro->parameters.push_back(std::move(parameter));
    if (!is_operator(")")) expect_operator(",");
  }
  expect_operator(")");
}

void Parser::parse_macro_body(std::string_view end, Macro* macro) {
  expect(TokenType::kBlockEnd, "'%}'");
  Macro* const outer = std::exchange(macro_, macro);
  macro->body = parse_body_outside_loops(end);
  macro_ = outer;
}

MacroDefinition Parser::parse_macro() {
  MacroDefinition statement;
  auto macro = std::make_unique<Macro>();
  statement.name = macro->symbol = symbol(macro->name = expect_name("a macro's name"));
  parse_signature(macro.get());
  parse_macro_body("endmacro", macro.get());
  statement.macro = std::move(macro);
  return statement;
}

CallBlock Parser::parse_call_block() {
  CallBlock statement;
  auto caller = std::make_unique<Macro>();
  caller->name = "caller";
  if (is_operator("(")) parse_signature(caller.get());
  statement.call = parse_expression();
  if (!failed() && !std::holds_alternative<Call>(statement.call->node)) {
    fail("the tag 'call' needs a call");
  }
  parse_macro_body("endcall", caller.get());
  statement.caller = std::move(caller);
  return statement;
}

Statement::Node Parser::parse_loop_control(bool is_break) {
  if (loops_ == 0) fail(is_break ? "'break' outside of a loop" : "'continue' outside of a loop");
  expect(TokenType::kBlockEnd, "'%}'");
  if (is_break) return Break{};
  return Continue{};
}

}  // namespace deltaserve
