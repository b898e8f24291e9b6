// Small pieces that every widget shares. Put before a widget's own script; text reaches the page through textContent only.
const SVG_NAMESPACE = 'http://www.w3.org/2000/svg';

function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'text') node.textContent = value;
    else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  return node;
}

// h('button', { class: 'x', text: 'Save', onclick: save }, child, …): like rs.el, with listeners.
function h(tag, attributes, ...children) {
  const node = setAttributes(document.createElement(tag), attributes);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = setAttributes(document.createElementNS(SVG_NAMESPACE, tag), attributes);
  node.append(...children.filter(Boolean));
  return node;
}

// What stands for a text that is masked: where it begins, and how long it is.
function maskedText(text) {
  const first = text.trim().split(/\s+/).slice(0, 3).join(' ').slice(0, 24);
  return `${first} ••• masked (${text.length} characters)`;
}

const readJson = (text, fallback) => {
  try { return typeof text === 'string' && text ? JSON.parse(text) : text || fallback; } catch (error) { return fallback; }
};

// Calls `work(argument)` for the newest argument only, one call at a time: a fast drag never queues up requests.
function lastWins(work) {
  let busy = false, waiting = null;
  return async function run(argument) {
    if (busy) { waiting = { argument }; return; }
    busy = true;
    try { await work(argument); } finally {
      busy = false;
      if (waiting) { const next = waiting; waiting = null; run(next.argument); }
    }
  };
}
