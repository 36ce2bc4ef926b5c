/**
 * The script of pages with linked plots. Whatever bears `data-item` lights up together when one of them is hovered or
 * focused; a click keeps it. Boxes with `data-filter="recipe"` hide what bears an unticked `data-recipe`. A click on a
 * table's head sorts it. Without a script the page still shows everything.
 */
export const linkedScript = `'use strict';
const items = [...document.querySelectorAll('[data-item]')];
const byId = new Map();
for (const item of items) byId.set(item.dataset.item, [...(byId.get(item.dataset.item) ?? []), item]);
const tip = document.createElement('div');
tip.className = 'tip';
tip.setAttribute('role', 'status');
tip.hidden = true;
document.body.append(tip);
let kept = null;
let shown = null;
const mark = (id, isOn) => { for (const item of byId.get(id) ?? []) item.classList.toggle('on', isOn); };
function show(id, x, y) {
  if (shown !== null) mark(shown, false);
  shown = id;
  tip.hidden = id === null;
  if (id === null) return;
  mark(id, true);
  const titled = byId.get(id).find((item) => item.dataset.title !== undefined);
  tip.textContent = titled === undefined ? id : titled.dataset.title;
  const left = Math.min(x + 14, window.innerWidth - tip.offsetWidth - 8);
  tip.style.left = Math.max(8, left) + 'px';
  tip.style.top = Math.max(8, y - tip.offsetHeight - 10) + 'px';
}
const itemOf = (event) => event.target instanceof Element ? event.target.closest('[data-item]') : null;
document.addEventListener('pointerover', (event) => {
  const item = itemOf(event);
  if (item !== null) show(item.dataset.item, event.clientX, event.clientY);
  else if (kept === null) show(null);
});
document.addEventListener('focusin', (event) => {
  const item = itemOf(event);
  if (item === null) return;
  const box = item.getBoundingClientRect();
  show(item.dataset.item, box.left, box.top);
});
document.addEventListener('click', (event) => {
  const item = itemOf(event);
  kept = item === null || kept === item.dataset.item ? null : item.dataset.item;
  if (kept === null && item === null) show(null);
});
const boxes = [...document.querySelectorAll('input[data-filter]')];
function filter() {
  const off = boxes.filter((box) => !box.checked).map((box) => [box.dataset.filter, box.value]);
  for (const item of items) item.classList.toggle('off', off.some(([tag, value]) => item.dataset[tag] === value));
}
for (const box of boxes) box.addEventListener('change', filter);
const number = (text) => Number.parseFloat(text.replace('–', 'NaN'));
for (const table of document.querySelectorAll('table.sorted')) {
  for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener('click', () => {
      const isUp = head.getAttribute('aria-sort') !== 'ascending';
      for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', isUp ? 'ascending' : 'descending');
      const body = table.tBodies[0];
      const text = (row) => row.cells[column].textContent;
      const order = (a, b) => {
        const difference = number(text(a)) - number(text(b));
        return Number.isNaN(difference) ? text(a).localeCompare(text(b)) : difference;
      };
      body.append(...[...body.rows].sort((a, b) => (isUp ? order(a, b) : order(b, a))));
    });
  }
}
`;

/** What the script needs of styles. */
export const linkedStyle = `
.tip { position: fixed; z-index: 1; max-width: 26rem; padding: .4rem .6rem; white-space: pre-line; font-size: 13px;
  pointer-events: none; color: var(--ink); background: var(--paper); border: 1px solid var(--line);
  border-radius: 4px; }
[data-item] { cursor: pointer; } [data-item].off { display: none; }
circle[data-item].on { stroke: var(--ink); stroke-width: 2.5; fill-opacity: 1; r: 7px; }
tr[data-item].on td { background: color-mix(in srgb, var(--soft) 25%, transparent); }
fieldset { border: 0; margin: .25rem 0; padding: 0; font-size: 14px; } legend { color: var(--soft); float: left;
  padding: 0; margin-right: .75rem; } label { margin-right: .6rem; white-space: nowrap; }
.swatch { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .3em; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
.tall { max-height: 32rem; overflow: auto; }
@media print { .tip, fieldset input { display: none; } .tall { max-height: none; overflow: visible; } }
`;
