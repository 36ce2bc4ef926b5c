/** The report of a comparison. */
import { renderFacts, renderFigure, renderPage, renderPlots, renderTable } from '../../../report/page.js';
import { drawIntervals, drawLayers, drawPareto } from '../../../report/plots.js';
import { tableHeads, tableRows } from './present.js';
import type { ComparedModel, Comparison } from './result.js';

/** More names than this would cover each other in a plot: numbers stand for them then, as in the table. */
const NAMES_MAX = 8;

type Candidate = Comparison['candidates'][number];

function labeled(comparison: Comparison): { readonly model: Candidate; readonly label: string }[] {
  const { candidates } = comparison;
  return candidates.map((model, i) => ({ model, label: candidates.length > NAMES_MAX ? String(i + 1) : model.name }));
}

function table(comparison: Comparison): string {
  const numbers = comparison.candidates.length > NAMES_MAX;
  const rows = tableRows(comparison).map(([name = '', ...cells], i) => {
    return [numbers && i > 0 ? `${i}. ${name}` : name, ...cells];
  });
  return renderTable(tableHeads, rows);
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
    return renderFigure(
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
  return renderPlots(plots);
}

function ratios({ candidates }: Comparison): string {
  const intervals = candidates.map(({ name, quality: { agreement } }) => {
    return { label: name, value: agreement.ratio, error: agreement.ratioError };
  });
  const caption =
    'Perplexity ÷ that of the reference, with the standard error of the paired differences of token losses.';
  return renderFigure(drawIntervals(intervals, 'perplexity ÷ reference'), caption);
}

function layers({ candidates }: Comparison): string {
  const models = candidates.flatMap(({ name, quality: { layerErrors } }) => {
    return layerErrors === null ? [] : [{ label: name, errors: layerErrors }];
  });
  if (models.length === 0) return '';
  const caption =
    'Error of the residual stream behind each layer, relative to its own size (root of Σ(x′ − x)² ÷ Σx²): what the ' +
    'layers so far have added up to. A step shows the layer that costs.';
  return `<h2>Where the error comes from</h2>${renderFigure(drawLayers(models), caption)}`;
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
  return renderFacts(rows);
}

/** The whole report. Every text that comes from outside (names, paths, the command line) is escaped. */
export function renderReport(comparison: Comparison): string {
  const { reference, candidates, date } = comparison;
  const title = `${candidates.length} ${candidates.length === 1 ? 'model' : 'models'} beside ${reference.name}`;
  const body = `${table(comparison)}
<p class="soft">KL is KL(reference‖candidate) per token in nats. Same top: share of tokens for which both find the same
token most likely. Greedy tokens: how many are the same before the first that differs, median over prompts.</p>
<h2>Quality against size and speed</h2>
${paretoPlots(comparison)}
<h2>Perplexity</h2>
${ratios(comparison)}
${layers(comparison)}
<h2>How it was measured</h2>
${facts(comparison)}`;
  return renderPage({ title, lead: `The reference is computed with f32 activations. ${date}`, body });
}
