// Small helpers over the DOM. Text always enters it as text nodes, never as HTML.

export const $ = (id) => document.getElementById(id);

// Returns a new element. `attributes` may have `onclick` and other listeners, `class`, and plain attributes; those that
// are false, null or undefined are left out.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

const SVG = 'http://www.w3.org/2000/svg';

export function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Returns a drawing of index.html's <symbol id="icon-NAME">.
export function icon(name) {
  return svg('svg', {class: 'icon', 'aria-hidden': 'true'}, svg('use', {href: '#icon-' + name}));
}

// Returns a quiet button with an icon and a label.
export function action(label, iconName, onclick, attributes = {}) {
  return element('button', {type: 'button', class: 'action', onclick, ...attributes},
                 icon(iconName), element('span', {}, label));
}

// Returns a button that copies what `text()` returns, and says so for a moment.
export function copyButton(text, attributes = {}) {
  const button = action('Copy', 'copy', async () => {
    const copied = await copyText(text());
    const label = button.querySelector('span');
    label.textContent = copied ? 'Copied' : 'Copying failed';
    announce(label.textContent + '.');
    setTimeout(() => { label.textContent = 'Copy'; }, 1500);
  }, attributes);
  return button;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

// A browser gives no clipboard to a page from another machine over plain http, but lets it copy a selection.
function copyBySelection(text) {
  const focused = document.activeElement;
  const area = element('textarea', {class: 'off-screen', 'aria-hidden': 'true', tabindex: '-1'});
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  focused?.focus();
  return copied;
}

// Announces a text to screen readers once. Streamed text is not announced piece by piece, only at its end.
export function announce(text) {
  $('announcer').textContent = text;
}

export function count(number, noun) {
  return number.toLocaleString('en-US') + ' ' + noun + (number === 1 ? '' : 's');
}

export function bytesText(bytes) {
  if (bytes > 0 && bytes < 1e5) return (bytes / 1e3).toFixed(1) + ' kB';
  if (bytes < 1e7) return (bytes / 1e6).toFixed(2) + ' MB';
  if (bytes < 1e9) return Math.round(bytes / 1e6).toLocaleString('en-US') + ' MB';
  return (bytes / 1e9).toFixed(2) + ' GB';
}
