"""Makes language.json and models.json: what Jinja2, set up as transformers does it, makes of templates.

Run with Python and Jinja2 3.1 (pip install jinja2): python make_cases.py
A case is a source; they all see VARIABLES. An output line of several expressions keeps the list short.
"""

import copy
import datetime
import json
import pathlib

import jinja2
from jinja2 import ext, nodes, sandbox

HERE = pathlib.Path(__file__).parent
TRUSTED = {"bos_token": "<s>", "eos_token": "</s>"}


class Generation(ext.Extension):
    """{% generation %} marks what a model wrote; it prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def environment():
    env = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = datetime.datetime(2024, 7, 26).strftime
    return env


def render(source, variables):
    # Some filters change lists that they are given.
    variables = copy.deepcopy(variables)
    return environment().from_string(source).render(**TRUSTED, **variables)


VARIABLES = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <|im_end|>"},
        {"role": "assistant", "content": " Hello! "},
        {"role": "user", "content": "Why?"},
    ],
    "s": "Héllo Wörld",
    "n": 7,
    "x": 2.5,
    "t": True,
    "none_": None,
    "l": [3, 1, 2],
    "d": {"b": 1, "a": [1, {"c": None}], "items": "own"},
    "e": [],
    "ts": "  padded\u3000\n",
    "words": ["b", "A", "c", "a"],
    "objs": [{"k": "x", "v": 2}, {"k": "y", "v": 1}, {"k": "X", "v": 3}],
    "neg": -7,
    "big": 9007199254740993,
    "huge": 18446744073709551615,
    "vast": 123456789012345678901234567890,
    "deep": {"at_most": -(2**70), "list": [10**30, 1.0, 1e22, 1e-7, -0.0, 5e-324, 0.1, 2**63]},
    "digits": 10**4299,
    "reals": [9007199254740993.5, 1.7976931348623157e308, 2.2250738585072014e-308, 8.41e21, 9.5367431640625e-7],
}

LANGUAGE = {
    "whitespace": [
        "a\n{% if true %}\nb\n{% endif %}\nc\n",
        "a\n  {% if true %}  \n  b\n  {% endif %}c",
        "  {{ 1 }}  \n{{ 2 }}\n",
        "a  {%- if true -%}  b  {%- endif -%}  c",
        "a  {{- 1 -}}  b",
        "x\n   {%+ if true %}y{% endif %}",
        "{% if true +%}\nx\n{% endif +%}\ny",
        "a{# c #}\nb",
        "  {# c #}\n  b",
        "a  {#- c -#}  b",
        "a {#+ c +#}\nb",
        "x {% if true %}  y {% endif %}  z",
        "{% raw %}{{ x }} {% if %}{% endraw %}\nz",
        "{%- raw -%}  {{ x }}  {%- endraw -%}  z",
        "\n\n  {%- set a = 1 %}\n  {%- set b = 2 -%}\n  {{ a }}{{ b }}\n\n",
        "a\r\nb\rc\n{% set q = 'x\r\ny' %}{{ q }}",
        "line\n\n",
        "{{ 'a' }}\n{% set x = 1 %}\n{{ x }}\n",
        "{{ '{%' }}{{ \"}}\" }}{{ {'a': {'b': 2}}['a']['b'] }}",
        "{{'a'-}}   {{-'b'}}",
        "  \t{% set a = 1 %}\n\t{{ a }}",
        "{% for i in [1,2] %}\n  {% if i == 1 %}\n    one\n  {% else %}\n    two\n  {% endif %}\n{% endfor %}\nend",
        "{# a #}{# b #}\n{# c\n d #}\ne",
        "a\n\n{% if true %}\n\nb\n{% endif %}",
        "{% raw %}\na\n  {% endraw %}\nb",
        " {% if true %} {% endif %} x",
    ],
    "literals": [
        "{{ 'a\\n\\t\\\\\\'\\x41\\u00e9\\U0001F600\\101\\d' }}",
        "{{ \"q'\" 'w' }}",
        "{{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1.5 }} {{ 1e3 }} {{ 2.5e-7 }} {{ 1e16 }} {{ 123456789.123 }} {{ 1_0.5 }}",
        "{{ true }} {{ True }} {{ false }} {{ False }} {{ none }} {{ None }}",
        "{{ [1, 'a', 2.0, none, true, [], {}] }}",
        "{{ (1,) }} {{ () }} {{ (1, 'b') }} {{ 1, 2 }}",
        "{{ {'a': 1, 'b': [1, {'c': \"it's\"}]} }}",
        "{{ ['a\"b', \"a'b\", 'a\\'\"b', 'new\\nline', 'é\\u200b'] }}",
        "{{ {'a': 1, 'a': 2} }}",
        "{{ 0.1 + 0.2 }} {{ 1/3 }} {{ 100000000000000000.0 }} {{ 0.0001 }} {{ 0.00001 }} {{ -0.0 }} {{ 1e22 }} {{ 1e15 }}",
        "{{ [1,2,] }} {{ {'a':1,} }}",
        "{{ 00 }}",
    ],
    "operators": [
        "{{ 1 + 2 * 3 - 4 // 3 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 10 }}",
        "{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % -2 }} {{ -7.5 // 2 }}",
        "{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** -1 }} {{ 2.0 ** 0.5 }}",
        "{{ 'a' ~ 1 ~ none ~ true ~ 2.0 ~ undef }}",
        "{{ 'a' + 'b' * 3 }} {{ [1] + [2] * 2 }} {{ (1,) + (2,) }} {{ 3 * 'ab' }} {{ 'a' * -1 }}|",
        "{{ 1 ~ 2 + '3' }}",
        "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' != 'b' }} {{ [1,2] == [1,2] }} {{ [1] == (1,) }} {{ {'a':1,'b':2} == {'b':2,'a':1} }} {{ none == undef }} {{ undef == undef2 }}",
        "{{ 'b' in 'abc' }} {{ 'z' not in 'abc' }} {{ 2 in l }} {{ 'a' in d }} {{ 9 in d }} {{ 1 in (1,2) }} {{ 'x' in undef }} {{ not 1 in [1] }}",
        "{{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ '' or none }} {{ not '' }} {{ not not 1 }} {{ 1 or undef.x }}",
        "{{ 'y' if true }}{{ 'n' if false }}|{{ 'a' if 0 else 'b' if 0 else 'c' }}",
        "{{ 5 if 1 else 2 + 3 }}",
        "{{ -n }} {{ +n }} {{ - -n }} {{ -x }} {{ -true }} {{ +true }}",
        "{{ [1,2] < [1,3] }} {{ 'a' < 'B' }} {{ (1,2) <= (1,2) }} {{ [1] >= [] }} {{ 'é' > 'z' }}",
        "{{ -1|abs }} {{ (-5)|abs }} {{ n|string + 'x' }} {{ 'a' ~ 1 + '2' }}",
        "{{ 1 if n is defined and n > 3 else 0 }}",
        "{{ '%s and %d: %5.2f|%-5s|%05d|%x|%%|%r' % ('a', 3.7, 1.005, 'l', -42, 255, 'q') }}",
        "{{ 'one %s' % 'x' }} {{ '%(a)s-%(b)s' % {'a': 1, 'b': none} }} {{ '%s' % l }}",
        "{{ big + 1 }} {{ big == 9007199254740992.0 }} {{ 9007199254740993 > 9007199254740992.0 }}",
        "{{ 1 is number and 2 is number }}",
        "{{ not n is string }}",
        "{{ l is sequence and l|length > 2 }}",
        "{{ x if x is defined else 'no' }} {{ 'yes' if nope is undefined else 'no' }}",
        "{{ 7 is divisibleby 7 }} {{ 7 is divisibleby(2) }} {{ 3 is odd }} {{ 4 is even }} {{ n == 7 is true }}",
        "{{ true + true }} {{ true * 2.0 }} {{ 'ab' * true }}",
        "{{ 10 - 2 - 3 }} {{ 100 / 10 / 2 }} {{ 'a' ~ 'b' == 'ab' }} {{ 1 + 2 == 3 and 'k' }}",
        "{{ '%.2s|%5s|' % ('é€x', 'é') }}",
    ],
    "numbers": [
        "{{ vast }} {{ [vast] }} {{ deep }} {{ vast|string }} {{ vast ~ 'x' }} {{ vast|length if false else vast|int }}",
        "{{ deep|tojson }} {{ {'k': vast}|tojson(indent=2) }} {{ vast|tojson }} {{ {vast: huge}|tojson }} {{ reals|tojson }} {{ reals }}",
        "{{ vast == 123456789012345678901234567890 }} {{ vast == vast + 1 }} {{ vast > huge }} {{ deep.at_most < 0 }} {{ huge < vast < 1e30 }} {{ deep.list[7] == 2 ** 63 }} {{ vast == 1.2345678901234568e29 }} {{ huge == 18446744073709551616.0 }} {{ huge < 18446744073709551616.0 }}",
        "{{ [vast, 1, huge, -5, 2.5, deep.at_most]|sort }} {{ [vast, huge]|max }} {{ [vast, deep.at_most]|min }} {{ vast in [1, vast] }} {{ {vast: 'a'}[vast] }} {{ [vast, vast]|unique|list }}",
        "{{ vast + 1 }} {{ vast - vast }} {{ vast * -2 }} {{ vast // 7 }} {{ -vast // 7 }} {{ vast % 1000 }} {{ -vast % 1000 }} {{ vast % -1000 }} {{ vast ** 2 }} {{ 2 ** 200 }} {{ vast ** 0 }} {{ (l[1] - 2) ** vast }} {{ (l[1] - 2) ** huge }} {{ 0 ** vast }}",
        "{{ vast / 7 }} {{ vast / huge }} {{ 1 / vast }} {{ -vast / 3 }} {{ 9007199254740993 / 1 }} {{ 9007199254740993 / 3 }} {{ digits / (digits - 1) }} {{ 2 ** -2 }} {{ vast ** -1 }} {{ vast * 1.5 }} {{ vast + 0.5 }}",
        "{{ 9223372036854775807 + 1 }} {{ -9223372036854775807 - 2 }} {{ 4294967296 * 4294967296 }} {{ 2 ** 63 }} {{ (-9223372036854775807 - 1) // -1 }} {{ -(-9223372036854775807 - 1) }} {{ 2 ** 63 - 1 - 2 ** 62 }}",
        "{{ -vast }} {{ +vast }} {{ (-vast)|abs }} {{ vast|float }} {{ huge|float }} {{ vast|round }} {{ vast|round(2, 'floor') }} {{ 1e300|int }} {{ '99999999999999999999'|int }} {{ '-0x1ffffffffffffffffffff'|int(base=16) }} {{ '1e25'|int }} {{ [vast, huge, 1]|sum }}",
        "{{ vast is number }} {{ vast is integer }} {{ vast is float }} {{ vast is odd }} {{ vast is even }} {{ vast is divisibleby 10 }} {{ vast is string }} {{ vast is boolean }} {{ 'y' if vast }} {{ vast is sameas none }} {{ vast is gt 5 }}",
        "{{ '%d %s %x %o %e %5.1f %r %i' % (vast, vast, vast, huge, vast, huge, vast, 1e25) }} {{ '%35d|%-35d|%035d|%+d' % (vast, vast, vast, vast) }}",
        "{{ '{} {:d} {:,} {:_} {:x} {:#X} {:b} {:o} {:e} {:.3f} {:g} {:>35} {:+}'.format(vast, vast, vast, vast, vast, vast, huge, vast, vast, vast, vast, vast, vast) }} {{ '{:,}'.format(deep.at_most) }}",
        "{{ 99999999999999999999 }} {{ 0xffffffffffffffffffff }} {{ 1_000_000_000_000_000_000_000 }} {{ -99999999999999999999 }} {{ l[:99999999999999999999] }} {{ l[-99999999999999999999:] }} {{ s[99999999999999999999:] }}|{{ l[99999999999999999999] }}|",
        "{{ digits|string|length }} {{ (digits * 9)|string|length }} {{ vast|pprint }} {{ [vast, 1.0]|join(',') }} {{ vast|default('x') }} {{ vast|trim }} {{ vast|string|int == vast }}",
    ],
    "access": [
        "{{ d.b }} {{ d['b'] }} {{ d.a.0 }} {{ d.a[1].c }} {{ d['items'] }} {{ d.nope }}|{{ d['nope'] }}|{{ l.7 }}|{{ l[-1] }} {{ l[-4] }}|{{ s[1] }} {{ s[-1] }} {{ s[99] }}|",
        "{{ messages[0].role }} {{ messages[-1]['content'] }} {{ messages[0]['role'][0] }}",
        "{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[5:] }} {{ l[-2:] }} {{ l[2:0:-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ s[:-6] }} {{ s[-3:-1] }} {{ (1,2,3)[1:] }} {{ s[10:2] }}|{{ s[::3] }} {{ s[8:1:-2] }}",
        "{{ messages[1:]|length }} {{ messages[::-1][0].content }}",
        "{{ d.items()|list }} {{ d.keys()|list }} {{ d.values()|list }}",
        "{{ d.get('b') }} {{ d.get('z') }} {{ d.get('z', 5) }}",
        "{{ d.items() }} {{ d.keys() }} {{ d.values() }}",
        "{{ l[true] }} {{ l[none:2] }} {{ l[0:undef or none] }}",
        "{{ 'abc'[1:][0] }} {{ {'x':{'y':[1,2,{'z':'deep'}]}}.x.y[2].z }}",
        "{% if d.keys %}method{% endif %}{{ d.items is callable }}",
        "{{ s.upper() }} {{ s['upper']() }} {{ d['get']('b') }}",
        "{{ l[1:2][0] }}{{ messages[0]['nope'] is defined }}{{ messages[0].nope is not defined }}",
    ],
    "methods": [
        "[{{ ts.strip() }}] [{{ ts.lstrip() }}] [{{ ts.rstrip() }}] [{{ 'xxaxbxx'.strip('x') }}] [{{ 'abcba'.lstrip('ab') }}] [{{ 'abé'.rstrip('é') }}]",
        "{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ ' a b  c '.split(none, 1) }} {{ ''.split() }} {{ ''.split(',') }}",
        "{{ 'a--b--c'.split('--')[-1] }} {{ '<think>x</think>y'.split('</think>')[0].split('<think>')[-1] }}",
        "{{ 'l1\\nl2\\r\\nl3\\n'.splitlines() }} {{ ''.splitlines() }}",
        "{{ s.startswith('Hé') }} {{ s.endswith(('x','d')) }} {{ s.startswith('x') }} {{ s.endswith('') }}",
        "{{ s.upper() }} {{ s.lower() }} {{ 'ab cd-ef'.title() }} {{ \"they're\".title() }} {{ 'ABC dEF'.capitalize() }} {{ 'ёж'.upper() }} {{ 'ΑΒΓ'.lower() }}",
        "{{ 'aaa'.replace('a', 'b') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('', '-', 2) }} {{ 'é'.replace('', '.') }} {{ 'aaaa'.replace('aa', 'b') }} {{ ''.replace('', 'x') }}",
        "{{ ', '.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '-'.join(d) }} {{ ','.join([]) }}|",
        "{{ s.find('l') }} {{ s.find('zz') }} {{ s.rfind('l') }} {{ s.count('l') }} {{ s.count('') }} {{ 'aaa'.count('aa') }} {{ s.find('W') }} {{ s.find('') }} {{ s.rfind('') }}",
        "{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'x'.removeprefix('y') }}",
        "{{ messages|map(attribute='role')|list }}",
        "{{ 'x'.strip() ~ ' y '.strip() }}{{ 'a b'.split(' ')[0] + 'z' }}",
        "{{ ' a b '.rsplit() }} {{ 'a-b-c'.rsplit('-') }} {{ 'a b c d'.split(maxsplit=2) }} {{ 'aXbXc'.split(sep='X') }}",
    ],
    "filters": [
        "[{{ ts|trim }}] {{ 'xxaxx'|trim('x') }} {{ 5|trim }}",
        "{{ s|upper }} {{ s|lower }} {{ 'hello wORLD (foo) a-b <x'|title }} {{ 'hELLO w'|capitalize }}",
        "{{ s|length }} {{ l|length }} {{ d|count }} {{ undef|length }} {{ ''|length }}",
        "{{ undef|default('x') }} {{ none_|default('x') }} {{ none_|default('x', true) }} {{ ''|d('y', boolean=true) }} {{ 0|default(3) }} {{ undef|default }}|",
        "{{ l|join(', ') }} {{ objs|join('/', attribute='k') }} {{ 'abc'|join('-') }} {{ [1,none,true]|join }}",
        "{{ 'aXbX'|replace('X', 'y') }} {{ 'aXbX'|replace('X', 'y', 1) }} {{ 121|replace(1, 3) }}",
        "{{ l|first }} {{ l|last }} {{ e|first }}|{{ e|last }}|{{ s|first }} {{ s|last }} {{ d|first }} {{ ''|first }}|",
        "{{ 'abc'|list }} {{ d|list }} {{ (1,2)|list }} {{ range(3)|list }} {{ undef|list }}",
        "{{ messages|tojson }}",
        "{{ d|tojson }} {{ d|tojson(indent=2) }} {{ {}|tojson(indent=2) }} {{ []|tojson(indent=4) }}",
        "{{ 'é\"\\\\\\n\\t\\b\\u0001\\u007f/<😀'|tojson }} {{ 'é😀\\u007f'|tojson(ensure_ascii=true) }}",
        "{{ d|tojson(separators=(',', ':')) }} {{ d|tojson(sort_keys=true) }} {{ {'b':1,'a':{'d':1,'c':2}}|tojson(sort_keys=True, indent=1) }} {{ [1,[2,(3,)]]|tojson(indent='--') }} {{ 1.0|tojson }} {{ 1e300|tojson }} {{ none|tojson }} {{ (1,2)|tojson(indent=0) }}",
        "{{ messages|tojson(indent=4) }}",
        "{{ '42'|int }} {{ ' 42 '|int }} {{ '42.7'|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ '0x1f'|int(base=16) }} {{ '1f'|int(0, 16) }} {{ 3.9|int }} {{ true|int }} {{ none|int }} {{ '-3'|int }} {{ '1_0'|int }} {{ ''|int }} {{ '-3.9'|int }} {{ '101'|int(0,2) }}",
        "{{ '4.5'|float }} {{ 3|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ '1e3'|float }} {{ ' 2 '|float }} {{ '1_0.5'|float }}",
        "{{ 1|string }} {{ none|string }} {{ l|string }} {{ 'a'|string }} {{ undef|string }}|",
        "{{ -3|abs }} {{ neg|abs }} {{ -2.5|abs }}",
        "{{ 2.567|round(2) }} {{ 2.5|round }} {{ 3.5|round }} {{ 2.1|round(0, 'ceil') }} {{ 2.9|round(method='floor') }} {{ 7|round }} {{ 2.675|round(2) }} {{ 42|round(1, 'floor') }} {{ -2.5|round }}",
        "{{ objs|map(attribute='k')|join(',') }} {{ words|map('upper')|list }} {{ objs|map(attribute='z', default='-')|list }} {{ [[1,2],[3]]|map('join', '+')|list }} {{ [[1,2],[3,4]]|map(attribute=1)|list }} {{ [{'a':{'b':5}}]|map(attribute='a.b')|list }} {{ l|map('string')|map('length')|list }}",
        "{{ [0,1,2,none,'']|select|list }} {{ l|select('odd')|list }} {{ [0,1,2]|reject|list }} {{ l|reject('equalto', 1)|list }} {{ l|select('gt', 1)|list }} {{ l|select('in', [1,2])|list }}",
        "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list }} {{ messages|rejectattr('role', '==', 'user')|list|length }} {{ objs|selectattr('z')|list }} {{ objs|selectattr('k', 'defined')|list|length }} {{ messages|selectattr('role','eq','system')|first }}",
        "{% if messages|selectattr('role', 'eq', 'nobody') %}always{% endif %}{% if messages|selectattr('role', 'eq', 'nobody')|list %}never{% endif %}",
        "{{ ['a','b','A','a']|unique|list }} {{ [1,1.0,2,true]|unique|list }} {{ ['a','A']|unique(case_sensitive=true)|list }} {{ objs|unique(attribute='k')|map(attribute='v')|list }}",
        "{{ l|sort }} {{ l|sort(reverse=true) }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ objs|sort(attribute='v')|map(attribute='k')|list }} {{ objs|sort(attribute='k')|map(attribute='v')|list }} {{ objs|sort(attribute='k', reverse=true)|map(attribute='v')|list }} {{ d|sort }} {{ [[2,1],[1,5]]|sort }}",
        "{{ l|reverse|list }} {{ s|reverse }} {{ d|reverse|list }}",
        "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}{{ undef|items|list }}",
        "{{ d|dictsort }} {{ {'b':1,'A':2}|dictsort }} {{ {'b':1,'A':2}|dictsort(true) }} {{ {'b':1,'A':2}|dictsort(by='value') }} {{ {'b':1,'A':2}|dictsort(reverse=true) }}",
        "{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb\\n'|indent(width=1, blank=true) }}|{{ 'a\\nb'|indent('> ') }}|{{ ''|indent(3, first=true) }}|",
        "{{ '<b>\"&\\''|e }} {{ '<'|escape }} {{ '<b>'|safe }}",
        "{{ '<'|safe + '<' }} {{ '<' + '&'|safe + s + '\"'|e + '<' }} {{ '<'|e|e }} {{ '<'|safe|e }} {{ '<'|e|forceescape }}",
        "{{ '<'|safe ~ '<' }} {{ ('<'|safe * 2) + '<' }} {{ ['<'|safe, '<']|join('&') }} {{ ('<'|safe)|string + '<' }} {{ ('<b>'|safe)|length }}",
        "{{ l|sum }} {{ objs|sum(attribute='v') }} {{ l|sum(start=10) }} {{ []|sum }} {{ [0.5, 1]|sum }}",
        "{{ l|min }} {{ l|max }} {{ words|min }} {{ words|max }} {{ e|min }}| {{ objs|max(attribute='v') }} {{ words|max(case_sensitive=true) }}",
        "{{ '%s-%s'|format('a', 1) }} {{ '%(x)s'|format(x=2) }}",
        "{{ s|upper|lower|title|replace('W','V')|length }}",
        "{{ 'a b'|title|trim ~ 'x'|upper }}",
        "{{ range(5)|sum }} {{ range(1, 10, 3)|list }} {{ range(3, 0, -1)|list }} {{ range(0)|list }} {{ range(5)[1:3]|list }} {{ 3 in range(5) }}",
        "{{ {'z':1}|length }} {{ [d, d]|map(attribute='b')|sum }}",
        "{{ l|map('float')|list }} {{ ['1','2']|map('int')|sum }}",
        "{{ messages|map(attribute='content')|map('trim')|join('|') }}",
    ],
    "tests": [
        "{{ n is defined }} {{ zz is defined }} {{ zz is undefined }} {{ none_ is none }} {{ none_ is not none }} {{ s is string }} {{ n is string }} {{ n is number }} {{ x is number }} {{ t is number }} {{ n is integer }} {{ t is integer }} {{ x is float }} {{ t is boolean }} {{ n is boolean }}",
        "{{ d is mapping }} {{ l is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ n is sequence }} {{ zz is sequence }} {{ range(2) is sequence }} {{ d.items() is sequence }} {{ (1,) is sequence }}",
        "{{ l is iterable }} {{ n is iterable }} {{ s is iterable }} {{ zz is iterable }} {{ d is iterable }} {{ l|map('string') is iterable }} {{ none is iterable }}",
        "{{ t is true }} {{ t is false }} {{ 1 is true }} {{ false is false }}",
        "{{ 3 is odd }} {{ 3 is even }} {{ -3 is odd }} {{ 9 is divisibleby 3 }} {{ 2.0 is even }}",
        "{{ 1 is eq 1 }} {{ 1 is equalto 2 }} {{ 1 is ne 2 }} {{ 2 is gt 1 }} {{ 2 is lt 1 }} {{ 2 is ge 2 }} {{ 1 is le 0 }} {{ 1 is in [1] }} {{ 'a' is in 'abc' }}",
        "{{ none is sameas none }} {{ true is sameas true }} {{ l is sameas l }} {{ 1 is sameas true }} {{ [] is sameas [] }}",
        "{{ 'ABC' is upper }} {{ 'aBC' is upper }} {{ 'abc' is lower }} {{ '12' is lower }} {{ 'É1' is upper }}",
        "{{ range is callable }} {{ n is callable }} {{ zz is callable }} {{ s.upper is callable }}",
        "{{ messages[0] is mapping and messages[0].content is string }} {{ messages is iterable and messages is not string }}",
    ],
    "statements": [
        "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {{ loop.previtem.role if not loop.first }}>{{ loop.nextitem.role if loop.nextitem is defined }};{% endfor %}",
        "{% for x in [] %}a{% else %}none{% endfor %}{% for x in undef %}b{% else %}nothing{% endfor %}",
        "{% for k, v in d.items() %}{{ k }}:{{ v }} {% endfor %}{% for (a, b) in [(1,2),[3,4]] %}{{ a }}-{{ b }} {% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'hé' %}[{{ c }}]{% endfor %}",
        "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }} {{ m.content }} {% else %}no{% endfor %}{% for m in l if m > 5 %}x{% else %}no{% endfor %}",
        "{% for i in range(6) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
        "{% for i in [1,2] %}{% for j in [1,2] %}{{ loop.index }}{{ i }}{{ j }} {% endfor %}{{ loop.index }};{% endfor %}",
        "{% for i in [1,2] %}{% set outer = loop %}{% for j in 'ab' %}{{ outer.index }}{{ j }} {% endfor %}{% endfor %}",
        "{% if n == 1 %}a{% elif n == 7 %}b{% else %}c{% endif %}{% if not n %}x{% elif none_ %}y{% else %}z{% endif %}{% if undef %}u{% endif %}{% if e %}e{% endif %}{% if d %}d{% endif %}",
        "{% set a = 1 %}{% for i in l %}{% set a = i %}{% endfor %}{{ a }}{% if true %}{% set a = 9 %}{% endif %}{{ a }}",
        "{% set ns = namespace(count=0, found=false) %}{% for i in l %}{% set ns.count = ns.count + i %}{% set ns.last = i %}{% endfor %}{{ ns.count }} {{ ns.found }} {{ ns.last }} {{ ns.nope }}|{{ ns.nope is defined }}",
        "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set x = (1, 2) %}{{ x }}{% set y = 1, %}{{ y }}{% set a, b = 'xy' %}{{ a }}{{ b }}",
        "{% set block %}\n  hi {{ n }}\n{% endset %}[{{ block }}]{% set b2 | trim | upper %}  {{ block }} {% endset %}[{{ b2 }}]{% set q = 5 %}{% set blk %}{% set q = 6 %}{{ q }}{% endset %}{{ blk }}{{ q }}",
        "{% macro f(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ f(1) }}{{ f(1, 5) }}{{ f(b=3, a='x') }}{{ f() }}{{ f(1, c=none) }}",
        "{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * (fact(n - 1)|int) }}{% endif %}{% endmacro %}{{ fact(10) }}",
        "{% set g = 'global' %}{% macro m() %}{{ g }}{{ later }}{% endmacro %}{% set later = 'L' %}{{ m() }}{% set g = 'changed' %}{{ m()|upper }}",
        "{% macro tree(x, depth=0) %}{{ '  ' * depth }}{% if x is mapping %}{{ '{' }}{% for k, v in x|items %}{{ k }}: {{ tree(v, depth + 1) }}{% endfor %}{{ '}' }}{% elif x is iterable and x is not string %}[{% for i in x %}{{ tree(i, depth+1) }},{% endfor %}]{% else %}{{ x }}{% endif %}{% endmacro %}{{ tree(d) }}",
        "{% macro a(x) %}<{{ x }}>{% endmacro %}{% macro b(x) %}{{ a(x) }}{{ a(x ~ x) }}{% endmacro %}{{ b('z') }}{{ [a('q'), 1] }}",
        "{% filter upper %}abc {{ s }}{% endfilter %}{% filter trim|replace('a', 'b') %}  banana {% endfilter %}",
        "{% generation %}x{{ n }}{% set gg = 1 %}{% endgeneration %}{{ gg is defined }}",
        "{% for m in messages %}{%- if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}",
        "{% set d2 = dict(a=1, b='x') %}{{ d2 }} {{ dict(d2, c=3) }} {{ d2.a }}",
        "{{ strftime_now('%Y-%m-%d %d %b %Y %A %-d %%') }}",
        "{% set l2 = l + [4] %}{% for i in l2[1:] %}{{ i }}{{ ',' if not loop.last }}{% endfor %}",
        "{% for a, b in {'k': 'v'}.items() %}{{ a ~ b }}{% endfor %}{% for i in range(2) %}{% for j in range(2) %}{% if j == 1 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in l %}{% set ns.x = ns.x + [i * 2] %}{% endfor %}{{ ns.x|join('+') }}",
        "{% for i in l %}{{ x1 }}{% set x1 = i %}{{ x1 }} {% endfor %}{{ x1 }}",
        "{% if true %}{% macro inner(q) %}I{{ q }}{% endmacro %}{% endif %}{{ inner(1) }}",
        "{% for i in [1] %}{% set v = i %}{% if true %}{% set v = 2 %}{% endif %}{{ v }}{% endfor %}",
        "{% macro k(loop_index) %}{{ loop_index }}{% endmacro %}{% for i in l %}{{ k(loop.index) }}{% endfor %}",
        "{{ bos_token }}{{ eos_token }}{{ bos_token ~ 'x' }}",
        "{% for m in messages %}{% if loop.first and m.role == 'system' %}S{% endif %}{% if (m.role == 'user') != (loop.index0 % 2 == 1) %}bad{% endif %}{% endfor %}",
        "{%- for m in messages -%}\n  {{- m.role -}}\n{%- endfor -%}\n",
        "{% for i in range(3) %}{{ i }}{% endfor %}",
        "{% set x %}{% for i in l %}{{ i }}{% endfor %}{% endset %}{{ x|length }}",
        "{% set a = 1 %}{{ a }}",
        "{% macro o(x='d') -%}\n  [{{ x }}]\n{%- endmacro %}{{ o() }}{{ o('y') }}",
        "{% for x in 'ab' %}{% for y in 'cd' if y != 'c' %}{{ x }}{{ y }}{{ loop.length }}{% endfor %}{% endfor %}",
    ],
    "calls": [
        "{% macro box(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call box('a') %}in {{ n }}{% endcall %}",
        "{% macro each(items) %}{% for i in items %}{{ caller(i, loop.index) }};{% endfor %}{% endmacro %}{% for w in words %}{% call(x, k) each(l) %}{{ w }}{{ x }}{{ k }}{% endcall %}|{% endfor %}",
        "{% macro opt() %}{{ caller() if caller else 'no caller' }}{% endmacro %}{{ opt() }}{% call opt() %}yes{% endcall %}",
        "{% macro f(a, b='B') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, 4) }}{{ f(1, z=5) }}{{ f(*l) }}{{ f(*[1], **{'b': 2}) }}",
        "{% macro g(x, y) %}{{ x }}-{{ y }}{% endmacro %}{{ g(*'ab') }} {{ g(**{'y': 1, 'x': 2}) }} {{ g(1, *[2]) }}",
        "{{ range(*[1, 4])|list }} {{ 'a-b'.split(*['-']) }} {{ dict(**{'k': 1}) }}",
        "{% for w in words %}{% macro m(q) %}{{ w }}{{ q }}{% endmacro %}{{ m(loop.index) }};{% endfor %}",
        "{% macro outer(a) %}{% macro inner(b) %}{{ a }}{{ b }}{% endmacro %}{{ inner(1) }}{{ inner(2) }}{% endmacro %}{{ outer('x') }}",
        "{% for i in [1] %}{% macro down(k) %}{{ k }}{% if k > 0 %}{{ down(k - 1) }}{% endif %}{% endmacro %}{{ down(3) }}{% endfor %}",
    ],
    "keys": [
        "{{ {1: 'a', 2.5: 'b', true: 'c', none: 'd', (1, 2): 'e'} }}",
        "{% set m = {0: 'zero', 1: 'one', 'k': 'v'} %}{{ m[0] }}{{ m[1.0] }}{{ m[true] }}{{ m.k }}{{ m['k'] }}{{ m.get(1) }}{{ m.get(7, 'no') }}{{ 1 in m }}{{ '1' in m }}{{ m[2] }}|",
        "{{ {(1, 'a'): 'pair'}[(1, 'a')] }} {{ {1: 2}|tojson }} {{ {none: 1, true: 2, 1.5: 3}|tojson }}",
        "{{ dict([(1, 'a'), ('b', 2)]) }} {{ {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 'a': 10}[9] }} {{ {3: 1, 1: 2}|dictsort }}",
        "{{ {1: 'a', 1.0: 'b'} }} {{ {'a': 1} == {'a': 1.0} }} {{ {1: 'x'} == {true: 'x'} }}",
    ],
    "format": [
        "{{ '{} and {}'.format('a', 1) }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x}-{y}'.format(x=1, y=none) }} {{ '{{}}'.format() }}",
        "{{ '{:>6}|{:<6}|{:^6}|{:*^7}|{:06d}|{:+d}|{: d}'.format('a', 'b', 'c', 'd', 42, 7, 7) }}",
        "{{ '{:.2f}|{:8.3f}|{:e}|{:.1%}|{:g}|{:g}'.format(1.005, 2.5, 12345.678, 0.256, 1e10, 0.5) }}",
        "{{ '{:x}|{:X}|{:#x}|{:b}|{:o}|{:c}|{:,}|{:_}'.format(255, 255, 255, 5, 8, 65, 1234567, 1234567) }}",
        "{{ '{0.b} {0[b]} {1[0]} {0[a][0]}'.format(d, l) }} {{ '{!r} {!s}'.format('q', 'q') }}",
        "{{ '{:{w}.{p}f}|{:>{w}}'.format(3.14159, 'é', w=8, p=2) }} {{ '{:.3}'.format('abcdef') }} {{ '{:5}|{:5}'.format('ab', 12) }}",
        "{{ '{}'.format(l) }} {{ '{}'.format(none) }} {{ '{}'.format(true) }} {{ '{:d}'.format(true) }} {{ '{:.3}'.format(3.0) }} {{ '{:>10}'.format(-1.5) }} {{ '{:=+8}'.format(3) }}",
        "{{ '{a}'.format_map({'a': 5}) }} {{ '%e|%g|%o|%X|%c|%+d|% d|%#x|%i|%s' % (12345.678, 0.0001, 8, 255, 'q', 5, 5, 255, 3.9, 'z') }}",
    ],
    "text methods": [
        "{{ 'straße'.upper() }} {{ 'ŉ ß'|upper }} {{ 'ﬁn'.title() }} {{ 'ΑΣ ΣΑ'.lower() }} {{ 'İ'.lower()|length }} {{ 'ǆ'.capitalize() }} {{ 'ǆ'.upper() }} {{ 'Straße'.casefold() }} {{ 'aBç ß'.swapcase() }} {{ 'ß'|capitalize }}",
        "{{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'abc'.rpartition('-') }}",
        "{{ '42'.zfill(5) }} {{ '-42'.zfill(5) }} {{ 'ab'.ljust(5, '.') }}|{{ 'ab'.rjust(5) }}|{{ 'ab'.center(7, '*') }}|{{ 'abc'.center(6, '*') }}|{{ 'a\tb'.expandtabs(4) }}|{{ 'abcde\tb\n\tc'.expandtabs() }}",
        "{{ 'abcabc'.find('b', 2) }} {{ 'abcabc'.rfind('b', 0, 3) }} {{ 'abcabc'.index('c') }} {{ 'abcabc'.rindex('c') }} {{ 'aXbXc'.count('X', 2) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'éab'.find('b', -1) }}",
        "{{ 'a\nb\r\nc'.splitlines(true) }} {{ 'Ab1'.isalnum() }} {{ 'Ab'.isalpha() }} {{ '12'.isdigit() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ '½'.isnumeric() }} {{ ' \t'.isspace() }} {{ 'Ab Cd'.istitle() }} {{ 'AB1'.isupper() }} {{ 'ab'.islower() }} {{ 'a_1'.isidentifier() }} {{ 'é'.isascii() }} {{ 'a\n'.isprintable() }} {{ ''.isalpha() }}",
        "{{ [1, 2, 1].count(1) }} {{ [1, 2].index(2) }} {{ (1, 2).index(1) }} {{ [1].copy() }} {{ d.copy() == d }}",
    ],
    "more filters": [
        "{% for k, v in objs|groupby('v') %}{{ k }}:{{ v|map(attribute='k')|list }} {% endfor %}{% for g in objs|groupby('k') %}{{ g.grouper }}={{ g.list|length }} {% endfor %}",
        "{{ objs|groupby('z', default='-')|map('first')|list }} {{ messages|groupby('role')|map('first')|list }} {{ objs|groupby('k', case_sensitive=true)|map('first')|list }}",
        "{{ [1,2,3,4,5]|batch(2)|list }} {{ [1,2,3]|batch(2, 0)|list }} {{ [1,2,3,4,5]|slice(3)|list }} {{ [1,2,3,4]|slice(3, 'x')|list }}",
        "{{ s|attr('upper')() }} {{ d|attr('b') }}|{{ d|attr('keys') is callable }}",
        "{{ 'abc'|center(9) }}|{{ 'a b, c_d é'|wordcount }} {{ 'Hello big world'|truncate(9) }} {{ 'Hello big world'|truncate(9, true) }} {{ 'foo bar baz qux'|truncate(9, false, '…', 0) }} {{ 'short'|truncate(3, leeway=5) }}",
        "{{ 'a b/c?ü&=~'|urlencode }} {{ {'a b': 1, 'c': 'x/y'}|urlencode }} {{ 5|urlencode }}",
        "{{ 1|filesizeformat }} {{ 999|filesizeformat }} {{ 1000|filesizeformat }} {{ 1500000|filesizeformat }} {{ 2048|filesizeformat(true) }} {{ '3000000000'|filesizeformat }}",
        "{{ '<b>x</b>  y <!-- z > --> w'|striptags }} {{ {'class': 'a b', 'id': none, 'n': 1}|xmlattr }}|{{ '<'|forceescape }}",
        "{{ 'the quick brown fox jumps'|wordwrap(10) }}|{{ 'abcdefghijkl mn'|wordwrap(5) }}|{{ 'aa bb cc'|wordwrap(5, wrapstring='/') }}",
        "{{ messages|pprint }}|{{ d|pprint }}|{{ [1, 'a', none, 1.5, (1,), {}]|pprint }}|{{ {'b': [messages, n], 'a': 'x ' * 60, 2: (s, ('long words ' * 9,))}|pprint }}",
        "{{ ('many words and \n\t lines é ' * 8)|pprint }}|{{ ('word' * 30)|pprint }}|{{ ['word ' * 20, 'a\nb\r\n' * 20]|pprint }}|{{ ''|pprint }}|{{ {'k' * 78: ['', 'a b', {}]}|pprint }}",
        "{{ 'see (https://a.example/x?y=1&z), www.b.org:80/p. or <c.com> and d.info, e.xy x@y.de mailto:m@n.co http://1.2.3.4 https://[::1]/a ftp://f.g'|urlize }}",
        "{{ 'https://long.example/path www.x.de/(a) https://no_tld http://xn--abc &lt;b.net&gt; tel:12 x@y.de'|urlize(12, true, 'top', 'me <us>', ['tel:']) }} {{ ('<http://a.bc>'|e)|urlize(-3) }}",
        "{{ objs|sort(attribute='k,v')|map(attribute='v')|list }} {{ [{'a': 1, 'b': 2}, {'a': 1, 'b': 1}]|sort(attribute='a,b') }}",
        "{{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ 'x' is escaped }}",
        "{% set g = l|map('string') %}{{ g|join }}{{ g|join }}|",
    ],
    "more statements": [
        "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}{% with a = n, b = 2 %}{{ a }}{{ b }}{% endwith %}{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}",
        "{% for i in l %}{{ loop.cycle('odd', 'even') }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}{% for i in [1, 1, 2] %}{{ loop.changed(i) }} {% endfor %}",
        "{% for x in [{'n': 1, 'c': [{'n': 2, 'c': []}, {'n': 3, 'c': [{'n': 4, 'c': []}]}]}] recursive %}{{ loop.depth }}.{{ x.n }}{% if x.c %}({{ loop(x.c) }}){% endif %}{{ ',' if not loop.last }}{% endfor %}",
        "{% set sep = joiner() %}{% for i in l %}{{ sep() }}{{ i }}{% endfor %} {% set bar = joiner('|') %}{{ bar() }}a{{ bar() }}b{{ bar() }}",
        "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() or '' }}{{ c.next() }}",
        "{% for a, (b, c) in [(1, (2, 3)), (4, [5, 6])] %}{{ a }}{{ b }}{{ c }} {% endfor %}{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}{% for (k, v), w in [((1, 2), 3)] %}{{ k }}{{ v }}{{ w }}{% endfor %}",
        "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{% set ns.c %}block{% endset %}{{ ns.c }}",
        "{% if false %}{{ 1|no_such_filter }}{{ 1 is no_such_test }}{% endif %}ok {{ 'x' if true else 1|no_such_filter }} {{ (1|no_such_filter) if false else 'y' }}",
        "{% block title %}T{{ n }}{% endblock %}{% block b2 %}x{% endblock b2 %}{% autoescape false %}{{ '<' }}{% endautoescape %}",
        "{% if false %}{% include 'x' %}{% endif %}after",
        "{{ self.nope }}|{{ self.nope is defined }}|{{ é is defined }}{% set naïve = 1 %}{{ naïve }}",
        "{{ huge }} {{ [huge]|tojson }} {{ huge == huge }} {{ huge > 5 }} {{ huge is integer }}",
    ],
}

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather\nof a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "array", "items": {"type": "integer"}},
                "unit": {"enum": ["C", "F"]},
                "opt": {"type": ["string", "null"]},
            },
            "required": ["city"],
        },
    },
}

PLAIN = [
    {"role": "user", "content": " Hello <|im_end|> "},
    {"role": "assistant", "content": "Hi é\n"},
    {"role": "user", "content": "Bye"},
]

CALL = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "<think>\nhm\n</think>\n\nLet me look.",
        "tool_calls": [
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "arguments": {"city": "Köln", "days": [1, 2], "x": None, "f": 1.5, "b": True},
                },
            }
        ],
    },
    {"role": "tool", "content": '{"t": 21}'},
    {"role": "assistant", "content": "21 degrees"},
    {"role": "user", "content": "Thanks"},
]

CONVERSATIONS = {
    "plain": {"messages": PLAIN, "add_generation_prompt": True},
    "closed": {"messages": PLAIN, "add_generation_prompt": False},
    "system": {
        "messages": [{"role": "system", "content": "Be brief. "}] + PLAIN,
        "add_generation_prompt": True,
    },
    "call": {"messages": CALL, "tools": [TOOL], "add_generation_prompt": True},
    "call_open": {
        "messages": CALL[:4] + [{"role": "tool", "content": "more"}],
        "tools": [TOOL],
        "add_generation_prompt": True,
        "enable_thinking": False,
    },
    "parts": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is "},
                    {"type": "image"},
                    {"type": "text", "text": "?"},
                ],
            }
        ],
        "add_generation_prompt": True,
    },
    "two_users": {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
}


def model_sources():
    sources = {path.stem: path.read_text() for path in sorted(HERE.glob("*.jinja"))}
    bundled = HERE.parents[3] / "models" / "bundled" / "tokenizer_config.json"
    sources["bundled"] = json.loads(bundled.read_text())["chat_template"]
    return sources


def model_case(source, conversation):
    """The text; or the message of raise_exception; or nothing for another error."""
    try:
        return {"text": render(source, conversation)}
    except jinja2.UndefinedError:
        return {}
    except jinja2.TemplateError as error:
        return {"message": str(error)}
    except TypeError:
        return {}


def write(name, value):
    text = json.dumps(value, ensure_ascii=False, indent=1)
    (HERE / name).write_text(text + "\n")


def main():
    groups = {
        group: [{"source": source, "text": render(source, VARIABLES)} for source in sources]
        for group, sources in LANGUAGE.items()
    }
    write("language.json", {"variables": VARIABLES, "groups": groups})
    models = [
        {
            "model": name,
            "source": source,
            "cases": {c: model_case(source, v) for c, v in CONVERSATIONS.items()},
        }
        for name, source in model_sources().items()
    ]
    write("models.json", {"conversations": CONVERSATIONS, "models": models})


if __name__ == "__main__":
    main()
