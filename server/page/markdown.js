// Markdown as DOM nodes. The library only cuts the text into tokens; the nodes are made here, one by one, so nothing
// that a model writes becomes HTML, a script, or a request to elsewhere.

import {copyButton, element} from './dom.js';
import {Marked} from './third_party/marked.js';

// HTML is treated as plain text: an extension that returns undefined finds nothing.
const marked = new Marked({
  gfm: true, breaks: true,
  tokenizer: {html: () => undefined, tag: () => undefined},
});

const LONGEST = 400_000;  // characters; a longer text is shown plain
const SAFE_LINK = /^(https?:|mailto:)/i;

// Shows `text` in `into`. Blocks that have not changed since the last call keep their nodes, so that a growing answer
// costs only the work for its last block, and a selection in it stays.
export function showMarkdown(into, text) {
  const tokens = tokensOf(text);
  const shown = into.blocks || [];
  let same = 0;
  while (same < shown.length && same < tokens.length && shown[same].raw === tokens[same].raw) ++same;
  for (const block of shown.splice(same)) block.node.remove();
  for (const token of tokens.slice(same)) {
    const node = blockNode(token);
    shown.push({raw: token.raw, node});
    into.append(node);
  }
  into.blocks = shown;
}

function tokensOf(text) {
  const plain = [{type: 'plain', raw: text, text}];
  if (text.length > LONGEST) return plain;
  try {
    return marked.lexer(text).filter((token) => token.type !== 'space' && token.type !== 'def');
  } catch {
    return plain;  // Text that nests too deep for the library is shown as it is.
  }
}

function blockNode(token) {
  switch (token.type) {
    case 'heading': return element('h' + Math.min(token.depth + 2, 6), {}, ...inline(token.tokens));
    case 'paragraph': return element('p', {}, ...inline(token.tokens));
    case 'text': return element('span', {}, ...inline(token.tokens || [token]));
    case 'blockquote': return element('blockquote', {}, ...blocks(token.tokens));
    case 'hr': return element('hr');
    case 'code': return codeNode(token);
    case 'list': return listNode(token);
    case 'table': return tableNode(token);
    case 'checkbox': return element('input', {type: 'checkbox', disabled: true, checked: token.checked,
                                              'aria-label': token.checked ? 'Done' : 'To be done'});
    case 'plain': return element('p', {class: 'plain'}, token.text);
    default: return element('p', {}, token.raw);
  }
}

function blocks(tokens) {
  return tokens.filter((token) => token.type !== 'space' && token.type !== 'def').map(blockNode);
}

function listNode(token) {
  const items = token.items.map((item) => element('li', {class: item.task ? 'task' : null}, ...blocks(item.tokens)));
  return token.ordered ? element('ol', {start: token.start}, ...items) : element('ul', {}, ...items);
}

// The code can be scrolled sideways, so it can be reached with the keyboard.
function codeNode(token) {
  const language = (token.lang || '').split(/\s/)[0];
  return element('figure', {class: 'code'},
                 element('figcaption', {}, element('span', {}, language || 'Code'), copyButton(() => token.text)),
                 element('pre', {tabindex: '0', role: 'region', 'aria-label': language ? language + ' code' : 'Code'},
                         element('code', {}, token.text)));
}

function tableNode(token) {
  const row = (cells, tag) => element('tr', {}, ...cells.map(
    (cell) => element(tag, {class: cell.align ? 'align-' + cell.align : null, scope: tag === 'th' ? 'col' : null},
                      ...inline(cell.tokens))));
  return element('div', {class: 'table', tabindex: '0', role: 'region', 'aria-label': 'Table'},
                 element('table', {}, element('thead', {}, row(token.header, 'th')),
                         element('tbody', {}, ...token.rows.map((cells) => row(cells, 'td')))));
}

function inline(tokens) {
  return tokens.map(inlineNode);
}

function inlineNode(token) {
  switch (token.type) {
    case 'strong': return element('strong', {}, ...inline(token.tokens));
    case 'em': return element('em', {}, ...inline(token.tokens));
    case 'del': return element('del', {}, ...inline(token.tokens));
    case 'codespan': return element('code', {}, token.text);
    case 'br': return element('br');
    case 'link': return linkNode(token, inline(token.tokens));
    case 'image': return linkNode(token, ['Image: ' + (token.text || token.href)]);
    case 'checkbox': return blockNode(token);
    case 'escape': return document.createTextNode(token.text);
    case 'text': return document.createTextNode(withoutEntities(token.text));
    default: return document.createTextNode(token.raw);
  }
}

// Pictures are shown as links, because loading one would tell another server that the answer was read.
function linkNode(token, content) {
  if (!SAFE_LINK.test(token.href)) return document.createTextNode(token.raw);
  return element('a', {href: token.href, target: '_blank', rel: 'noopener noreferrer nofollow'}, ...content);
}

const parser = new DOMParser();

// Returns the text with entities such as &amp; replaced. Each is parsed alone, in a document that is never shown.
function withoutEntities(text) {
  return text.replace(/&(#\d{1,7}|#x[\da-f]{1,6}|[a-z][\da-z]{1,31});/gi,
                      (entity) => parser.parseFromString(entity, 'text/html').documentElement.textContent || entity);
}
