// Templates and variables that want too much: each ends with RESOURCE_EXHAUSTED, soon.
#include <gtest/gtest.h>

#include <string>

#include "tests/server/template/template_testing.h"

namespace deltaserve {
namespace {

std::string repeated(std::string_view text, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

std::string around(std::string_view before, std::string_view inside, std::string_view after,
                   size_t count) {
  return repeated(before, count).append(inside) + repeated(after, count);
}

void expect_exhausted(const absl::Status& status, std::string_view source) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted)
      << source.substr(0, 80) << ": " << status;
}

TEST(TemplateLimits, NestingOfTheSource) {
  for (const size_t depth : {101, 100'000}) {
    TemplateLimits limits;
    limits.source_bytes = 16u << 20;
    const std::string sources[] = {
        "{{ " + around("(", "1", ")", depth) + " }}",
        "{{ " + around("[", "", "]", depth) + " }}",
        "{{ " + around("{'a':", "1", "}", depth) + " }}",
        "{{ " + repeated("not ", depth) + "1 }}",
        "{{ " + repeated("-", depth) + "1 }}",
        "{{ " + repeated("1 + ", depth) + "1 }}",
        "{{ " + repeated("1 ** ", depth) + "1 }}",
        "{{ " + repeated("1 and ", depth) + "1 }}",
        "{{ " + repeated("1 if 1 else ", depth) + "1 }}",
        "{{ a" + repeated(".a", depth) + " }}",
        "{{ a" + repeated("[0]", depth) + " }}",
        "{{ a" + around("[a", "", "]", depth) + " }}",
        "{{ a" + repeated("()", depth) + " }}",
        "{{ " + around("a(", "", ")", depth) + " }}",
        "{{ a" + repeated("|list", depth) + " }}",
        around("{% if 1 %}", "x", "{% endif %}", depth),
        around("{% for a in b %}", "x", "{% endfor %}", depth),
        around("{% set a %}", "x", "{% endset %}", depth),
        around("{% filter upper %}", "x", "{% endfilter %}", depth),
    };
    for (const std::string& source : sources) {
      expect_exhausted(ChatTemplate::parse(source, limits).status(), source);
    }
  }
}

// Python prints no longer integers.
TEST(TemplateLimits, DigitsOfIntegers) {
  for (const char* source :
       {"{{ 10 ** 4300 }}", "{{ 3 ** 1000000000000 }}", "{{ 10 ** 4299 * 10 }}",
        "{{ 2 ** (2 ** 99) }}", "{{ -(10 ** 4299) * 10 }}", "{{ (10 ** 4000) ** 2 }}"}) {
    expect_exhausted(render_text(source).status(), source);
  }
  // Many of them take memory, and work on them takes steps.
  TemplateLimits limits;
  limits.memory_bytes = 1 << 20;
  const std::string many =
      "{% set ns = namespace(l=[]) %}{% for i in range(5000) %}"
      "{% set ns.l = ns.l + [10 ** 4000 + i] %}{% endfor %}";
  expect_exhausted(render_text(many, {}, limits).status(), many);
  limits = {};
  limits.steps = 2'000;
  const std::string long_work = "{% for i in range(100) %}{% set x = 10 ** 4000 * i %}{% endfor %}";
  expect_exhausted(render_text(long_work, {}, limits).status(), long_work);
  EXPECT_TRUE(
      render_text("{% for i in range(100) %}{% set x = 3 * i %}{% endfor %}", {}, limits).ok());
}

TEST(TemplateLimits, SidewaysIsNotNested) {
  const std::string sources[] = {"{{ " + repeated("1 ~ ", 5000) + "1 }}",
                                 "{{ [" + repeated("1,", 5000) + "]|length }}",
                                 repeated("{% if 1 %}x{% endif %}", 5000),
                                 "{% if 0 %}" + repeated("{% elif 0 %}", 5000) + "{% endif %}",
                                 "{{ " + repeated("1 < ", 5000) + "1 }}",
                                 around("{{ (", "1", ") }}", 1)};
  for (const std::string& source : sources) {
    const auto text = render_text(source);
    EXPECT_TRUE(text.ok()) << source.substr(0, 80) << ": " << text.status();
  }
}

TEST(TemplateLimits, SizeOfTheSource) {
  const TemplateLimits limits;
  EXPECT_TRUE(ChatTemplate::parse(std::string(limits.source_bytes, 'x')).ok());
  expect_exhausted(ChatTemplate::parse(std::string(limits.source_bytes + 1, 'x')).status(), "x");
}

const char* const kGreedy[] = {
    // memory
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor "
    "%}",
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor "
    "%}",
    "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor "
    "%}",
    "{{ 'x' * 1000000000000 }}",
    "{{ 'x' * 9223372036854775807 }}",
    "{{ 9223372036854775807 * [1, 2] }}",
    "{{ ('x' * 1000000)|replace('x', 'y' * 1000000) }}",
    "{{ ('x' * 1000000).replace('', 'y' * 1000) }}",
    "{{ ('x' * 10000000).split('x') }}",
    "{{ ('x ' * 10000000).split() }}",
    "{{ ('x ' * 10000000).rsplit() }}",
    "{{ ('\n' * 10000000).splitlines() }}",
    "{{ ('x' * 30000000)|list }}",
    "{{ ('\n' * 100000)|indent(1000, blank=true) }}",
    "{{ ('y' * 100000).join('x' * 100000) }}",
    "{{ range(100000)|join('y' * 100000) }}",
    "{% set x = 'y' * 1000000 %}{% for i in range(1000) %}{{ x }}{% endfor %}",
    "{% set a %}{% for i in range(99999) %}{{ 'y' * 9999 }}{% endfor %}{% endset %}",
    "{% macro f() %}{% for i in range(99999) %}{{ 'y' * 9999 }}{% endfor %}{% endmacro %}{{ f() }}",
    "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}"
    "{% set ns.l = [namespace(a=1, b=2, c=ns)] + ns.l[:50] %}{% for j in range(99999) %}{% endfor "
    "%}"
    "{% endfor %}",
    "{{ '%1001s' % 'a' }}",
    "{{ 'a'|indent(1001) }}",
    "{{ [1]|tojson(indent=1001) }}",
    // lists of the same list
    "{% set ns = namespace(l=['x']) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}"
    "{% endfor %}{{ ns.l }}",
    "{% set ns = namespace(l=['x']) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}"
    "{% endfor %}{{ ns.l|tojson }}",
    "{% set ns = namespace(l=['x'], m=['x']) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] "
    "%}"
    "{% set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}",
    "{% set ns = namespace(l=['x'], m=['x']) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] "
    "%}"
    "{% set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l < ns.m }}",
    // depth
    "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}",
    "{% set ns = namespace(l={}) %}{% for i in range(99999) %}{% set ns.l = {'a': ns.l} %}{% "
    "endfor %}",
    "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% for j in [ns.l] %}"
    "{% set ns.l = loop %}{% endfor %}{% endfor %}",
    "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l]|map('list') %}"
    "{% set ns.l = [ns.l] %}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(x) %}{{ f(f(x)) }}{% endmacro %}{{ f(1) }}",
    "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(a=f()) %}{% endmacro %}{{ f() }}",
    "{% macro f() %}{% call f() %}{% endcall %}{{ caller }}{% endmacro %}{{ f() }}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% set ns = namespace(m=1) %}{% for i in range(99999) %}{% for j in [ns.m] %}"
    "{% macro m() %}{{ j }}{% endmacro %}{% set ns.m = m %}{% endfor %}{% endfor %}",
    "{{ 'a'.ljust(1001) }}",
    "{{ 'a'.zfill(1001) }}",
    "{% set t = 'a ' * 9999 %}{% for i in range(9999) %}{% set x = t|pprint %}{% endfor %}",
    "{% set t = '(ab.com) ' * 9999 %}{% for i in range(9999) %}{% set x = t|urlize %}{% endfor %}",
    "{{ 'a'|center(1001) }}",
    "{{ '{:1001}'.format('a') }}",
    "{{ '{:.1001f}'.format(1.5) }}",
    "{{ '{:{w}}'.format('a', w=1001) }}",
    // time
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% if range(99999)|sum %}{% endif %}{% endfor %}",
    "{% for i in range(99999) %}{% set x = 'a' * 1000000 %}{% endfor %}",
    "{% set x = 'a' * 10000000 %}{% for i in range(99999) %}{{ x|length is none }}{% endfor %}",
    "{% set x = 'a' * 10000000 %}{% for i in range(99999) %}{{ ('b' in x) is none }}{% endfor %}",
    "{% set x = 'a' * 10000000 %}{% for i in range(99999) %}{{ x[9999] is none }}{% endfor %}",
    "{% set x = 'a' * 10000000 %}{% for i in range(99999) %}{{ (x is upper) is none }}{% endfor %}",
    "{% set x = 'a' * 10000000 %}{{ x.rfind('a' * 5000000 ~ 'b') }}",
    "{{ ('a' * 10000000).strip('b' * 1000000) }}",
    "{{ range(100000)|map('string')|unique|list|length }}",
    "{% for i in range(999) %}{{ range(99999)|list|sort(reverse=true)|length }}{% endfor %}",
    "{% for i in range(99999) %}{{ (range(99999)|list) == (range(99999)|list) }}{% endfor %}",
    "{{ range(100001)|length }}",
    "{{ range(-9223372036854775807, 9223372036854775807)|length }}",
    "{{ range(9223372036854775807, -9223372036854775807, -1)|length }}",
};

TEST(TemplateLimits, GreedyTemplates) {
  for (const char* source : kGreedy) {
    expect_exhausted(render_text(source).status(), source);
  }
}

// The text of pprint is counted while it grows, even if there are steps enough for all of it.
TEST(TemplateLimits, PprintIsEndedByItsMemory) {
  TemplateLimits limits;
  limits.steps = limits.total_steps = int64_t{1} << 40;
  limits.memory_bytes = 16u << 20;
  for (const char* source : {"{% set x = {'a' * 100000: range(999)|list}|pprint %}",
                             "{% set x = {'a' * 80: 'a ' * 1000000}|pprint %}"}) {
    const absl::Status status = render_text(source, {}, limits).status();
    expect_exhausted(status, source);
    EXPECT_EQ(status.message(),
              "chat template line 1: the template needs too much memory for its variables");
  }
}

// Deep, but each part within its own limit: it must not need more stack than there is.
TEST(TemplateLimits, EvaluationDepth) {
  const std::string expression = around("[", "f(x)", "]", 45);
  const std::string blocks = around("{% if 1 %}", "{{ " + expression + " }}", "{% endif %}", 45);
  const std::string source = "{% macro f(x) %}" + blocks + "{% endmacro %}{{ f(1) }}";
  const absl::Status status = render_text(source).status();
  expect_exhausted(status, source);
  EXPECT_EQ(std::string(status.message()),
            "chat template line 1: the evaluation is nested deeper than 600");
}

TEST(TemplateLimits, RangeAtItsEnds) {
  EXPECT_EQ(*render_text("{{ range(100000)|length }}"), "100000");
  EXPECT_EQ(*render_text("{{ range(9223372036854775800, 9223372036854775807, 3)|list }}"),
            "[9223372036854775800, 9223372036854775803, 9223372036854775806]");
}

TEST(TemplateLimits, DepthOfVariables) {
  for (const size_t depth : {10u, 63u, 64u, 65u, 400u}) {
    boost::json::value nested = 1;
    for (size_t i = 0; i < depth; ++i) {
      boost::json::array outer;
      outer.push_back(std::move(nested));
      nested = std::move(outer);
    }
    boost::json::object given;
    given["x"] = std::move(nested);
    const auto text = render_text("{{ x|tojson }}{{ x }}{{ x == x }}", given);
    if (depth <= 64) {
      EXPECT_TRUE(text.ok()) << depth << ": " << text.status();
    } else {
      EXPECT_EQ(text.status().message(), "the variable 'x' is nested deeper than 64");
      expect_exhausted(text.status(), "x");
    }
  }
}

TEST(TemplateLimits, RenderedBytes) {
  TemplateLimits limits;
  limits.rendered_bytes = 100;
  EXPECT_TRUE(render_text("{{ 'x' * 100 }}", {}, limits).ok());
  expect_exhausted(render_text("{{ 'x' * 100 }}y", {}, limits).status(), "text");
  expect_exhausted(render_text("{{ 'x' * 101 }}", {}, limits).status(), "text");
}

// The longest conversation that a client may send must fit an ordinary template.
TEST(TemplateLimits, LargeConversationsFit) {
  const char* const source =
      "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
      "{{ raise_exception('order') }}{% endif %}{{ '<|im_start|>' + m['role'] + '\n' + "
      "m['content'] "
      "| trim + '<|im_end|>' + '\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}";
  boost::json::object one;
  one["messages"] = {{{"role", "user"}, {"content", std::string(48u << 20, 'x')}}};
  const auto large = render_text(source, one);
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_GT(large->size(), 48u << 20);

  boost::json::array messages;
  for (int i = 0; i < 20'000; ++i) {
    messages.push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", "hello"}});
  }
  boost::json::object many;
  many["messages"] = std::move(messages);
  const auto long_one = render_text(source, many);
  EXPECT_TRUE(long_one.ok()) << long_one.status();
}

}  // namespace
}  // namespace deltaserve
