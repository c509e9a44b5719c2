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

// The same text as human_bytes() of the server: "4.2 GiB", with powers of 1024.
export function bytesText(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  // From 1,023.95 on, one decimal would round up to 1024.0.
  for (; bytes >= (unit === 0 ? 1024 : 1023.95) && unit + 1 < units.length; unit++) bytes /= 1024;
  return bytes.toFixed(unit === 0 ? 0 : 1) + ' ' + units[unit];
}
