/** The frame of every report: one HTML file that needs nothing else, for light and dark screens and for paper. */
import { createHash } from 'node:crypto';

export const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #d5dae1; --soft: #59636e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --paper: #14171c; --line: #363d47; --soft: #9aa4b1; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1360px; padding: 2rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
p, dd { max-width: 75ch; } .soft, dt { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; font-size: 13px; }
th, td { padding: .35rem .5rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--soft); font-weight: 600; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: 14px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 1.5rem; }
svg { --plot-background: var(--paper); max-width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { :root { --ink: #000; --paper: #fff; --line: #bbb; --soft: #444; color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 11px; } table { font-size: 9px; white-space: normal; }
  th, td { padding: .2rem .3rem; } td:first-child { min-width: 8em; overflow-wrap: anywhere; }
  figure, tr { break-inside: avoid; } .wide { overflow: visible; } .plots { grid-template-columns: 1fr 1fr; } }
`;

/**
 * A plot and its caption, which is also what a screen reader says in its place.
 * @param svg trusted: drawn by plots.ts, which escapes what it writes
 */
export function renderFigure(svg: string, caption: string): string {
  const text = escapeHtml(caption);
  const named = svg.replaceAll('<svg ', () => `<svg role="img" aria-label="${text}" `);
  return `<figure>${named}<figcaption>${text}</figcaption></figure>`;
}

/** Figures side by side where there is room. */
export const renderPlots = (figures: readonly string[]): string => `<div class="plots">${figures.join('')}</div>`;

/** A row that a page's script can find (linked.ts): what item it shows, and its tags. */
export type TableItem = { readonly id: string; readonly tags: Readonly<Record<string, string>> };

/** A table of texts; with `items`, one per row, it can be sorted and lights up with plots of the same items. */
export function renderTable(
  heads: readonly string[],
  rows: readonly (readonly string[])[],
  items: readonly TableItem[] = [],
): string {
  const head = heads.map((text) => `<th scope="col">${escapeHtml(text)}</th>`).join('');
  const body = rows.map((row, i) => {
    const item = items[i];
    const tags = Object.entries(item?.tags ?? {}).map(([name, value]) => ` data-${name}="${escapeHtml(value)}"`);
    const own = item === undefined ? '' : ` tabindex="0" data-item="${escapeHtml(item.id)}"${tags.join('')}`;
    return `<tr${own}>${row.map((cell) => `<td>${escapeHtml(cell)}</td>`).join('')}</tr>`;
  });
  const isLinked = items.length > 0;
  const table = `<table${isLinked ? ' class="sorted"' : ''}><thead><tr>${head}</tr></thead><tbody>${body.join('')}</tbody></table>`;
  // Keys can scroll only what can be reached by them.
  return `<div class="wide${isLinked ? ' tall' : ''}" tabindex="0" role="region" aria-label="Table">${table}</div>`;
}

/** What a report rests on: data, machine, command. */
export const renderFacts = (facts: readonly (readonly [string, string])[]): string =>
  `<dl>${facts.map(([name, text]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(text)}</dd>`).join('')}</dl>`;

export type Page = {
  readonly title: string;
  /** One line below the title. */
  readonly lead: string;
  /** HTML in which every text from outside is escaped already. */
  readonly body: string;
  /** Runs in the page, which allows this one script and nothing from elsewhere. */
  readonly script?: string;
  readonly style?: string;
};

export function renderPage({ title, lead, body, script, style = '' }: Page): string {
  const hash = script === undefined ? null : createHash('sha256').update(script).digest('base64');
  const policy = `default-src 'none'; style-src 'unsafe-inline'${hash === null ? '' : `; script-src 'sha256-${hash}'`}`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${escapeHtml(title)}</title><style>${STYLE}${style}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<p class="soft">${escapeHtml(lead)}</p>
${body}
${script === undefined ? '' : `<script>${script}</script>`}</body></html>
`;
}
