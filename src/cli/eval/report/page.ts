/** The report of a comparison: one HTML file without scripts or links, for light and dark screens and for paper. */
import { tableHeads, tableRows } from '../compare/present.js';
import type { ComparedModel, Comparison } from '../compare/result.js';
import { drawIntervals, drawLayers, drawPareto } from './plots.js';

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
  body { max-width: none; padding: 0; font-size: 11px; } table { font-size: 9px; } th, td { padding: .2rem .35rem; }
  figure, tr { break-inside: avoid; } .wide { overflow: visible; } .plots { grid-template-columns: 1fr 1fr; } }
`;

const figure = (svg: string, caption: string): string =>
  `<figure>${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>`;

/** More names than this would cover each other in a plot: numbers stand for them then, as in the table. */
const NAMES_MAX = 8;

type Candidate = Comparison['candidates'][number];

function labeled(comparison: Comparison): { readonly model: Candidate; readonly label: string }[] {
  const { candidates } = comparison;
  return candidates.map((model, i) => ({ model, label: candidates.length > NAMES_MAX ? String(i + 1) : model.name }));
}

function table(comparison: Comparison): string {
  const numbers = comparison.candidates.length > NAMES_MAX;
  const heads = tableHeads.map((head) => `<th scope="col">${escapeHtml(head)}</th>`).join('');
  const rows = tableRows(comparison).map((row, i) => {
    const cells = row.map((cell, column) => {
      const text = column === 0 && numbers && i > 0 ? `${i}. ${cell}` : cell;
      return `<td>${escapeHtml(text)}</td>`;
    });
    return `<tr>${cells.join('')}</tr>`;
  });
  return `<div class="wide"><table><thead><tr>${heads}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

function paretoPlots(comparison: Comparison): string {
  const kl = 'mean KL divergence, nats';
  const plot = (x: string, better: 'less' | 'more', read: (model: ComparedModel) => number | undefined) => {
    const points = labeled(comparison).flatMap(({ model, label }) => {
      const value = read(model);
      const { klMean } = model.quality.agreement;
      if (value === undefined) return [];
      return [
        { label, title: `${model.name}: ${value.toFixed(1)}, ${klMean.toPrecision(3)} nats`, x: value, y: klMean },
      ];
    });
    if (points.length === 0) return '';
    return figure(
      drawPareto(points, { x, y: kl, better }),
      `Error against ${x}; the dashed line joins what nothing beats.`,
    );
  };
  const plots = [
    plot('file size, MB', 'less', ({ fileBytes }) => fileBytes / 1e6),
    plot('prefill of 512 tokens, tokens/s', 'more', ({ speed }) => speed?.prefill512.median),
    plot('prefill of 2048 tokens, tokens/s', 'more', ({ speed }) => speed?.prefill2048?.median),
    plot('decode, tokens/s', 'more', ({ speed }) => speed?.decode.median),
  ];
  return `<div class="plots">${plots.join('')}</div>`;
}

function ratios({ candidates }: Comparison): string {
  const intervals = candidates.map(({ name, quality: { agreement } }) => {
    return { label: name, value: agreement.ratio, error: agreement.ratioError };
  });
  const caption =
    'Perplexity ÷ that of the reference, with the standard error of the paired differences of token losses.';
  return figure(drawIntervals(intervals, 'perplexity ÷ reference'), caption);
}

function layers({ candidates }: Comparison): string {
  const models = candidates.flatMap(({ name, quality: { layerErrors } }) => {
    return layerErrors === null ? [] : [{ label: name, errors: layerErrors }];
  });
  if (models.length === 0) return '';
  const caption =
    'Error of the residual stream behind each layer, relative to its own size (root of Σ(x′ − x)² ÷ Σx²): what the ' +
    'layers so far have added up to. A step shows the layer that costs.';
  return `<h2>Where the error comes from</h2>${figure(drawLayers(models), caption)}`;
}

function facts(comparison: Comparison): string {
  const { data, machine, windows, windowTokens, protocol, rounds, energy } = comparison;
  const speed = rounds === 0 ? 'not measured' : `medians of ${rounds} rounds, every model in turn, tokens per second`;
  const rows: readonly (readonly [string, string])[] = [
    ['data', `${data.path}, sha256 ${data.sha256}`],
    ['scored', `${windows} windows of ${windowTokens} tokens, ${protocol}`],
    ['machine', `${machine.cpu}, ${machine.isa}, ${machine.threads} threads`],
    ['speed', speed],
    ['energy', energy === null ? 'not measured' : `${energy.source}: ${energy.meter}; of the decode`],
    ['version', comparison.commit],
    ['command', comparison.command],
  ];
  return `<dl>${rows.map(([name, text]) => `<dt>${name}</dt><dd>${escapeHtml(text)}</dd>`).join('')}</dl>`;
}

/** The whole report. Every text that comes from outside (names, paths, the command line) is escaped. */
export function renderReport(comparison: Comparison): string {
  const { reference, candidates, date } = comparison;
  const title = `${candidates.length} ${candidates.length === 1 ? 'model' : 'models'} beside ${reference.name}`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<p class="soft">The reference is computed with f32 activations. ${escapeHtml(date)}</p>
${table(comparison)}
<p class="soft">KL is KL(reference‖candidate) per token in nats. Same top: share of tokens for which both find the same
token most likely. Greedy tokens: how many are the same before the first that differs, median over prompts.</p>
<h2>Quality against size and speed</h2>
${paretoPlots(comparison)}
<h2>Perplexity</h2>
${ratios(comparison)}
${layers(comparison)}
<h2>How it was measured</h2>
${facts(comparison)}
</body></html>
`;
}
